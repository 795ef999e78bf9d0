"""A short profile of a trained network: what each size loses by itself, without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dyn_lightning.costs.allocation import least_size
from dyn_lightning.costs.curves import sizes_from_curves
from dyn_lightning.errors import FileError, SettingError
from dyn_lightning.files import read_json, write_atomically
from dyn_lightning.network.compensate import RIDGE, How, Statistics, cut
from dyn_lightning.network.dynamic import DynamicNetwork
from dyn_lightning.widths.width import Width

SHARES = (0.75, 0.5, 0.35, 0.25, 0.18, 0.125, 0.0625, 0.03)
"""Of each width's full size, that it is cut to; and the least size."""


@dataclass
class Profile:
    """What a network loses where one width alone is cut.

    Attributes:
        whole: loss at the sizes that it was measured at.
        curves: width → (size, loss) in the order of measurement, the whole size included.
    """

    whole: float
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def sizes_within(self, network: DynamicNetwork, budget: float) -> dict[str, int]:
        """The sizes under a budget (in the unit of the network's complexity) that it foretells to lose least.

        Raises:
            SettingError: as :func:`sizes_from_curves`.
        """
        return sizes_from_curves(network.complexity, self.curves, budget)[0]

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_atomically(path, json.dumps({"whole": self.whole, "curves": self.curves}, indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read what :meth:`save` wrote. Raises FileError where it is no such file."""
        content = read_json(path)
        try:
            curves = {str(n): [(int(k), float(x)) for k, x in points] for n, points in content["curves"].items()}
            return cls(float(content["whole"]), curves)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(f"{path}: is no profile of a network. Remove it, and it is measured anew") from error


@torch.no_grad()
def measure_profile(
    network: DynamicNetwork,
    loss: Callable[[DynamicNetwork], float],
    statistics: Statistics | None = None,
    *,
    shares: Sequence[float] = SHARES,
    how: How = "regression",
    ridge: float = RIDGE,
    path: str | Path | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> Profile:
    """Cut each width alone to a few sizes, compensate, and measure the loss; the network is left as it was.

    Args:
        network: dynamic, its elements ranked.
        loss: of the network as it is, on the same batches each time; it runs in evaluation mode.
        statistics: for the compensation, see :func:`compensate.gather`; None: without.
        shares: of a width's full size, that it is cut to.
        how, ridge: see :func:`compensate.compensate`.
        path: a JSON file that is written after each width, and read first: what it holds is not measured again.
        told: called with a line after each width.

    Raises:
        SettingError: for a share outside (0, 1].
        FileError: where ``path`` holds something else, or the profile of another network.
    """
    for share in shares:
        if not 0.0 < share <= 1.0:
            raise SettingError(f"shares of the profile must lie in (0, 1], got {share}")
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        profile = _begun(network, path)
        if profile is None:
            profile = Profile(loss(network))
        for number, (name, width) in enumerate(network.widths.items(), 1):
            if name in profile.curves:
                continue
            points = [(width.size, profile.whole)]
            for size in _cuts(width, shares):
                with cut(network, {name: size}, statistics, how=how, ridge=ridge):
                    points.append((size, loss(network)))
            profile.curves[name] = points
            if path is not None:
                profile.save(path)
            told(f"profile: {number} of {len(network.widths)} sizes")
    finally:
        for module, mode in modes.items():
            module.training = mode
    return profile


def _begun(network: DynamicNetwork, path: str | Path | None) -> Profile | None:
    """What a file holds already, if it is of this network."""
    if path is None or not Path(path).exists():
        return None
    profile = Profile.load(path)
    for name, points in profile.curves.items():
        if name not in network.widths or points[0][0] != network.widths[name].size:
            raise FileError(f"{path}: is the profile of another network. Remove it, or choose another folder")
    return profile


def _cuts(width: Width, shares: Sequence[float]) -> list[int]:
    """Sizes below the one that a width has, in whole units, falling."""
    least = least_size(width)
    units = {max(1, round(share * width.full_size / width.multiple_of)) * width.multiple_of for share in shares}
    return sorted({max(size, least) for size in units | {least}} - set(range(width.size, width.full_size + 1)))[::-1]


def least_loss(
    network: DynamicNetwork,
    loss: Callable[[DynamicNetwork], float],
    candidates: Mapping[str, Mapping[str, int]],
    statistics: Statistics | None = None,
    **options: Any,
) -> tuple[str, dict[str, float]]:
    """Which of several allocations loses least where all sizes are cut at once, and what each loses.

    Args:
        network, loss, statistics: see :func:`measure_profile`.
        candidates: name → sizes of all widths.
        options: ``how`` and ``ridge``.
    """
    losses = {}
    with torch.no_grad():
        for name, sizes in candidates.items():
            with cut(network, sizes, statistics, **options):
                losses[name] = loss(network)
    return min(losses, key=lambda n: losses[n]), losses
