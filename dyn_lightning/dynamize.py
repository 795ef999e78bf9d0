"""Backbone → dynamic backbone: the same network, with sizes that can be learned."""

from __future__ import annotations

import copy
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.build import build, no_nested_tensors
from dyn_lightning.errors import SettingError
from dyn_lightning.graph import Graph, Size, read_graph, unify
from dyn_lightning.graph.layers import is_leaf
from dyn_lightning.graph.untouched import copies, put_back
from dyn_lightning.graph.verify import Mismatch, find_mismatch
from dyn_lightning.layers import DynamicLayer
from dyn_lightning.network import DynamicNetwork, plain_copy, run_in_eval, shallow_copy

_PART = re.compile(r"\.(l\d+|part\d+|heads|head_size|value_size|out_proj|blocks|each)$")
NOT_ASKED_FOR, ASKED_TO_BE_FIXED = "it was not asked for", "it was asked to be fixed"


def dynamize(
    backbone: nn.Module,
    example_input: Any,
    *,
    duration_s: float | None = None,
    dynamic: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    ties: Sequence[Sequence[str]] = (),
    mel_spacing: str = "respaced",
    boundary: str = "taper",
    free_outputs: bool = False,
) -> Any:
    """Make a network's sizes learnable.

    The backbone is copied, run once on the example input to see which sizes are tied, and its layers are
    replaced by dynamic ones that hold the same parameters under the same names. At λ = 1 the result computes
    what the backbone computes. Sizes of the network's inputs are never touched, those of its outputs only
    where ``free_outputs`` asks for it.

    Args:
        backbone: any torch.nn network; left as it was.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments), batch dimension
            included; costs are those of this input.
        duration_s: seconds of audio in the example input, over its whole batch; costs are then per second.
            None: costs per call.
        dynamic: patterns (``fnmatch``) of the layers whose sizes are learned; None for every size that can
            be.
        fixed: patterns of sizes to leave alone.
        ties: groups of layer names whose sizes are to be one.
        mel_spacing: which bands a mel filter bank gives up: none in particular, those left dividing up the whole range
            anew (``respaced``), or the last in rank (``ranked``), which is also what is done where a layer behind the
            bank has parameters for each band.
        boundary: how a width's boundary unit passes away, a name in ``functional.BOUNDARIES``; or a kind of gate for
            each unit instead, a name in ``gates.GATES``, for comparison. Gates leave the bands of mel banks ranked.
        free_outputs: let sizes in the network's output be learned too. Whoever reads the output must then
            take what is missing at its end for zeros, as ``tasks.Regression`` does.

    Returns:
        A :class:`DynamicNetwork`, also an instance of the backbone's class.

    Raises:
        ValueError: where a pattern matches nothing, or nothing can be learned; the message lists what could
            be matched, and why the rest is fixed. Where the backbone has an attribute that a DynamicNetwork
            needs.
        TypeError: where the backbone cannot be called with the example input, or answers no tensor.
    """
    taken = [name for name in DynamicNetwork.__annotations__ if hasattr(backbone, name)]
    if taken:
        raise SettingError(f"dynamize: {type(backbone).__name__} has its own {', '.join(taken)}: rename it there")
    if mel_spacing not in ("respaced", "ranked"):
        raise SettingError(f"mel_spacing={mel_spacing!r} is unknown: use respaced or ranked")
    parameters = copies(backbone.parameters())
    graph = read_graph(no_nested_tensors(shallow_copy(backbone)), example_input, free_outputs=free_outputs)
    written = put_back(parameters)  # by the network's own code, as where it normalises its weights: mostly none
    del parameters
    expected = _answers(no_nested_tensors(shallow_copy(backbone)), example_input)
    _declare(graph, fixed, ties)
    names = _names(graph)
    untraced: dict[Size, str] = {}
    while True:
        chosen = _choose(graph, dynamic, names)
        result = build(backbone, graph, chosen, duration_s, mel_spacing, boundary, names)
        widths = dict(zip(chosen, result.widths.values(), strict=True))
        mismatch = _check(expected, result, graph, widths, example_input)
        mismatch = mismatch or _check_least(result, graph, widths, example_input)
        put_back(written)
        if mismatch is None:
            break
        for size in mismatch.sizes:
            size.fix(mismatch.reason)
            untraced[size] = mismatch.reason
    if untraced:
        kept = "; ".join(f"{names.get(size, size.names[0])}: {reason}" for size, reason in untraced.items())
        warnings.warn(f"dynamize: sizes kept whole, for the code could not be followed: {kept}", stacklevel=2)
    return copy.deepcopy(result)


def left_whole(network: DynamicNetwork) -> list[str]:
    """Names of the sizes that could be learned, but that ``dynamic`` or ``fixed`` has left at full size."""
    return [name for name, reason in network.fixed_reasons.items() if reason in (NOT_ASKED_FOR, ASKED_TO_BE_FIXED)]


def _names(graph: Graph) -> dict[Size, str]:
    """A name for each size's Width: its first maker, dots as dashes, unlike any attribute of a ModuleDict."""
    names: dict[Size, str] = {}
    taken: set[str] = set()
    for size in graph.roots():
        name = size.names[0].replace(".", "-")
        name = f"{name}_" if hasattr(nn.ModuleDict, name) else name
        while name in taken:
            name += "_"
        taken.add(name)
        names[size] = name
    return names


def _matches(size: Size, pattern: str) -> bool:
    names = {n for name in size.names for n in (name, _PART.sub("", name))}
    return any(fnmatchcase(n, pattern) for name in names for n in (name, name.replace(".", "-")))


def _declare(graph: Graph, fixed: Sequence[str], ties: Sequence[Sequence[str]]) -> None:
    """Apply what the user has said of the sizes."""
    known = ", ".join(n for size in graph.roots() for n in size.names)
    for group in ties:
        tied = [[s for s in graph.roots() if _matches(s, name)] for name in group]
        for name, found in zip(group, tied, strict=True):
            if not found:
                raise SettingError(f"ties: no size is called {name!r}; there are {known}")
            for size in found:
                if size.full_size != tied[0][0].full_size:
                    one, other = tied[0][0], size
                    apart = f"{one.names[0]} ({one.full_size}) and {other.names[0]} ({other.full_size})"
                    raise SettingError(f"ties: {apart} cannot be tied")
                unify((tied[0][0],), (size,), "it was asked to be tied to another")
    for pattern in fixed:
        found = [s for s in graph.roots() if _matches(s, pattern)]
        if not found:
            raise SettingError(f"fixed: the pattern {pattern!r} matches nothing; there are {known}")
        for size in found:
            size.fix(ASKED_TO_BE_FIXED)


def _choose(graph: Graph, patterns: Sequence[str] | None, names: dict[Size, str]) -> list[Size]:
    sizes = [s for s in graph.roots() if s in names]
    free = [s for s in sizes if s.reason is None]
    lines = [f"  {names[s]} ({s.full_size}): {s.reason or 'can be learned'}" for s in sizes]
    lines += [f"  {name}: {reason}" for name, reason in graph.fixed.items()]
    known = "\n".join(lines) or "  (no layer with a size was found)"
    chosen: dict[Size, None] = {}
    for pattern in ["*"] if patterns is None else patterns:
        found = [s for s in free if _matches(s, pattern)]
        if not found:
            barred = [s for s in sizes if s.reason and _matches(s, pattern)]
            why = f" (matched, but fixed: {', '.join(names[s] for s in barred)})" if barred and patterns else ""
            raise SettingError(
                f"dynamic: the pattern {pattern!r} matches no size that can be learned{why}. Sizes:\n{known}"
            )
        chosen |= dict.fromkeys(found)
    if not chosen:
        raise SettingError(f"dynamic: no pattern was given, so nothing would be learned. Sizes:\n{known}")
    for size in free:
        if size not in chosen:
            size.fix(NOT_ASKED_FOR)
    return list(chosen)


def _check(
    expected: list[Tensor], dynamic: Any, graph: Graph, widths: dict[Size, Any], example_input: Any
) -> Mismatch | None:
    """Cut the network to uneven sizes and see that every call answers what the graph foretells."""
    mismatch = None
    for attempt in range(2):
        least = {size: math.ceil(width.lam_min * size.full_size - 1e-6) for size, width in widths.items()}
        sizes = {size: max(n, least[size]) for size, n in uneven_sizes(widths, attempt).items()}
        for size, width in widths.items():
            width.set_lam(sizes[size] / size.full_size)
        small: Any = None  # two of them at a time would take twice the memory
        small = plain_copy(dynamic)
        mismatch = find_mismatch(small, graph, sizes, example_input)
        if mismatch is not None:
            break
    # The dynamic network itself, there and back: what its code remembers between calls must not hold a size fast.
    mismatch = mismatch or find_mismatch(dynamic, graph, sizes, example_input, _is_leaf)
    if mismatch is None and (reason := _unseen(dynamic, small, example_input)):
        mismatch = _blame(dynamic, widths, sizes, example_input) or Mismatch(tuple(widths), reason)
    for width in widths.values():
        width.set_lam(1.0)
    mismatch = mismatch or find_mismatch(
        dynamic, graph, {size: size.full_size for size in widths}, example_input, _is_leaf
    )
    if mismatch is None and not _alike(_answers(dynamic, example_input), expected):
        raise RuntimeError("dynamize: at full size the network does not compute what the backbone computes")
    return mismatch


def _unseen(dynamic: Any, small: nn.Module, example_input: Any) -> str | None:
    """What is wrong with a cut network when nobody looks at its calls: code may go another way then."""
    try:
        alike = _alike(_answers(dynamic, example_input), _answers(small, example_input))
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        return f"the network's code needs it at full size ({str(error).strip().splitlines()[0][:100]})"
    return None if alike else "the network's code uses a layer's parameters without calling the layer"


def _blame(dynamic: Any, widths: dict[Size, Any], sizes: dict[Size, int], example_input: Any) -> Mismatch | None:
    """The sizes that are wrong in the same way when each is cut alone."""
    found: dict[str, list[Size]] = {}
    for size in widths:
        for other, width in widths.items():
            width.set_lam(sizes[size] / size.full_size if other is size else 1.0)
        if reason := _unseen(dynamic, plain_copy(dynamic), example_input):
            found.setdefault(reason, []).append(size)
    return next((Mismatch(tuple(same), reason) for reason, same in found.items()), None)


def _check_least(dynamic: Any, graph: Graph, widths: dict[Size, Any], example_input: Any) -> Mismatch | None:
    """Cut everything to its least. Code that squeezes a dimension of one away must keep two there."""
    mismatch = None
    for _ in widths:
        sizes = {size: max(1, math.ceil(width.lam_min * width.units - 1e-6)) for size, width in widths.items()}
        for size, width in widths.items():
            width.set_lam(sizes[size] / size.full_size)
        mismatch = find_mismatch(plain_copy(dynamic), graph, sizes, example_input)
        near = [s for s in mismatch.sizes if sizes[s] == 1 and s.full_size > 2] if mismatch else []
        for size in near:
            widths[size].lam_min = 2 / size.full_size
        if not near:
            break
    for width in widths.values():
        width.set_lam(1.0)
    return mismatch


def _is_leaf(module: nn.Module) -> bool:
    return isinstance(module, DynamicLayer) or is_leaf(module)


def uneven_sizes(widths: Iterable[Size], attempt: int = 0) -> dict[Size, int]:
    """About half of each size. Of two sizes that could be taken for one another, one attempt at least sets them apart,
    as far as there is room.
    """
    found: dict[Size, int] = {}
    of_full_size: dict[int, int] = {}
    for size in widths:
        n = size.full_size
        number = of_full_size[n] = of_full_size.get(n, -1) + 1
        options = range(max(1, round(0.4 * n)), max(2, min(n, round(0.75 * n) + 1)))
        digit = number // len(options) ** attempt % len(options)  # of its number, one for each attempt
        found[size] = options[(digit + n) % len(options)]
    return found


def _answers(network: nn.Module, example_input: Any) -> list[Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return run_in_eval(network, example_input)


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
