"""The LightningModule around any backbone, task and objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from dyn_lightning.checks import at_least
from dyn_lightning.dynamize import dynamize, left_whole
from dyn_lightning.errors import SettingError
from dyn_lightning.module.averaging import Averages
from dyn_lightning.module.checkpoint_state import check_state
from dyn_lightning.module.phases import PhasedModule
from dyn_lightning.module.run_length import steps_of_run
from dyn_lightning.module.sound_steps import SoundSteps
from dyn_lightning.module.trainer_checks import check_trainer
from dyn_lightning.network import DynamicNetwork
from dyn_lightning.network.compiled import CompiledNetwork
from dyn_lightning.network.plain import example_input, plain_complexity
from dyn_lightning.objectives import Objective
from dyn_lightning.optim import (
    OptimizerCallable,
    Schedule,
    check_schedule,
    clip_gradients,
    make_optimizer,
    make_schedule,
    portable,
    set_rates,
    width_parameters,
)
from dyn_lightning.randomness import gather_random_states, set_random_state
from dyn_lightning.tasks import Task
from dyn_lightning.widths.width import Width


class DynamicModule(PhasedModule):
    """Trains a backbone while its layer sizes are learned (arXiv 2601.13704, "Procedure").

    Three phases: *warmup* (task loss alone, all sizes full), *search* (the objective's penalty is added
    and λ learns) and *settle* (sizes frozen, task loss alone). A run starts in the search; the callback
    ``PhaseSwitch`` gives it the other two. λ stays in the autograd graph throughout, so that distributed
    training never misses a gradient.

    Logs ``train/loss``, ``train/penalty``, ``val/loss`` and the task's metrics as ``val/<metric>`` and
    ``test/<metric>``, with the names of the test sets in between where the data module has several.

    Args:
        backbone: the network to train: plain, or made by ``dynamize`` already.
        task: loss and metrics.
        objective: what pulls the sizes down; it may be left out where nothing is learned.
        dynamic: patterns of the layers whose sizes are learned; None for all that can be, [] for none: the
            plain training of the backbone as it is.
        fixed: patterns of sizes to leave alone.
        ties: groups of layer names whose sizes are to be one.
        mel_spacing, boundary, free_outputs, width_class: see ``dynamize``.
        example_duration_s: seconds of audio that the FLOPs are counted on; they are then per second of
            audio. None counts per call, which needs ``example_shape``.
        example_shape: shape of the example input, batch dimension first; when absent,
            (1, example_duration_s · backbone.sample_rate).
        optimizer: an optimiser class, or a function of parameter groups.
        lr: learning rate of the weights.
        weight_decay: of the weights; λ has none.
        lr_lam: learning rate of log λ.
        lr_schedule: "cosine" (to 0 at the end of the run) or "constant"; λ's learning rate is constant. Where a
            training loader has no length, an epoch's is known, and the cosine begins, after the first one.
        lr_hold: share of the run before the cosine begins.
        lr_growth: how the learning rate of the weights grows while the sizes shrink: exponent of the geometric mean of
            full over kept sizes, those not asked for included. 1 suits Adam (arXiv 2203.03466); 0 leaves the rate.
        compile: call the network through ``torch.compile`` while its sizes stand still: in the warm-up, when settled,
            and in evaluation then. The search runs uncompiled, because its sizes change from step to step.
        gradient_clip_lam: largest gradient norm of all λ together. The weights' limit is the trainer's
            ``gradient_clip_val``, by its ``gradient_clip_algorithm``, and neither affects the other.

    Attributes:
        network: the backbone, dynamic unless nothing is learned.
        example_shape: shape of the example input; None for a backbone that was dynamic already.
        is_dynamic: whether there are sizes to learn.
        threshold: score at the equal error rate of the latest validation, where the task has one; else NaN.
        steps_per_epoch: optimiser steps of an epoch, as they were counted; None before the first one is over.

    Raises:
        SettingError: for a pattern that matches nothing, an example that cannot be made, or sizes to learn
            without an objective.
    """

    def __init__(
        self,
        backbone: nn.Module,
        task: Task,
        objective: Objective | None = None,
        dynamic: list[str] | None = None,
        fixed: list[str] | None = None,
        ties: list[list[str]] | None = None,
        mel_spacing: str = "respaced",
        boundary: str = "taper",
        free_outputs: bool = False,
        example_duration_s: float | None = 1.0,
        example_shape: list[int] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        lr_lam: float = 5e-3,
        lr_schedule: Schedule = "cosine",
        lr_hold: float = 0.0,
        lr_growth: float = 0.0,
        gradient_clip_lam: float | None = 1.0,
        compile: bool = False,
        width_class: type[Width] = Width,
    ) -> None:
        super().__init__()
        check_schedule(lr_schedule, lr_hold, lr_growth)
        at_least(0.0, lr=lr, weight_decay=weight_decay, lr_lam=lr_lam, gradient_clip_lam=gradient_clip_lam)
        self.example_shape: tuple[int, ...] | None = None
        if isinstance(backbone, DynamicNetwork):
            if dynamic is not None or fixed or ties:
                raise SettingError("the backbone has widths already: give dynamic, fixed and ties to dynamize")
            self.network: nn.Module = backbone
        else:
            example = example_input(backbone, example_duration_s, example_shape)
            self.example_shape = tuple(example.shape)
            if dynamic is not None and not dynamic:
                self.network = backbone
                self._plain_complexity = plain_complexity(backbone, example, example_duration_s)
            else:
                self.network = dynamize(
                    backbone,
                    example,
                    duration_s=example_duration_s,
                    dynamic=dynamic,
                    fixed=fixed or (),
                    ties=ties or (),
                    mel_spacing=mel_spacing,
                    boundary=boundary,
                    width_class=width_class,
                    free_outputs=free_outputs,
                )
        if self.is_dynamic and objective is None:
            raise SettingError("sizes are learned, but nothing pulls them down: give an objective or dynamic=[]")
        self.task = task
        task.follow(backbone)
        task.attach(self.network)
        self.objective = objective if self.is_dynamic else None
        self.optimizer = portable(optimizer)
        self.lr, self.weight_decay, self.lr_lam = lr, weight_decay, lr_lam
        self.lr_schedule: Schedule = lr_schedule
        self.lr_hold, self.lr_growth = lr_hold, lr_growth
        self.gradient_clip_lam = gradient_clip_lam
        self.compile_network = compile
        self._compiled: list[Callable[..., object]] = []
        self.save_hyperparameters(ignore=["backbone", "task", "objective", "optimizer", "width_class"])
        self.begin_phases()
        self._sound, self.averages = SoundSteps(), Averages()
        self.steps_per_epoch: float | None = None
        self._rates_before: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compiled": [], "_mirror": None, "averages": Averages()}

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        check_trainer(self, self.trainer)
        if self.is_dynamic:
            self.averages.find(self.trainer)

    def on_fit_start(self) -> None:
        if self.is_dynamic and self._read()[2] == 0:
            steps = steps_of_run(self.trainer)
            if steps is None and self.phase == "search":
                raise SettingError(
                    "nobody knows how many steps the search has: the training loader has no length, or the run no end. "
                    "Set the trainer's max_steps, or max_epochs and limit_train_batches"
                )
            self.set_search_steps(0, steps or 0)
        if self.is_dynamic:
            network, objective = self.learned
            if self.phase != "settle":
                objective.check(network)
            elif above := objective.above(self.complexity):
                rank_zero_warn(
                    f"{above}. The sizes are final and stay: train anew, or cut them (consolidate --share …)"
                )
        self.set_phase(self.phase)
        self.averages.follow(self)

    def on_train_start(self) -> None:
        # The optimiser and its schedule came back with the checkpoint's rates.
        changed = {n: (old, getattr(self, n)) for n, old in self._rates_before.items() if old != getattr(self, n)}
        self._rates_before = {}
        if changed:
            told = ", ".join(f"{name} {now}, no longer {old}" for name, (old, now) in changed.items())
            rank_zero_info(f"the run goes on with {told}")
            set_rates(self.trainer.optimizers[0], self.lr_schedulers(), **changed)  # type: ignore[arg-type]

    def on_train_epoch_end(self) -> None:
        self.steps_per_epoch = self.global_step / (self.current_epoch + 1)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.averages.follow(self)

    def on_train_end(self) -> None:
        self._sound.check_end(self.global_step)

    def on_train_batch_end(self, outputs: Any, batch: object, batch_idx: int) -> None:
        self._step = self.global_step
        if self.phase == "search":
            network, objective = self.learned
            objective.after_step(network, self.search_progress)
            # At a step, not at an epoch's end: the validation that follows must see the sizes that ship.
            if objective.finished or self.search_ended:
                self.set_phase("settle")
        self.averages.follow(self)

    def forward(self, x: object) -> Any:
        """The backbone's output."""
        if not self.compile_network or (self.is_dynamic and self.phase == "search"):
            return self.network(x)
        if not self._compiled:  # here and not before: what is compiled cannot be sent to other processes
            self._compiled = [_compiled(self.network)]
        return self._compiled[0](x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self._sound.before(self.network)
        with self.task.watching(self.network):
            output = self(self.task.input_of(batch))
        task_loss = self.task.loss(output, batch)
        self.log("train/loss", task_loss.detach(), prog_bar=True, batch_size=1)
        # All processes must see the same loss: the objective keeps state, and a step is left out by all or none.
        seen = self.trainer.strategy.reduce(task_loss.detach(), reduce_op="mean")
        self._sound.see(seen, self.network, self.global_step)
        if not self.is_dynamic:
            return task_loss
        if self.phase != "settle":
            self.learned[1].observe(seen)
        if self.phase != "search":
            return task_loss + 0.0 * torch.stack([w.theta.sum() for w in self.widths.values()]).sum()
        penalty = self.penalty(seen)
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            # Only where logs are written: each call costs a tenth of a small network's step.
            self.log("train/penalty", penalty.detach(), batch_size=1)
        return task_loss + penalty

    def penalty(self, task_loss: Tensor) -> Tensor:
        """What the objective adds to the task loss (0-d, detached) in the search."""
        network, objective = self.learned
        penalty: Tensor = objective(network, task_loss, self.search_progress)
        return penalty

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._sound.before_optimizer(optimizer)
        if self.phase != "search":
            for theta in width_parameters(self.network):
                theta.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        clip_gradients(optimizer, gradient_clip_val, self.gradient_clip_lam, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(
            self.network, self.optimizer, lr=self.lr, weight_decay=self.weight_decay, lr_lam=self.lr_lam
        )
        if own := [p for p in self.task.parameters() if p.requires_grad]:
            optimizer.add_param_group({"params": own, "lr": self.lr, "weight_decay": 0.0, "name": "task"})
        sizes = (
            list(self.widths.values()),
            len(left_whole(self.network)) if isinstance(self.network, DynamicNetwork) else 0,
        )
        known, trainer = steps_of_run(self.trainer), self.trainer
        total = known if known is not None else lambda: steps_of_run(trainer, self.steps_per_epoch)
        schedule = make_schedule(optimizer, self.lr_schedule, total, self.lr_hold, *sizes, self.lr_growth)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint["random_state"] = gather_random_states()
        checkpoint["steps_per_epoch"] = self.steps_per_epoch
        checkpoint["threshold_of"] = None if self._threshold_of is None else list(self._threshold_of)
        checkpoint["widths"] = {n: [w.multiple_of, w.lam_min] for n, w in self.widths.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        file = "the checkpoint" if self._trainer is None else str(self.trainer.ckpt_path or "the checkpoint")
        check_state(checkpoint, self, file)
        # What a frozen size means depends on the unit, which may have been set by a callback.
        for name, (multiple_of, lam_min) in checkpoint.get("widths", {}).items():
            if (width := self.widths.get(name)) is not None:
                width.limit(lam_min, multiple_of)
        self.steps_per_epoch = checkpoint.get("steps_per_epoch")
        self._step = checkpoint.get("global_step", 0)
        measured = checkpoint.get("threshold_of")
        self._threshold_of = None if measured is None else (measured[0], dict(measured[1]))
        if self._trainer is None or not self.trainer.training:
            return
        given = checkpoint.get("hyper_parameters", {})
        self._rates_before = {n: given[n] for n in ("lr", "weight_decay", "lr_lam") if n in given}
        if "random_state" not in checkpoint:
            return
        if (rank := self.trainer.global_rank) < len(states := checkpoint["random_state"]):
            set_random_state(states[rank])


def _compiled(network: nn.Module) -> Callable[..., object]:
    return CompiledNetwork(network) if isinstance(network, DynamicNetwork) else torch.compile(network, dynamic=False)
