"""Backbone → dynamic backbone: the same network, with sizes that can be learned."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.complexity import Complexity
from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank
from dyn_lightning.graph import Axis, Graph, Size, call_arguments, read_graph, tensors_in
from dyn_lightning.layers import DYNAMIC_LAYERS, DynamicLayer
from dyn_lightning.width import Layout, Width

AFTER_FILTER_BANK = (LogCompression, FixedScaling)


class DynamicNetwork(nn.Module):
    """What :func:`dynamize` adds to a backbone's own class.

    Attributes:
        widths: the learned sizes by name, each registered once.
        complexity: parameters and FLOPs as functions of the widths.
        duration_s: seconds of audio in the example input; None counts per call.
        fixed_reasons: sizes that are not learned, and why.
    """

    widths: nn.ModuleDict
    complexity: Complexity
    duration_s: float | None
    fixed_reasons: dict[str, str]
    plain_class: type[nn.Module]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        new = self.__class__.__new__(self.__class__)
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy({k: v for k, v in self.__dict__.items() if k != "complexity"}, memo))
        # The polynomials are shared; what they are evaluated at must be the copy's own λ.
        complexity = copy.copy(self.complexity)
        widths: Any = new.widths
        complexity.widths = dict(widths.items())
        new.__dict__["complexity"] = complexity
        return new


class _DynamicSequential(DynamicNetwork):
    """A Sequential runs, counts and iterates over its modules; its widths are none of these."""

    def __iter__(self) -> Iterator[nn.Module]:
        return (module for name, module in self._modules.items() if name != "widths" and module is not None)

    def __len__(self) -> int:
        return len(self._modules) - 1


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
        boundary: how a width's boundary unit passes away, a name in ``functional.BOUNDARIES``.
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
        raise ValueError(f"dynamize: {type(backbone).__name__} has its own {', '.join(taken)}: rename it there")
    if mel_spacing not in ("respaced", "ranked"):
        raise ValueError(f"mel_spacing={mel_spacing!r} is unknown: use respaced or ranked")
    broken: dict[str, str] = {}
    while True:
        network = copy.deepcopy(backbone)
        graph = read_graph(network, example_input, free_outputs=free_outputs)
        _declare(graph, fixed, ties, broken)
        chosen = _choose(graph, dynamic)
        result = _build(network, graph, chosen, duration_s, mel_spacing, boundary)
        failures = _check(backbone, result, example_input, free_outputs)
        if not failures:
            return result
        broken |= failures


def width_name(size: Size) -> str:
    """Name of a size's Width: its first maker, dots as dashes, unlike any attribute of a ModuleDict."""
    name = size.root.names[0].replace(".", "-")
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name


def _matches(size: Size, pattern: str) -> bool:
    names = {width_name(size), *size.root.names, *(n.rsplit(".l", 1)[0] for n in size.root.names)}
    return any(fnmatchcase(name, pattern) for name in names)


def _declare(graph: Graph, fixed: Sequence[str], ties: Sequence[Sequence[str]], broken: dict[str, str]) -> None:
    """Apply what the user has said, and what an earlier attempt has shown, of the sizes."""
    names = [n for size in graph.roots() for n in size.names]
    for group in ties:
        tied = [[s for s in graph.roots() if _matches(s, name)] for name in group]
        for name, found in zip(group, tied, strict=True):
            if not found:
                raise ValueError(f"ties: no size is called {name!r}; there are {', '.join(names)}")
            for size in found:
                tied[0][0].tie(size)
    for pattern in fixed:
        if not any(_matches(s, pattern) for s in graph.roots()):
            raise ValueError(f"fixed: the pattern {pattern!r} matches nothing; there are {', '.join(names)}")
    for size in graph.roots():
        if any(_matches(size, pattern) for pattern in fixed):
            size.fix("it was asked to be fixed")
        if width_name(size) in broken:
            size.fix(broken[width_name(size)])


def _choose(graph: Graph, patterns: Sequence[str] | None) -> list[Size]:
    for size in graph.roots():
        if size.full_size == size.root.groups:
            size.fix("it has one element" + (" in each group" if size.full_size > 1 else ""))
    free = [s for s in graph.roots() if s.reason is None]
    lines = [f"  {width_name(s)} ({s.full_size}): {s.reason or 'can be learned'}" for s in graph.roots()]
    lines += [f"  {name}: {reason}" for name, reason in graph.fixed.items()]
    known = "\n".join(lines) or "  (no layer with a size was found)"
    chosen: list[Size] = []
    for pattern in ["*"] if patterns is None else patterns:
        found = [s for s in free if _matches(s, pattern)]
        if not found:
            barred = [s for s in graph.roots() if s.reason and _matches(s, pattern)]
            why = f" (matched, but fixed: {', '.join(map(width_name, barred))})" if barred and patterns else ""
            raise ValueError(
                f"dynamic: the pattern {pattern!r} matches no size that can be learned{why}. Sizes:\n{known}"
            )
        chosen += [s for s in found if s not in chosen]
    if not chosen:
        raise ValueError(f"dynamic: no pattern was given, so nothing would be learned. Sizes:\n{known}")
    for size in free:
        if size not in chosen:
            size.fix("it was not asked for")
    return chosen


def _build(
    network: nn.Module,
    graph: Graph,
    chosen: list[Size],
    duration_s: float | None,
    mel_spacing: str,
    boundary: str,
) -> DynamicNetwork:
    makers = _noise_makers(network, graph)
    resampled = _resamplable(network, graph) if mel_spacing == "respaced" else set()
    widths = {
        size: Width(size.full_size, groups=size.groups, boundary=boundary, resampled=size in resampled)
        for size in chosen
    }
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    parameters = sum(p.numel() for p in network.parameters())

    def resolve(axis: Axis) -> Axis:
        return tuple(f if isinstance(f, int) else widths.get(f.root, f.full_size) for f in axis)

    def layout(axis: Axis) -> Layout | None:
        resolved = Layout(*resolve(axis))
        return resolved if resolved.widths else None

    for name, bound in graph.bindings.items():
        plain = network.get_submodule(name)
        refs: dict[str, Any] = {"in_width": layout(bound["in_axis"])} if "in_axis" in bound else {}
        if "out" in bound:
            refs["out_width"] = widths.get(bound["out"].root)
        if "hidden" in bound:
            hidden = tuple(widths.get(size.root) for size in bound["hidden"])
            refs["hidden_widths"] = hidden if any(w is not None for w in hidden) else None
        if isinstance(plain, MelFilterBank):
            refs |= {"in_width": None, "quiet": name not in makers}
        elif isinstance(plain, AFTER_FILTER_BANK) and name not in makers:
            continue
        if any(isinstance(ref, (Layout, Width, tuple)) for ref in refs.values()):
            _replace(network, plain, DYNAMIC_LAYERS[type(plain)].from_plain(plain, **refs))

    dynamic: Any = network
    named = {width_name(size): width.to(device) for size, width in widths.items()}
    dynamic.widths = nn.ModuleDict(named)
    dynamic.duration_s = duration_s
    dynamic.fixed_reasons = {width_name(s): s.reason for s in graph.roots() if s.reason} | graph.fixed
    dynamic.plain_class = type(network)
    ops = [
        replace(
            op,
            inputs=_all(op.inputs, resolve),
            outputs=_all(op.outputs, resolve),
            hidden=tuple(map(resolve, op.hidden)),
        )
        for op in graph.ops
    ]
    dynamic.complexity = Complexity(ops, named, duration_s, parameters=parameters)
    mixin = _DynamicSequential if isinstance(network, nn.Sequential) else DynamicNetwork
    network.__class__ = type(f"Dynamic{type(network).__name__}", (mixin, type(network)), {})
    return dynamic


def plain_copy(dynamic: DynamicNetwork) -> Any:
    """A copy of a dynamic network in the backbone's own class, with plain layers of the kept sizes."""
    plain: Any = copy.deepcopy(dynamic)
    for layer in dynamic_layers(plain).values():
        _replace(plain, layer, layer.to_plain())
    plain.__class__ = dynamic.plain_class
    del plain._modules["widths"]
    for name in DynamicNetwork.__annotations__:
        plain.__dict__.pop(name, None)
    return plain


def _noise_makers(network: nn.Module, graph: Graph) -> dict[str, Size]:
    """For each filter bank's size, the layer that makes its noise: the last elementwise one behind it, or itself."""
    last: dict[Size, str] = {}
    for name, bound in graph.bindings.items():
        module = network.get_submodule(name)
        if isinstance(module, MelFilterBank):
            last[bound["out"].root] = name
        elif isinstance(module, AFTER_FILTER_BANK):
            axis = bound["in_axis"]
            if len(axis) == 1 and isinstance(axis[0], Size) and axis[0].root in last:
                last[axis[0].root] = name
    return {name: size for size, name in last.items()}


def _resamplable(network: nn.Module, graph: Graph) -> set[Size]:
    """Sizes of filter banks behind which stand only layers that can take interpolated bands."""
    found = set(_noise_makers(network, graph).values())
    for name, bound in graph.bindings.items():
        axis = bound.get("in_axis", ())
        module = network.get_submodule(name)
        takes = "out" in bound or "hidden" in bound or isinstance(module, AFTER_FILTER_BANK)
        if len(axis) != 1 or not takes:
            found -= {f.root for f in axis if isinstance(f, Size)}
        if not isinstance(module, MelFilterBank):
            # What another layer makes as well, tied to the bank, samples nothing.
            made = [bound["out"]] if "out" in bound else bound.get("hidden", ())
            found -= {size.root for size in made}
    return found


def _all(axes: Iterable[Iterable[Axis]], resolve: Any) -> tuple[tuple[Axis, ...], ...]:
    return tuple(tuple(resolve(axis) for axis in tensor) for tensor in axes)


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a layer in another's place, wherever the network holds it."""
    for module in list(network.modules()):
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new


def _check(backbone: nn.Module, dynamic: Any, example_input: Any, free_outputs: bool = False) -> dict[str, str]:
    """Sizes that the network's own code holds fast in a way that its run at full size does not show."""

    def answers(network: nn.Module) -> list[Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return run_in_eval(network, example_input)

    full = answers(backbone)

    def differs() -> str | None:
        try:
            outputs = answers(dynamic)
            plain = answers(plain_copy(dynamic))
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            return f"the network's code needs it at full size ({str(error).splitlines()[0]})"
        expected = plain if free_outputs else full
        if [x.shape for x in outputs] != [x.shape for x in expected]:
            return "the shape of the network's output depends on it"
        if not _alike(outputs, plain):
            return "the network's code uses a layer's parameters without calling the layer"
        return None

    for width in dynamic.widths.values():
        width.set_lam(0.5 if width.units > 1 else 1.0)
    failures: dict[str, str] = {}
    if jointly := differs():
        for name, width in dynamic.widths.items():
            for other in dynamic.widths.values():
                other.set_lam(0.5 if other is width and other.units > 1 else 1.0)
            if why := differs():
                failures[name] = why
        failures = failures or dict.fromkeys(dynamic.widths, jointly)
    for width in dynamic.widths.values():
        width.set_lam(1.0)
    if not failures and not _alike(answers(dynamic), full):
        raise RuntimeError("dynamize: at full size the network does not compute what the backbone computes")
    return failures


def _alike(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether two networks' outputs are the same but for rounding (integers may hang on a rounded one)."""
    for a, b in zip(one, other, strict=True):
        if a.is_floating_point() and a.numel():
            tolerance = max(1e-3, 100 * torch.finfo(a.dtype).eps)
            x, y = a.double().nan_to_num(), b.double().nan_to_num()
            if (x - y).abs().max() > tolerance * x.abs().max() + 1e-6:
                return False
    return True


def run_in_eval(network: nn.Module, example_input: Any) -> list[Tensor]:
    """All tensors that a network answers in evaluation mode, without gradients; its mode is put back."""
    args, kwargs = call_arguments(example_input)
    modes = {m: m.training for m in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            return tensors_in(network(*args, **kwargs))
    finally:
        for module, mode in modes.items():
            module.training = mode


def dynamic_layers(network: nn.Module) -> dict[str, DynamicLayer]:
    """The dynamic layers of a network by qualified name."""
    return {name: m for name, m in network.named_modules() if isinstance(m, DynamicLayer)}
