"""What torch.fft's functions transform."""

from __future__ import annotations

import math
from typing import Any

from dyn_lightning.graph.axes import axis_size
from dyn_lightning.graph.call import Call


def dims_of(given: Any, n: int) -> tuple[int, ...]:
    """Dimensions as non-negative numbers; None: all."""
    if given is None:
        return tuple(range(n))
    return tuple(int(d) % n for d in ([given] if isinstance(given, int) else given))


def transform_of(c: Call) -> tuple[int, tuple[int, ...]]:
    """Points of one transform of torch.fft, and its dimensions."""
    n, name = len(c.inputs[0]) if c.inputs else 0, c.name
    if name.endswith(("freq", "shift")):
        return 0, ()
    single, two = name[-1] == "t", name[-1] == "2"
    given = c.argument(2, "dim", default=-1 if single else (-2, -1) if two else None)
    lengths = c.argument(1, "n", "s")
    if given is None and lengths is not None and not isinstance(lengths, int):
        given = tuple(range(n - len(lengths), n))
    dims = dims_of(given, n)
    x = [axis_size(c.inputs[0][d]) for d in dims]
    y = [int(c.results[0].shape[d]) for d in dims]
    if lengths is not None:
        points = [int(lengths)] if isinstance(lengths, int) else [int(m) for m in lengths]
        points = [m if m > 0 else k for m, k in zip(points, x, strict=True)]
    else:
        points = [max(p, q) for p, q in zip(x, y, strict=True)]
    return math.prod(points), dims
