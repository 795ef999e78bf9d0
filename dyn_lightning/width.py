"""One learned layer size, shared by every layer that is tied to it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.functional import BOUNDARIES, active_size, boundary_noise, kept_size


class Width(nn.Module):
    """A layer size that is learned: λ in [λ_min, 1], of which N elements remain K = λN.

    λ lives in log space (λ = e^θ), so that a step of θ is a relative change of the size whatever the size.
    Three states: at rest (``learning`` off: all sizes follow λ, no noise), learning (the boundary unit is
    noisy in training mode) and frozen (an integer buffer rules; λ is not read, yet stays in the graph for
    DDP).

    Args:
        full_size: N, in elements.
        multiple_of: elements given up together: a head, or 8 channels on hardware that likes them.
        lam_min: least λ; one unit when absent, and never less.
        boundary: how the boundary unit passes away, a name in ``functional.BOUNDARIES``.
        resampled: the elements sample a continuum, as bands sample a spectrum: a smaller size samples the whole of it
            more coarsely. No element is the last one, so there is no noise: λ's gradient comes through the sampling.

    Raises:
        ValueError: if ``boundary`` is unknown, ``lam_min`` lies outside (0, 1], or ``multiple_of``
            does not fit ``full_size``.
    """

    _frozen_size: Tensor
    _learning: Tensor

    def __init__(
        self,
        full_size: int,
        *,
        multiple_of: int = 1,
        lam_min: float | None = None,
        boundary: str = "taper",
        resampled: bool = False,
    ) -> None:
        super().__init__()
        if full_size < 1:
            raise ValueError(f"a width needs an element at least, got {full_size}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"boundary={boundary!r} is unknown: use one of {', '.join(BOUNDARIES)}")
        if lam_min is not None and not 0.0 < lam_min <= 1.0:
            raise ValueError(f"lam_min must lie in (0, 1], got {lam_min}")
        self.boundary = boundary
        self.resampled = resampled
        self.full_size = full_size
        self.theta = nn.Parameter(torch.zeros(()))
        self.register_buffer("_frozen_size", torch.tensor(-1))
        self.register_buffer("_learning", torch.tensor(True))
        self.gates: list[Tensor] | None = None  # ones on the features of each producer, while somebody asks for them
        self._cache: tuple[Any, tuple[float, int, bool]] | None = None
        self.lam_min = 0.0 if lam_min is None else lam_min
        self.set_multiple_of(multiple_of)

    def set_multiple_of(self, multiple_of: int) -> None:
        """Set the elements in a unit. Raises ValueError outside 1…N."""
        if not 1 <= multiple_of <= self.full_size:
            raise ValueError(f"multiple_of={multiple_of} must lie in 1…{self.full_size}, the width's full size")
        self.multiple_of = multiple_of
        self.units = math.ceil(self.full_size / self.multiple_of)
        self.lam_min = max(self.lam_min, 1.0 / self.units)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": None}

    def _read(self) -> tuple[float, int, bool]:
        """(K in units, frozen size or −1, learning) in Python; on a GPU one transfer for each new value."""
        tensors = (self.theta, self._frozen_size, self._learning)
        key = tuple((id(t), t._version) for t in tensors) if self.theta.is_cuda else None
        if key is None or self._cache is None or self._cache[0] != key:
            flat = torch.stack([t.detach().double() for t in tensors]).tolist() if key else [t.item() for t in tensors]
            value = (math.exp(flat[0]) * self.units, int(flat[1]), bool(flat[2]))
            if key is None:
                return value
            self._cache = (key, value)
        return self._cache[1]

    @property
    def lam(self) -> Tensor:
        """λ, 0-d. With a gradient while learning; a constant that keeps θ in the graph when frozen."""
        frozen = self._read()[1]
        return self.theta.exp() if frozen < 0 else self.theta * 0.0 + frozen / self.full_size

    @torch.no_grad()
    def set_lam(self, lam: float) -> None:
        """Set λ. Raises ValueError outside (0, 1]."""
        if not 0.0 < lam <= 1.0:
            raise ValueError(f"λ must lie in (0, 1], got {lam}")
        self.theta.fill_(math.log(lam))

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bring λ back into [λ_min, 1]."""
        self.theta.clamp_(math.log(self.lam_min), 0.0)

    @property
    def k(self) -> Tensor:
        """Real-valued size K in elements, 0-d, with λ's gradient."""
        return self.lam * self.full_size

    def _elements(self, units: int) -> int:
        return min(min(units, self.units) * self.multiple_of, self.full_size)

    @property
    def size(self) -> int:
        """Elements that evaluation uses and consolidation keeps: ⌊K⌋, or the frozen size."""
        k, frozen, _ = self._read()
        return self._elements(kept_size(k)) if frozen < 0 else frozen

    @property
    def active(self) -> int:
        """Elements computed while learning: ⌈K⌉, or the frozen size."""
        k, frozen, _ = self._read()
        return self._elements(active_size(k)) if frozen < 0 else frozen

    @property
    def current(self) -> int:
        """Elements that a forward pass uses now."""
        return self.active if self.noisy else self.size

    @property
    def noisy(self) -> bool:
        """Whether the boundary unit is noisy now: training, learning and not frozen."""
        _, frozen, learning = self._read()
        return self.training and learning and frozen < 0

    @property
    def frozen(self) -> bool:
        return self._read()[1] >= 0

    @property
    def learning(self) -> bool:
        """Whether λ acts through the noise in training mode."""
        return self._read()[2] and not self.frozen

    def set_learning(self, learning: bool) -> None:
        """Let λ act through the boundary noise (the search), or not (the warm-up)."""
        self._learning.fill_(learning)

    def freeze(self, size: int | None = None) -> None:
        """Fix the size at ``size`` elements (the kept size when absent), rounded down to whole units (one at
        least).

        Raises ValueError outside 1…N.
        """
        size = self.size if size is None else size
        if not 1 <= size <= self.full_size:
            raise ValueError(f"cannot freeze at {size}: the width has 1…{self.full_size} elements")
        if size < self.full_size:
            size = self._elements(max(1, size // self.multiple_of))
        self._frozen_size.fill_(size)

    def unfreeze(self) -> None:
        """Let λ rule again, from the value it had."""
        self._frozen_size.fill_(-1)

    @property
    def alpha(self) -> Tensor:
        """⌈K⌉ − K in units, in [0, 1]: how far the boundary unit has passed away. 0-d, with λ's gradient."""
        k, _, _ = self._read()
        alpha = min(active_size(k), self.units) - self.lam * self.units
        return alpha + (alpha.clamp(0.0, 1.0) - alpha).detach()

    @property
    def amplitudes(self) -> tuple[Tensor, Tensor]:
        """Amplitudes of the boundary unit's feature and noise, 0-d, with λ's gradient."""
        return BOUNDARIES[self.boundary](self.alpha)

    def noise(self, x: Tensor, dim: int, *, apart: Iterable[int] = (), batch_dim: int | None = 0) -> Tensor:
        """Put boundary noise on the last unit of a dimension of this width; x unchanged where none is due.

        Args:
            x: elements in use.
            dim: the dimension.
            apart: see :func:`functional.boundary_noise`.
            batch_dim: the dimension of samples; None where there is none, as in a parameter.
        """
        if self.gates is not None:
            gate = x.new_ones(1 if batch_dim is None else x.shape[batch_dim], x.shape[dim], requires_grad=True)
            self.gates.append(gate)
            shape = [1] * x.dim()
            shape[dim] = gate.shape[1]
            if batch_dim is None:
                return x * gate.reshape(shape)
            shape[batch_dim] = gate.shape[0]
            return x * (gate if batch_dim < dim % x.dim() else gate.T).reshape(shape)
        if not self.noisy or self.resampled:
            return x
        return boundary_noise(x, *self.amplitudes, dim=dim, unit=self.boundary_size, apart=apart)

    @property
    def boundary_size(self) -> int:
        """Elements in the boundary unit: ``multiple_of``, or what is left for the last one."""
        return (self.active - 1) % self.multiple_of + 1

    def extra_repr(self) -> str:
        state = "frozen" if self.frozen else "learning" if self.learning else "at rest"
        size = f"{self.size} of {self.full_size}"
        return f"{size}, lam_min={self.lam_min:.4g}, multiple_of={self.multiple_of}, {state}"
