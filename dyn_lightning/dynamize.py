"""Backbone → dynamic backbone: the same network, with sizes that can be learned."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial

from torch import nn

from dyn_lightning.costs.uncounted import warn_uncounted
from dyn_lightning.errors import SettingError
from dyn_lightning.graph import Graph, Pass, Size, read_graph, unify
from dyn_lightning.graph.untouched import untouched
from dyn_lightning.graph.usable import usable
from dyn_lightning.network.build import build, no_nested_tensors
from dyn_lightning.network.dynamic import AnyModule, DynamicNetwork, shallow_copy
from dyn_lightning.network.garbage import rare_collections
from dyn_lightning.network.trials import answers_of, compared, try_least_sizes, try_sizes
from dyn_lightning.widths.width import Width

_PART = re.compile(r"\.(l\d+|part\d+|heads|head_size|value_size|out_proj|blocks|each)$")
NOT_ASKED_FOR, ASKED_TO_BE_FIXED = "it was not asked for", "it was asked to be fixed"


def dynamize(
    backbone: AnyModule,
    example_input: object,
    *,
    more_examples: Sequence[object] = (),
    methods: Mapping[str, object] | Sequence[str] = (),
    duration_s: float | None = None,
    dynamic: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    ties: Sequence[Sequence[str]] = (),
    mel_spacing: str = "respaced",
    boundary: str = "taper",
    width_class: type[Width] = Width,
    free_outputs: bool = False,
) -> DynamicNetwork[AnyModule]:
    """Make a network's sizes learnable.

    The backbone is copied, run on the example input to see which sizes are tied, in evaluation and in training mode,
    and its layers are replaced by dynamic ones that hold the same parameters under the same names. At λ = 1 the result
    computes what the backbone computes (torch.nn.TransformerEncoder without its nested tensors: at masked positions
    what it computes in training). Sizes of the network's inputs are never touched, those of its outputs only where
    ``free_outputs`` asks for it. What no run has used stays whole, and a warning names it, as it does calls whose FLOPs
    no count has (``complexity.uncounted``).

    Args:
        backbone: any torch.nn network; left as it was. Of compiled modules, what they were compiled from is taken.
        example_input: a tensor, a tuple (positional arguments) or a dict (keyword arguments), batch dimension
            included; costs are those of this input.
        more_examples: a list of further inputs, for code that the example does not run: branches, masks, experts.
        methods: methods besides forward to follow: names, called with the example input, or a dict of names and the
            input of each. What they answer may be cut.
        duration_s: seconds of audio in the example input, over its whole batch; costs are then per second.
            None: costs per call.
        dynamic: patterns (``fnmatch``) of the layers whose sizes are learned; None for every size that can
            be.
        fixed: patterns of sizes to leave alone.
        ties: groups of layer names whose sizes are to be one.
        mel_spacing: which bands a mel filter bank gives up: none in particular, those left dividing up the whole range
            anew (``respaced``), or the last in rank (``ranked``), which is also what is done where a layer behind the
            bank has parameters for each band.
        boundary: how a width's boundary unit fades out, a name in ``widths.BOUNDARIES``.
        width_class: the kind of width that is learned: a subclass of :class:`Width`, made with a full size and the
            keywords ``multiple_of``, ``boundary`` and ``resampled``. One that does not keep the first elements says by
            a method ``positions`` which; one that cannot resample (see ``mel_spacing``) leaves that keyword False.
        free_outputs: let sizes in the network's output be learned too. Whoever reads the output must then
            take what is missing at its end for zeros, as ``tasks.Regression`` does.

    Returns:
        A :class:`DynamicNetwork`, also an instance of the backbone's class.

    Raises:
        SettingError: where a pattern matches nothing, or nothing can be learned; the message lists what could
            be matched, and why the rest is fixed. Where the backbone has an attribute that a DynamicNetwork
            needs; where a part of it is scripted, traced or has no parameters yet, or it is one layer by itself.
        TypeError: where the backbone cannot be called with the example input, or answers no tensor.
    """
    backbone = usable(backbone)
    taken = [name for name in DynamicNetwork.__annotations__ if hasattr(backbone, name)]
    if taken:
        raise SettingError(f"dynamize: {type(backbone).__name__} has its own {', '.join(taken)}: rename it there")
    if mel_spacing not in ("respaced", "ranked"):
        raise SettingError(f"mel_spacing={mel_spacing!r} is unknown: use respaced or ranked")
    if not (isinstance(width_class, type) and issubclass(width_class, Width)):
        raise SettingError(f"width_class={width_class!r}: give a subclass of dyn_lightning.Width")
    make_width = partial(width_class, boundary=boundary)
    runs = _runs(backbone, example_input, more_examples, methods)
    with untouched(backbone), rare_collections():
        graph = read_graph(
            no_nested_tensors(shallow_copy(backbone)), example_input, free_outputs=free_outputs, also=runs
        )
        expected = [answers_of(no_nested_tensors(shallow_copy(backbone)), p) for p in compared(graph)]
        _declare(graph, fixed, ties)
        names = _names(graph)
        untraced: dict[Size, str] = {}
        while True:
            chosen = _choose(graph, dynamic, names)
            result = build(backbone, graph, chosen, duration_s, mel_spacing, make_width, names)
            widths = dict(zip(chosen, result.widths.values(), strict=True))
            mismatch = try_sizes(expected, result, graph, widths) or try_least_sizes(result, graph, widths)
            if mismatch is None:
                break
            for size in mismatch.sizes:
                size.fix(mismatch.reason)
                untraced[size] = mismatch.reason
    warn_uncounted("dynamize", result.complexity.uncounted)
    _warn(graph, {names.get(size, size.names[0]): reason for size, reason in untraced.items()})
    return copy.deepcopy(result)


def _runs(
    backbone: nn.Module, example: object, more_examples: object, methods: Mapping[str, object] | Sequence[str]
) -> list[Pass]:
    """What is run besides the example in evaluation mode."""
    if not isinstance(more_examples, (list, tuple)) or (isinstance(more_examples, tuple) and more_examples):
        raise SettingError("more_examples is a list of inputs, each as example_input is")
    given = methods if isinstance(methods, Mapping) else dict.fromkeys(methods, example)
    for name in given:
        if not callable(getattr(backbone, name, None)):
            raise SettingError(f"methods: {type(backbone).__name__} has no method {name}")
    runs = [Pass(example, training=True)]
    for more in more_examples:
        runs += [Pass(more), Pass(more, training=True)]
    return runs + [Pass(x, method=name) for name, x in given.items() if name != "forward"]


def _warn(graph: Graph, untraced: dict[str, str]) -> None:
    """Say what could not be followed."""
    if untraced:
        kept = "; ".join(f"{name}: {reason}" for name, reason in untraced.items())
        warnings.warn(f"dynamize: sizes kept whole, for the code could not be followed: {kept}", stacklevel=3)
    if graph.unreached:
        warnings.warn(
            f"dynamize: no run has used {', '.join(graph.unreached)}: kept whole, so a call of it fails where what it "
            "reads is cut. more_examples=[…] takes inputs that use it, methods={name: input} methods that do",
            stacklevel=3,
        )
    if graph.failed:
        warnings.warn(
            f"dynamize: the network could not be run in training mode ({graph.failed}): what it does in training alone "
            "was not followed",
            stacklevel=3,
        )


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
