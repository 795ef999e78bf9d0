"""The phases of a run, and which of its weights and sizes a threshold is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import SettingError
from dyn_lightning.module.evaluation import EvaluatedModule
from dyn_lightning.network import DynamicNetwork
from dyn_lightning.network.settle import settle_samples
from dyn_lightning.objectives import Objective
from dyn_lightning.optim import forget, width_parameters
from dyn_lightning.widths.width import Width

Phase = Literal["warmup", "search", "settle"]
PHASES: tuple[Phase, ...] = get_args(Phase)


class PhasedModule(EvaluatedModule):
    """A network whose sizes rest, learn, and are frozen, one after the other; the phase is part of its checkpoints.

    Attributes:
        network: given by the derived class, dynamic unless nothing is learned.
        objective: likewise; None where nothing is learned.
    """

    network: nn.Module
    objective: Objective | None
    _phase: Tensor
    _search_steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._plain_complexity: Complexity | None = None
        self._mirror: tuple[Phase, int, int] | None = None
        self._step = 0  # of the weights; also where there is no trainer
        self._threshold_of: tuple[int, dict[str, int]] | None = None

    def begin_phases(self) -> None:
        """Once the network is there: in the search, or settled where nothing is learned."""
        self.register_buffer("_phase", torch.tensor(PHASES.index("search" if self.is_dynamic else "settle")))
        self.register_buffer("_search_steps", torch.tensor([0, 0]))
        self.register_load_state_dict_post_hook(_read_anew)

    @property
    def is_dynamic(self) -> bool:
        """Whether there are sizes to learn."""
        return isinstance(self.network, DynamicNetwork)

    @property
    def complexity(self) -> Complexity:
        """Parameters and FLOPs of the network as functions of its widths."""
        return self._plain_complexity or self.learned[0].complexity

    @property
    def widths(self) -> Mapping[str, Width]:
        """The learned sizes by name; empty for a plain backbone."""
        return dict(self.network.widths.items()) if isinstance(self.network, DynamicNetwork) else {}

    @property
    def learned(self) -> tuple[DynamicNetwork, Objective]:
        """The network, known to be dynamic, and what pulls its sizes down.

        Raises:
            SettingError: where nothing is learned.
        """
        if not isinstance(self.network, DynamicNetwork) or self.objective is None:
            raise SettingError(f"{type(self.network).__name__} has no sizes to learn")
        return self.network, self.objective

    def _read(self) -> tuple[Phase, int, int]:
        """(phase, first and end step of the search), read from the device once per change."""
        if self._mirror is None:
            first, end = self._search_steps.tolist()
            self._mirror = (PHASES[int(self._phase)], first, end)
        return self._mirror

    @property
    def phase(self) -> Phase:
        """The phase of the run, part of its checkpoints."""
        return self._read()[0]

    @property
    def search_progress(self) -> float:
        """How far the search is, in [0, 1]: what the objective is told."""
        _, first, end = self._read()
        return min(1.0, max(0.0, (self.global_step - first) / max(1, end - first)))

    @property
    def search_ended(self) -> bool:
        """Whether the search has used up its steps."""
        return self.global_step >= self._read()[2]

    def set_search_steps(self, first: int, end: int) -> None:
        """Say which optimiser steps the search takes, first ≤ step < end."""
        self._search_steps.copy_(torch.tensor([first, end]))
        self._mirror = None

    def set_phase(self, phase: Phase) -> None:
        """Enter a phase: in warmup the widths rest, in search they learn, in settle they are frozen for good.

        Raises SettingError for a name that is no phase, or for a way back out of settle.
        """
        if phase not in PHASES:
            raise SettingError(f"phase={phase!r} is unknown: use one of {', '.join(PHASES)}")
        if not self.is_dynamic:
            return
        if self.phase == "settle" and phase != "settle":
            raise SettingError(f"the widths are frozen: {phase} cannot follow settle. Start another run")
        stored: list[nn.Parameter] = []
        if phase == "settle" and self.phase != "settle":
            network, objective = self.learned
            sizes = objective.final_sizes(network)
            for name, width in self.widths.items():
                width.freeze(sizes[name])
            stored = settle_samples(network)
        for width in self.widths.values():
            width.set_learning(phase == "search")
        self._phase.fill_(PHASES.index(phase))
        self._mirror = None
        if phase != "search" and self._trainer is not None:
            for optimizer in self.trainer.optimizers:
                forget(optimizer, [*width_parameters(self.network), *stored])

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.threshold_is_measured()

    def threshold_is_measured(self) -> None:
        """Say that the threshold is of the weights and sizes as they are now."""
        self._threshold_of = self._step, self.complexity.sizes_now

    @property
    def threshold_is_own(self) -> bool:
        """Whether the threshold was measured on these weights at these sizes."""
        return self._threshold_of == (self._step, self.complexity.sizes_now)


def _read_anew(module: PhasedModule, _keys: object) -> None:
    """Forget what was read from buffers that have been loaded; a function with a name can be sent to processes."""
    module._mirror = None
