"""A budget of FLOPs, searched from where a profile of the trained network says that it should be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dyn_lightning.costs.budgets import FlopsLimit
from dyn_lightning.errors import SettingError
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.network.profile import Profile
from dyn_lightning.objectives.flops_budget import FlopsBudget


class ProfiledBudget(FlopsBudget):
    """As :class:`FlopsBudget`, begun at a given allocation and held to it instead of to one common λ.

    λ's gradient sees what the last unit is worth now; a profile sees what a size would lose further down, so a search
    that starts there need not find it. At the first step of the search each λ goes to its size of the allocation, and
    the cost stays at the budget while λ learns. ``cohesion`` pulls the widths towards the allocation's proportions: on
    a network that is badly balanced these are as uneven as the profile says, on a balanced one they are about even.

    Args:
        share, flops_per_second, share_of_all: the budget, one of the three.
        profile: a file that ``network.profile.Profile`` has saved, whose allocation under the budget is taken.
        sizes: the allocation itself, of each width by name. Give one of the two.
        options: as of :class:`FlopsBudget`.

    Raises:
        SettingError: as of :class:`FlopsBudget`; if not one of ``profile`` and ``sizes`` is given; from ``check``, if
            they are of another network.
        FileError: if the profile cannot be read.
    """

    def __init__(
        self,
        share: float | None = None,
        flops_per_second: float | None = None,
        share_of_all: float | None = None,
        *,
        profile: str | None = None,
        sizes: dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(share, flops_per_second, share_of_all, **options)
        if (profile is None) == (sizes is None):
            raise SettingError("ProfiledBudget begins at one allocation: give profile, a file, or sizes")
        if profile is not None and not isinstance(self.limit, FlopsLimit):
            raise SettingError("a profile allocates FLOPs: with another limit give sizes")
        self._profile = None if profile is None else Profile.load(Path(profile))
        self._sizes: dict[str, int] | None = None if sizes is None else dict(sizes)

    def allocation(self, dynamic: DynamicNetwork) -> Mapping[str, int]:
        """The sizes at which the search begins.

        Raises:
            SettingError: where profile or sizes name other widths than the network has, or sizes beyond theirs.
        """
        if self._sizes is None:
            assert self._profile is not None
            self._sizes = self._profile.sizes_within(dynamic, self.budget(dynamic.complexity))
        if wrong := sorted(set(self._sizes) ^ set(dynamic.widths)):
            raise SettingError(f"sizes must name every width once; missing or unknown: {', '.join(wrong)}")
        for name, size in self._sizes.items():
            if not 1 <= size <= dynamic.widths[name].full_size:
                raise SettingError(f"sizes: {name} has 1…{dynamic.widths[name].full_size} elements, not {size}")
        return self._sizes

    def check(self, dynamic: DynamicNetwork) -> None:
        super().check(dynamic)
        self.allocation(dynamic)

    def anchors(self, dynamic: DynamicNetwork) -> Tensor | float:
        first = next(iter(dynamic.widths.values())).theta
        of = self.allocation(dynamic)
        logs = [math.log(of[name] / width.full_size) for name, width in dynamic.widths.items()]
        return torch.tensor(logs, dtype=first.dtype, device=first.device)

    def begin(self, dynamic: DynamicNetwork) -> None:
        """Bring every λ to the allocation."""
        for name, size in self.allocation(dynamic).items():
            width = dynamic.widths[name]
            width.set_lam(size / width.full_size)
            width.clamp_()

    def forward(self, dynamic: DynamicNetwork, task_loss: Tensor, progress: float) -> Tensor:
        if all(bool(width.theta == 0.0) for width in dynamic.widths.values()):  # nothing has moved yet
            self.begin(dynamic)
        return super().forward(dynamic, task_loss, 1.0)

    def after_step(self, dynamic: DynamicNetwork, progress: float) -> None:
        super().after_step(dynamic, 1.0)
