"""Widths whose units each have a gate of their own: rivals that learned sizes are compared with.

``dynamize(…, width_class=HardConcreteGates)``; in YAML ``width_class: experiments.peers.gates.HardConcreteGates``.

A gate z multiplies its unit's features while the search lasts, all units being computed; the sum of the probabilities
P(z > 0) is the size K that objectives and complexity see. Evaluation uses the units that are more likely open than not;
frozen, as many of the likeliest as the objective asks for are kept, wherever they stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.widths.width import Width


class GatedWidth(Width):
    """A width with a gate for each unit; subclasses say how gates are drawn.

    ``theta`` (full size,) holds a parameter of each unit's gate; entries past the number of units are not used. One
    draw serves all layers that make the width, and a whole batch, in one pass of the network.

    Args:
        full_size, multiple_of, lam_min: as for :class:`~dyn_lightning.widths.width.Width`.
        boundary: "taper" alone, which nothing reads: no unit is the last one.
        resampled: not heeded, for gates are on elements: the bands of mel banks are ranked.

    Raises:
        SettingError: for another boundary, and as Width.
    """

    start: float  # of theta
    _kept: Tensor

    def __init__(
        self,
        full_size: int,
        *,
        multiple_of: int = 1,
        lam_min: float | None = None,
        boundary: str = "taper",
        resampled: bool = False,
    ) -> None:
        super().__init__(full_size, multiple_of=multiple_of, lam_min=lam_min, boundary=boundary)
        if boundary != "taper":
            raise SettingError(f"boundary={boundary!r}: gates have no boundary unit, leave it at taper")
        self.theta = nn.Parameter(torch.full((full_size,), self.start))
        self.register_buffer("_kept", torch.zeros(full_size, dtype=torch.bool))
        self._draw: tuple[Any, Tensor] | None = None  # of which pass (what `held` holds then), and the gates

    def open_probability(self) -> Tensor:
        """P(z > 0) of each unit, (units,), with θ's gradient."""
        raise NotImplementedError

    def draw(self) -> Tensor:
        """A gate in [0, 1] for each unit, (units,), with θ's gradient."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_draw": None}

    def _state(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.open_probability().detach().mean().log(), self._frozen_size, self._learning, self._samples

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        kept, frozen = (state_dict.get(f"{prefix}{name}") for name in ("_kept", "_frozen_size"))
        if kept is not None and frozen is not None and int(frozen) > 0 and int(kept.sum()) != int(frozen):
            raise UserError(f"{prefix[:-1]} keeps {int(kept.sum())} elements, its size is {int(frozen)}")
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def lam(self) -> Tensor:
        frozen = self._read()[1]
        return self.open_probability().mean() if frozen < 0 else self.theta.sum() * 0.0 + frozen / self.full_size

    @torch.no_grad()
    def set_lam(self, lam: float) -> None:
        """Open the gates of the first units, as many as λ says, and close the others. SettingError outside (0, 1]."""
        if not 0.0 < lam <= 1.0:
            raise SettingError(f"λ must lie in (0, 1], got {lam}")
        self.theta.fill_(-self.start)
        self.theta[: max(1, round(lam * self.units))] = self.start

    @torch.no_grad()
    def clamp_(self) -> None:
        """Nothing to bring back: a probability cannot leave [0, 1]."""

    @property
    def active(self) -> int:
        frozen = self._read()[1]
        return self.full_size if frozen < 0 else frozen

    @property
    def size(self) -> int:
        """The elements whose gate is more likely open than not, one unit at least; the frozen size."""
        frozen = self._read()[1]
        if frozen >= 0:
            return frozen
        with torch._C.DisableTorchFunction():
            return self._elements(max(1, int((self.open_probability() > 0.5).sum())))

    @torch.no_grad()
    def positions(self, size: int) -> Tensor:
        with torch._C.DisableTorchFunction():
            if size == self.full_size:
                return torch.arange(size)
            return self._kept.nonzero().flatten().cpu() if self.frozen else self._likeliest(size)

    def _likeliest(self, size: int) -> Tensor:
        order = self.open_probability().cpu().argsort(descending=True, stable=True)
        elements = (order[:, None] * self.multiple_of + torch.arange(self.multiple_of)).flatten()
        elements = elements[elements < self.full_size]
        return elements[:size].sort().values

    @torch.no_grad()
    def freeze(self, size: int | None = None) -> None:
        self.unfreeze()
        super().freeze(size)
        kept = self._likeliest(self.active)
        self._kept.fill_(False)
        self._kept[kept.to(self._kept.device)] = True

    def noise(self, x: Tensor, dim: int, *, apart: Iterable[int] = (), batch_dim: int | None = 0) -> Tensor:
        if self.probes is not None:
            return self._probed(x, dim, batch_dim)
        return self._times_gates(x, dim) if self.noisy else x

    def dampen(self, weights: Tensor, dim: int) -> Tensor:
        return self._times_gates(weights, dim)

    def _times_gates(self, x: Tensor, dim: int) -> Tensor:
        if self._draw is None or self._held is None or self._draw[0] is not self._held:
            self._draw = self._held, self.draw()
        gates = self._draw[1].repeat_interleave(self.multiple_of)[: self.full_size].to(x.dtype)
        shape = [1] * x.dim()
        shape[dim] = self.full_size
        return x * gates.reshape(shape)

    @property
    def folds(self) -> bool:
        return False


class GaussianGates(GatedWidth):
    """Stochastic gates (Yamada et al., ICML 2020): z = clamp(μ + σν, 0, 1), ν standard normal, σ = ½, θ = μ."""

    start = 1.0
    sigma = 0.5

    def open_probability(self) -> Tensor:
        return torch.special.ndtr(self.theta[: self.units] / self.sigma)

    def draw(self) -> Tensor:
        mean = self.theta[: self.units]
        return (mean + self.sigma * torch.randn_like(mean)).clamp(0.0, 1.0)


class HardConcreteGates(GatedWidth):
    """Hard concrete gates (Louizos et al., ICLR 2018, "L0"): a stretched, clamped binary concrete, θ = log α.

    z = clamp(s(ζ − γ) + γ, 0, 1), s = sigmoid((log u − log(1 − u) + θ)/β), u uniform; β = ⅔, γ = −0.1, ζ = 1.1.
    """

    start = 2.5
    beta, gamma, zeta = 2.0 / 3.0, -0.1, 1.1

    def open_probability(self) -> Tensor:
        return (self.theta[: self.units] - self.beta * math.log(-self.gamma / self.zeta)).sigmoid()

    def draw(self) -> Tensor:
        theta = self.theta[: self.units]
        u = torch.rand_like(theta).clamp(1e-6, 1.0 - 1e-6)
        s = ((u.logit() + theta) / self.beta).sigmoid()
        return (s * (self.zeta - self.gamma) + self.gamma).clamp(0.0, 1.0)
