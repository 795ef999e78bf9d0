"""Trials of a dynamic network: cut to uneven sizes, it must do in every run what its graph says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dyn_lightning.errors import FAILURES, first_line
from dyn_lightning.graph import Graph, Pass, Size
from dyn_lightning.graph.declared import is_leaf
from dyn_lightning.graph.places import line_of_error
from dyn_lightning.graph.runner import Runner
from dyn_lightning.graph.untouched import as_written, unchanged
from dyn_lightning.graph.verify import Mismatch, find_mismatch
from dyn_lightning.layers import DynamicLayer
from dyn_lightning.network.dynamic import DynamicNetwork, plain_copy, run_in_eval
from dyn_lightning.widths.width import Width

Widths = dict[Size, Width]


def try_sizes(
    expected: Sequence[list[Tensor]], dynamic: DynamicNetwork, graph: Graph, widths: Widths
) -> Mismatch | None:
    """Cut the network to uneven sizes and see that every call answers what the graph says.

    Args:
        expected: what the backbone answers in each of the :func:`compared` runs.
        dynamic: the network; its sizes are full afterwards.
        graph: of the backbone.
        widths: of each learned Size.

    Raises:
        RuntimeError: where the network does not compute what the backbone does at full size.
    """
    mismatch, small = None, None
    for attempt in range(2):
        least = {size: _least_units(width) * size.unit for size, width in widths.items()}
        sizes = {size: max(n, least[size]) for size, n in uneven_sizes(widths, attempt).items()}
        _set_sizes(widths, sizes)
        small = None  # two of them at a time would take twice the memory
        small = _small(dynamic)
        mismatch = _follow(dynamic, small, graph, sizes, widths)
        if mismatch is not None:
            break
    assert small is not None
    with unchanged(dynamic):
        mismatch = mismatch or _there_and_back(dynamic, small, graph, widths, sizes)
    _set_sizes(widths, {size: size.full_size for size in widths})
    if mismatch is None:
        with unchanged(dynamic):
            alike = [_alike(answers_of(dynamic, p), y) for p, y in zip(compared(graph), expected, strict=True)]
        if not all(alike):
            raise RuntimeError("dynamize: at full size the network does not compute what the backbone computes")
    return mismatch


def _small(dynamic: DynamicNetwork) -> nn.Module:
    """The network as consolidation has it at the sizes set."""
    small = plain_copy(dynamic)
    as_written(dynamic, small)
    return small


def _there_and_back(
    dynamic: DynamicNetwork,
    small: nn.Module,
    graph: Graph,
    widths: Widths,
    sizes: dict[Size, int],
) -> Mismatch | None:
    """The dynamic network itself, cut and whole again: what its code keeps between calls must not hold a size fast."""
    mismatch = _first(find_mismatch(dynamic, p, sizes, _is_leaf) for p in compared(graph))
    if mismatch is None and (reason := _unseen(dynamic, small, graph)):
        mismatch = _blame(widths, sizes, lambda: _unseen(dynamic, _small(dynamic), graph), reason)
    full = {size: size.full_size for size in widths}
    _set_sizes(widths, full)
    mismatch = mismatch or _first(find_mismatch(dynamic, p, full, _is_leaf, remembers=True) for p in compared(graph))

    def trained() -> str | None:
        """Training passes at the sizes set, and then at full size."""
        try:
            with unchanged(dynamic):
                for _ in range(2):
                    for p in graph.passes:
                        if p.training:
                            Runner(dynamic, _is_leaf).call(p.example, training=True, forget=False)
                    _set_sizes(widths, full)
        except FAILURES as error:
            line = line_of_error(error, Runner.call.__code__)
            return f"the network's code needs it at full size in training ({first_line(error)}){line}"
        return None

    if mismatch is None:
        with _at_rest(widths.values()):
            _set_sizes(widths, sizes)
            if reason := trained():
                mismatch = _blame(widths, sizes, trained, reason)
    return mismatch


def try_least_sizes(dynamic: DynamicNetwork, graph: Graph, widths: Widths) -> Mismatch | None:
    """Cut everything to its least. Code that squeezes a dimension of one away must keep two there."""
    mismatch = None
    for _ in widths:
        sizes = {size: _least_units(width) * size.unit for size, width in widths.items()}
        _set_sizes(widths, sizes)
        mismatch = _follow(dynamic, _small(dynamic), graph, sizes, widths)
        near = [s for s in mismatch.sizes if sizes[s] == 1 and s.full_size > 2] if mismatch else []
        for size in near:
            widths[size].limit(lam_min=2 / size.full_size)
        if not near:
            break
    _set_sizes(widths, {size: size.full_size for size in widths})
    return mismatch


def compared(graph: Graph) -> list[Pass]:
    """The runs whose answers are compared: forward in evaluation mode. Other methods go their way by what they find."""
    return [p for p in graph.passes if p.method == "forward" and not p.training]


def answers_of(network: nn.Module, p: Pass) -> list[Tensor]:
    """What a network answers in a run, as the same chance has it each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return run_in_eval(network, p.example, p.method)


def uneven_sizes(widths: Iterable[Size], attempt: int = 0) -> dict[Size, int]:
    """About half of each size. Of two sizes that could be taken for one another, one attempt at least sets them apart,
    as far as there is room.
    """
    found: dict[Size, int] = {}
    of_full_size: dict[int, int] = {}
    for size in widths:
        number = of_full_size[size.full_size] = of_full_size.get(size.full_size, -1) + 1
        n = size.full_size // size.unit
        options = range(max(1, round(0.4 * n)), max(2, min(n, round(0.75 * n) + 1)))
        digit = number // len(options) ** attempt % len(options)  # of its number, one for each attempt
        found[size] = options[(digit + n) % len(options)] * size.unit
    return found


def _least_units(width: Width) -> int:
    return max(1, math.ceil(width.lam_min * width.units - 1e-6))


def _set_sizes(widths: Widths, sizes: dict[Size, int]) -> None:
    for size, width in widths.items():
        width.set_lam(sizes[size] / size.full_size)


def _follow(
    dynamic: DynamicNetwork, small: nn.Module, graph: Graph, sizes: dict[Size, int], widths: Widths
) -> Mismatch | None:
    """The first call that disagrees: of the small network in evaluation, of the dynamic one in training."""
    mismatch = _first(find_mismatch(small, p, sizes, remembers=i > 0) for i, p in enumerate(compared(graph)))
    trained = [p for p in graph.passes if p.training]
    if mismatch is None and trained:
        with _at_rest(widths.values()):
            mismatch = _first(find_mismatch(dynamic, p, sizes, _is_leaf) for p in trained)
    return mismatch


@contextmanager
def _at_rest(widths: Iterable[Width]) -> Iterator[None]:
    for width in widths:
        width.set_learning(False)
    try:
        yield
    finally:
        for width in widths:
            width.set_learning(True)


def _first(found: Iterable[Mismatch | None]) -> Mismatch | None:
    return next((mismatch for mismatch in found if mismatch is not None), None)


def _unseen(dynamic: DynamicNetwork, small: nn.Module, graph: Graph) -> str | None:
    """What is wrong with a cut network when nobody looks at its calls: code may go another way then."""
    try:
        alike = all(_alike(answers_of(dynamic, p), answers_of(small, p)) for p in compared(graph))
        for p in graph.passes:
            if p.method != "forward":
                for network in (dynamic, small):
                    answers_of(network, p)
    except FAILURES as error:
        line = line_of_error(error, run_in_eval.__code__)
        return f"the network's code needs it at full size ({first_line(error)}){line}"
    return None if alike else "the network's code uses a layer's parameters without calling the layer"


def _blame(widths: Widths, sizes: dict[Size, int], wrong: Callable[[], str | None], reason: str) -> Mismatch:
    """The sizes that are wrong in the same way when each is cut alone; all of them where none is."""
    found: dict[str, list[Size]] = {}
    for size in widths:
        _set_sizes(widths, {other: sizes[other] if other is size else other.full_size for other in widths})
        if why := wrong():
            found.setdefault(why, []).append(size)
    return next((Mismatch(tuple(same), why) for why, same in found.items()), Mismatch(tuple(widths), reason))


def _is_leaf(module: nn.Module) -> bool:
    return isinstance(module, DynamicLayer) or is_leaf(module)


def _alike(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether two networks' outputs are the same but for rounding (integers may hang on a rounded one)."""
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape:
            return False
        if a.is_floating_point() and a.numel():
            tolerance = max(1e-3, 100 * torch.finfo(a.dtype).eps)
            x, y = a.double().nan_to_num(), b.double().nan_to_num()
            if (x - y).abs().max() > tolerance * x.abs().max() + 1e-6:
                return False
    return True
