"""One learned layer size, shared by every layer that is tied to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.widths import BOUNDARIES, Amplitude, active_size, amplitudes, boundary_noise, kept_size

_KINDS = {
    "gaussian_gates": "experiments.peers.gates.GaussianGates",
    "hard_concrete": "experiments.peers.gates.HardConcreteGates",
}
"""Boundaries of version 0.1.0 that are kinds of width → their classes."""


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
        boundary: how the boundary unit fades out, a name in ``functional.BOUNDARIES``.
        resampled: the elements sample a continuum, as bands sample a spectrum: a smaller size samples the whole of it
            more coarsely. No element is the last one, so there is no noise: λ's gradient comes through the sampling.

    Raises:
        SettingError: if ``boundary`` is unknown, ``lam_min`` lies outside (0, 1], or ``multiple_of``
            does not fit ``full_size``.
    """

    positions: ClassVar[Callable[[object, int], Tensor] | None] = None
    """Which elements the ``size`` in use are, ascending, (size,); None: the first ones. A method of subclasses that
    choose otherwise."""
    granularity = 1
    """What ``multiple_of`` must be a multiple of, for the calls that take this size."""

    _frozen_size: Tensor
    _learning: Tensor
    _samples: Tensor

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
            raise SettingError(f"a width needs an element at least, got {full_size}")
        if boundary not in BOUNDARIES:
            kind = _KINDS.get(boundary)
            use = f"write width_class: {kind}" if kind else f"use one of {', '.join(BOUNDARIES)}"
            raise SettingError(f"boundary={boundary!r} is unknown: {use}")
        self.boundary = boundary
        self.resampled = resampled
        self.full_size = full_size
        self.theta = nn.Parameter(torch.zeros(()))
        self.register_buffer("_frozen_size", torch.tensor(-1))
        self.register_buffer("_learning", torch.tensor(True))
        self.register_buffer("_samples", torch.tensor(full_size))
        self.probes: list[Tensor] | None = None  # ones on the features of each producer, while somebody asks for them
        self._held: tuple[float, int, bool, int] | None = None  # what _read answers while `held`
        self._amplitudes: tuple[tuple[float, int, str], tuple[Amplitude, Amplitude]] | None = None
        self.lam_min = 0.0
        self.limit(lam_min, multiple_of)

    def limit(self, lam_min: float | None = None, multiple_of: int | None = None) -> None:
        """Set the least λ, which is never below one unit, and the elements in a unit; None leaves what there is.

        Raises:
            SettingError: as :meth:`check_limits`.
        """
        self.check_limits(lam_min, multiple_of)
        if multiple_of is not None:
            self.multiple_of = int(multiple_of)
            self.units = math.ceil(self.full_size / self.multiple_of)
        self.lam_min = max(self.lam_min if lam_min is None else float(lam_min), 1.0 / self.units)

    def check_limits(self, lam_min: float | None = None, multiple_of: int | None = None) -> None:
        """See that :meth:`limit` takes these.

        Raises:
            SettingError: for a λ outside (0, 1], or a unit outside 1…N or that calls do not take.
        """
        if lam_min is not None:
            check_lam_min(lam_min)
        if multiple_of is None:
            return
        if multiple_of != int(multiple_of) or not 1 <= multiple_of <= self.full_size:
            raise SettingError(f"multiple_of={multiple_of} must lie in 1…{self.full_size}, the width's full size")
        if multiple_of % self.granularity:
            raise SettingError(
                f"multiple_of={multiple_of} must be a multiple of {self.granularity}: calls that take this size of "
                f"{self.full_size} take no others"
            )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_held": None, "_amplitudes": None}

    def _apply(self, *args: object, **kwargs: object) -> Any:
        super()._apply(*args, **kwargs)
        if self.theta.dtype in (torch.float16, torch.bfloat16):
            self.theta.data = self.theta.data.float()  # the steps of log λ are finer than half precision
        return self

    def _read(self) -> tuple[float, int, bool, int]:
        """(K in units, frozen size or −1, learning, samples) in Python."""
        if self._held is not None:
            return self._held
        return self._parse([x.item() for x in self._state()])

    def _state(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What :meth:`_parse` takes: log λ, the frozen size or −1, whether λ learns, samples; each 0-d."""
        return self.theta, self._frozen_size, self._learning, self._samples

    def _parse(self, values: Sequence[float]) -> tuple[float, int, bool, int]:
        if not values[0] < math.inf:
            raise UserError(
                f"λ of a learned size of {self.full_size} is {math.exp(values[0])}: a loss or a gradient was no finite "
                "number. Lower the learning rates, or clip gradients (gradient_clip_val)"
            )
        return math.exp(values[0]) * self.units, int(values[1]), bool(values[2]), int(values[3])

    def _load_from_state_dict(self, state_dict: dict[str, object], prefix: str, *args: object) -> None:
        state_dict.setdefault(f"{prefix}_samples", torch.tensor(self.full_size))  # older checkpoints have none
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def lam(self) -> Tensor:
        """λ, 0-d. With a gradient while learning; a constant that keeps θ in the graph when frozen."""
        frozen = self._read()[1]
        return self.theta.exp() if frozen < 0 else self.theta * 0.0 + frozen / self.full_size

    @torch.no_grad()
    def set_lam(self, lam: float) -> None:
        """Set λ. Raises SettingError outside (0, 1]."""
        if not 0.0 < lam <= 1.0:
            raise SettingError(f"λ must lie in (0, 1], got {lam}")
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
        k, frozen, *_ = self._read()
        return self._elements(kept_size(k)) if frozen < 0 else frozen

    @property
    def active(self) -> int:
        """Elements computed while learning: ⌈K⌉, or the frozen size."""
        k, frozen, *_ = self._read()
        return self._elements(active_size(k)) if frozen < 0 else frozen

    @property
    def neighbours(self) -> tuple[tuple[int, Tensor], ...]:
        """The whole sizes on both sides of K while learning, each with its share, 0-d: 1 where K is at it, then less.

        The larger one is ⌈K⌉; where nothing smaller is left it is alone. Shares have λ's gradient.
        """
        units = active_size(self._read()[0])
        active, below = self._elements(units), self._elements(units - 1)
        share = self.lam * self.units - (units - 1)
        return ((active, share), (below, 1 - share)) if below else ((active, torch.ones_like(share)),)

    @property
    def current(self) -> int:
        """Elements that a forward pass uses now; of a resampled width while learning those of both neighbours."""
        if self.noisy and self.resampled:
            return sum(size for size, _ in self.neighbours)
        return self.active if self.noisy else self.size

    @property
    def noisy(self) -> bool:
        """Whether the boundary unit is noisy now: training, learning and not frozen."""
        _, frozen, learning, _ = self._read()
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

        Raises SettingError outside 1…N.
        """
        size = self.size if size is None else size
        if not 1 <= size <= self.full_size:
            raise SettingError(f"cannot freeze at {size}: the width has 1…{self.full_size} elements")
        if size < self.full_size:
            size = self._elements(max(1, size // self.multiple_of))
        self._frozen_size.fill_(size)

    @property
    def samples(self) -> int:
        """Of a resampled width: at how many samples the layers behind it have their weights, in the first places.

        That is the full size until :func:`dyn_lightning.network.settle.settle_samples` has set it.
        """
        return self._read()[3]

    def set_samples(self, samples: int) -> None:
        """Say at how many samples weights are stored."""
        self._samples.fill_(samples)

    def unfreeze(self) -> None:
        """Let λ rule again, from the value it had."""
        self._frozen_size.fill_(-1)

    @property
    def amplitudes(self) -> tuple[Amplitude, Amplitude]:
        """Amplitudes of the boundary unit's feature and noise."""
        key = self._read()[0], self.units, self.boundary
        if self._amplitudes is None or self._amplitudes[0] != key:
            self._amplitudes = key, amplitudes(self.boundary, key[0], self.units)
        return self._amplitudes[1]

    def noise(self, x: Tensor, dim: int, *, apart: Iterable[int] = (), batch_dim: int | None = 0) -> Tensor:
        """Put boundary noise on the last unit of a dimension of this width; x unchanged where none is due.

        Args:
            x: elements in use.
            dim: the dimension.
            apart: see :func:`functional.boundary_noise`.
            batch_dim: the dimension of samples; None where there is none, as in a parameter.
        """
        if self.probes is not None:
            return self._probed(x, dim, batch_dim)
        if not self.noisy or self.resampled:
            return x
        a, b = (amplitude.of(self.theta) for amplitude in self.amplitudes)
        return boundary_noise(x, a, b, dim=dim, unit=self.boundary_size, apart=apart)

    def _probed(self, x: Tensor, dim: int, batch_dim: int | None) -> Tensor:
        """x times ones whose gradient is somebody's measure of the elements' importance."""
        assert self.probes is not None
        probe = x.new_ones(1 if batch_dim is None else x.shape[batch_dim], x.shape[dim], requires_grad=True)
        self.probes.append(probe)
        shape = [1] * x.dim()
        shape[dim] = probe.shape[1]
        if batch_dim is None:
            return x * probe.reshape(shape)
        shape[batch_dim] = probe.shape[0]
        return x * (probe if batch_dim < dim % x.dim() else probe.T).reshape(shape)

    def dampen(self, weights: Tensor, dim: int) -> Tensor:
        """Weights that read this width's own features of a step before, with the boundary unit's amplitude on it."""
        keep = self.amplitudes[0].of(self.theta).to(weights.dtype)
        unit = self.boundary_size
        clean, boundary = weights.split([weights.shape[dim] - unit, unit], dim=dim)
        return torch.cat([clean, boundary * keep], dim=dim)

    @property
    def folds(self) -> bool:
        """Whether noise can be put on by fading weights and adding to the product."""
        return self.probes is None and not self.resampled

    @property
    def boundary_size(self) -> int:
        """Elements in the boundary unit: ``multiple_of``, or what is left for the last one."""
        return (self.active - 1) % self.multiple_of + 1

    def extra_repr(self) -> str:
        state = "frozen" if self.frozen else "learning" if self.learning else "at rest"
        size = f"{self.size} of {self.full_size}"
        return f"{size}, lam_min={self.lam_min:.4g}, multiple_of={self.multiple_of}, {state}"


def check_lam_min(lam_min: float, what: str = "lam_min") -> None:
    """Raises SettingError for a least λ outside (0, 1]; ``what`` it is called in the message."""
    if not 0.0 < lam_min <= 1.0:
        raise SettingError(f"{what} must lie in (0, 1], got {lam_min}")


@contextmanager
def held(widths: Iterable[Width]) -> Iterator[None]:
    """Read all sizes once, for as long as they cannot change: in a forward pass each is asked for many times.

    On a GPU that is one transfer instead of many. Nothing is kept between passes, because λ may be changed in ways
    that leave no trace on the tensor (through ``.data``, as weight averaging does).
    """
    widths = [w for w in widths if w._held is None]
    with torch._C.DisableTorchFunction():  # whoever watches the network's calls is to see none of this
        tensors = [t for w in widths for t in w._state()]
        if any(t.is_cuda for t in tensors):
            values = torch.stack([t.detach().double() for t in tensors]).tolist()
        else:
            values = [t.item() for t in tensors]
    try:
        for i, width in enumerate(widths):
            width._held = width._parse(values[4 * i : 4 * i + 4])
        yield
    finally:
        for width in widths:
            width._held = None
