"""How a tensor dimension is made of Widths: products, and concatenations of such."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from dyn_lightning.widths import add_boundary_noise_, fade, interpolation
from dyn_lightning.widths.width import Width


class Concat:
    """A factor of a Layout: Layouts one after another.

    Args:
        parts: what is joined.
    """

    def __init__(self, *parts: int | Width | Layout) -> None:
        self.parts = tuple(as_layout(part) for part in parts)

    @property
    def widths(self) -> tuple[Width, ...]:
        return tuple(w for part in self.parts for w in part.widths)

    @property
    def full_size(self) -> int:
        return sum(part.full_size for part in self.parts)

    @property
    def current(self) -> int:
        return sum(part.current for part in self.parts)

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


Factor = int | Width | Concat


class Layout:
    """How one tensor dimension is made of Widths: the row-major product of fixed sizes, Widths and Concats.

    A GRU's gate rows are ``Layout(3, width)``, channels × bands flattened into one dimension
    ``Layout(width, 20)``, the heads of an attention ``Layout(heads, head_size)``, channels joined from two layers
    ``Layout(Concat(a, b))``.

    Args:
        factors: fixed sizes, Widths, Concats, or Layouts, outermost first; ones are left out.
    """

    def __init__(self, *factors: Factor | Layout) -> None:
        flat: list[Factor] = []
        for factor in factors:
            flat.extend(factor.factors if isinstance(factor, Layout) else [factor])
        self.factors: tuple[Factor, ...] = tuple(f for f in flat if not (isinstance(f, int) and f == 1))
        self._cache: dict[tuple[object, ...], Tensor] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cache": {}}

    def without(self, inner: int) -> Layout | None:
        """This dimension without a fixed size at its end; None where it does not end so."""
        if inner == 1:
            return self
        *others, last = self.factors or (1,)
        if not isinstance(last, int) or last % inner:
            return None
        return Layout(*others, last // inner)

    @property
    def widths(self) -> tuple[Width, ...]:
        """Every Width in it, once for each time that it occurs."""
        found: list[Width] = []
        for f in self.factors:
            found += [f] if isinstance(f, Width) else [] if isinstance(f, int) else f.widths
        return tuple(found)

    @property
    def full_size(self) -> int:
        return math.prod(f if isinstance(f, int) else f.full_size for f in self.factors)

    @property
    def current(self) -> int:
        """Elements of the dimension that a forward pass uses now."""
        return math.prod(f if isinstance(f, int) else f.current for f in self.factors)

    @property
    def size(self) -> int:
        """Elements of the dimension that consolidation keeps."""
        return math.prod(f if isinstance(f, int) else f.size for f in self.factors)

    @property
    def simple(self) -> Width | None:
        """The one Width that it is all of, if so."""
        (first, *others) = self.factors or (1,)
        return first if isinstance(first, Width) and not others else None

    def positions(self, chosen: Callable[[Width], Tensor]) -> Tensor:
        """Positions in the full dimension, given those of each Width: (n,), int64."""
        flat = torch.zeros(1, dtype=torch.int64)
        for factor in self.factors:
            if isinstance(factor, int):
                full, inner = factor, torch.arange(factor)
            elif isinstance(factor, Width):
                full, inner = factor.full_size, chosen(factor)
            else:
                full, pieces, start = factor.full_size, [], 0
                for part in factor.parts:
                    pieces.append(part.positions(chosen) + start)
                    start += part.full_size
                inner = torch.cat(pieces)
            flat = (flat[:, None] * full + inner).flatten()
        return flat

    def indices(self, *, kept: bool = False, device: torch.device | None = None) -> Tensor:
        """Positions in the full dimension of the elements in use (``kept``: that consolidation keeps)."""
        sizes = {w: w.size if kept else w.current for w in self.widths}

        def chosen(width: Width) -> Tensor:
            return torch.arange(sizes[width]) if width.positions is None else width.positions(sizes[width])

        if any(w.positions is not None for w in sizes):
            return self.positions(chosen).to(device)
        key = (*sizes.values(), device)
        if key not in self._cache:
            if len(self._cache) > 64:
                self._cache.clear()
            with torch.inference_mode(False):  # a pass that learns may want them later
                self._cache[key] = self.positions(chosen).to(device)
        return self._cache[key]

    def take(self, x: Tensor, dim: int, *, kept: bool = False) -> Tensor:
        """Cut a full-size dimension down to the elements in use (``kept``: that consolidation keeps)."""
        if any(w.resampled for w in self.widths):
            return self._resample(x, dim, kept=kept)
        if all((w.size if kept else w.current) == w.full_size for w in self.widths):
            return x
        first, *others = self.factors
        if isinstance(first, Width) and first.positions is None and all(isinstance(f, int) for f in others):
            inner = math.prod(f for f in others if isinstance(f, int))
            return x.narrow(dim, 0, (first.size if kept else first.current) * inner)
        return x.index_select(dim, self.indices(kept=kept, device=x.device))

    def _resample(self, x: Tensor, dim: int, *, kept: bool) -> Tensor:
        """Weights for fewer samples of a continuum: as if these were interpolated back to those stored first.

        While the size is searched, the samples are those of both whole sizes next to K, one after the other, and what
        is interpolated back from each counts as much as K is near to it.
        """
        (width,) = self.widths
        stored = width.samples
        if stored < width.full_size:
            x = x.narrow(dim, 0, stored)
        if width.noisy and not kept:
            parts = [share * interpolation(stored, size).to(x.device) for size, share in width.neighbours]
            matrix = torch.cat(parts, 1).to(x.dtype)
        else:
            size = width.size if kept else width.current
            if size == stored:
                return x
            matrix = interpolation(stored, size).to(x)
        return (x.movedim(dim, -1) @ matrix).movedim(-1, dim)

    def in_use(self) -> Tensor | None:
        """Positions of the full dimension that current weights are made of; None for all of them."""
        resampled = [w for w in self.widths if w.resampled]
        if resampled:
            samples = resampled[0].samples  # a layout with such a width is nothing else
            return None if samples == self.full_size else torch.arange(samples)
        return None if self.current == self.full_size else self.indices()

    def noise(self, x: Tensor, dim: int, *, batch_dim: int | None = 0) -> Tensor:
        """Put the boundary noise of every Width on its own last units; x unchanged where none is due.

        ``batch_dim``: the dimension of samples; None where there is none, as in a parameter.
        """
        if not any((w.noisy and not w.resampled) or w.probes is not None for w in self.widths):
            return x
        if (width := self.simple) is not None:
            return width.noise(x, dim, batch_dim=batch_dim)
        dim, n = dim % x.dim(), len(self.factors)
        y = x.unflatten(dim, self._shape())
        if batch_dim is not None:
            batch_dim = batch_dim % x.dim()
            batch_dim += (n - 1) * (batch_dim > dim)
        for i, factor in enumerate(self.factors):
            at = dim + i
            if isinstance(factor, Width):
                y = factor.noise(y, at, apart=range(dim, dim + n), batch_dim=batch_dim)
            elif isinstance(factor, Concat):
                pieces = y.split([part.current for part in factor.parts], dim=at)
                noisy = [p.noise(z, at, batch_dim=batch_dim) for p, z in zip(factor.parts, pieces, strict=True)]
                y = torch.cat(noisy, dim=at)
        return y.flatten(dim, dim + n - 1)

    def fade(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """Weights of a layer that makes this dimension (their first), for :meth:`noise_` to follow."""
        shape = self._shape()
        for i, factor in enumerate(self.factors):
            if isinstance(factor, Width) and factor.noisy:
                seen = [w.unflatten(0, shape) for w in weights] if len(shape) > 1 else weights
                weights = fade(seen, factor.theta, factor.amplitudes[0], dim=i, unit=factor.boundary_size)
                weights = [w.flatten(0, len(shape) - 1) for w in weights] if len(shape) > 1 else weights
        return weights

    def noise_(self, x: Tensor, dim: int) -> Tensor:
        """:meth:`noise` in place, on features made by weights that :meth:`fade` has been at; samples lie in the others.

        Neither features nor gradients are copied, which :meth:`noise` does; for layouts that are :attr:`foldable`.
        """
        dim, shape = dim % x.dim(), self._shape()
        seen = (*x.shape[:dim], *shape, *x.shape[dim + 1 :])
        apart = range(dim, dim + len(shape))
        for i, factor in enumerate(self.factors):
            if isinstance(factor, Width) and factor.noisy:
                unit = factor.boundary_size
                x = add_boundary_noise_(
                    x, factor.theta, *factor.amplitudes, dim=dim + i, unit=unit, apart=apart, shape=seen
                )
        return x

    @property
    def foldable(self) -> bool:
        """Whether :meth:`fade` and :meth:`noise_` can stand for :meth:`noise`."""
        return all(not isinstance(f, Concat) for f in self.factors) and all(w.folds for w in self.widths)

    def _shape(self) -> list[int]:
        return [f if isinstance(f, int) else f.current for f in self.factors]


def as_layout(size: int | Width | Layout) -> Layout:
    """A Layout from whatever says the size of a dimension."""
    return size if isinstance(size, Layout) else Layout(size)


def distinct(widths: Iterable[Width]) -> list[Width]:
    """Each Width once, in the order of its first occurrence."""
    return list(dict.fromkeys(widths))
