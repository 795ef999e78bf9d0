"""A graph and the sizes chosen from it → a dynamic network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank
from dyn_lightning.graph import Axis, Graph, Op, Pass, Size, Sum, axis_sizes, normal, substitute
from dyn_lightning.graph.declared import is_leaf
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers import DYNAMIC_LAYERS, DynamicLayer
from dyn_lightning.layers.base import form_of
from dyn_lightning.network.copies import become
from dyn_lightning.network.dynamic import AnyModule, DynamicNetwork, replace_modules, shallow_copy
from dyn_lightning.network.dynamic_class import dynamic_class
from dyn_lightning.network.overlay import Bare, Entering, Number
from dyn_lightning.widths.layout import Concat, Layout
from dyn_lightning.widths.width import Width
from dyn_lightning.widths.width_dict import WidthDict

NOT_REACHED = "no run has used it"
# Where torch.nn.utils keeps what a weight is computed from, in modules of their own or under other names.
_PARAMETRIZED = re.compile(r"(?:^|\.)parametrizations\.(\w+)$")
AFTER_FILTER_BANK = (LogCompression, FixedScaling)


def build(
    backbone: AnyModule,
    graph: Graph,
    chosen: list[Size],
    duration_s: float | None,
    mel_spacing: str,
    make_width: Callable[..., Width],
    names: dict[Size, str],
) -> DynamicNetwork[AnyModule]:
    """A copy of the backbone whose layers follow a Width for each chosen Size. It shares the backbone's tensors.

    ``make_width``: called with a full size, ``resampled`` and ``multiple_of``.
    """
    network = shallow_copy(backbone)
    makers = noise_makers(network, graph)
    behind = norms_behind(graph)
    resampled = resamplable(network, graph) if mel_spacing == "respaced" else set()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    widths: dict[Size, Width] = {
        size: make_width(size.full_size, resampled=size in resampled, multiple_of=size.unit) for size in chosen
    }
    for size, width in widths.items():
        width.granularity = size.unit
        width.to(device)
    parameters = sum(p.numel() for p in network.parameters())
    plain_modules = dict(network.named_modules())

    def layout(axis: Axis) -> Layout | None:
        made = _layout(normal(axis), widths)
        return made if made.widths else None

    def layouts(axis: Axis | list[Axis]) -> Any:
        """Of a size, or of several under one name."""
        if not isinstance(axis, list):
            return layout(axis)
        several = tuple(map(layout, axis))
        return several if any(x is not None for x in several) else None

    made: dict[nn.Module, nn.Module] = {}
    for name, bound in graph.bindings.items():
        plain = plain_modules[name]
        refs: dict[str, Any] = {key: layouts(axis) for key, axis in bound.items()}
        if isinstance(plain, MelFilterBank):
            refs["quiet"] = name not in makers
        elif isinstance(plain, AFTER_FILTER_BANK) and name not in makers:
            continue
        elif name in behind:
            refs["quiet"] = True
        elif name in behind.values():
            refs["noisy"] = True
        made |= DYNAMIC_LAYERS[type(plain)].replacing(plain, refs)

    replace_modules(network, made)
    no_nested_tensors(network)
    modules = dict(network.named_modules())
    width_dict = WidthDict({names[size]: width for size, width in widths.items()})
    bare = _bare(graph, modules, layout)
    numbers = [
        Number(modules[a.module], a.name, a.index, found)
        for a, axis in graph.attributes.items()
        if (found := layout(axis)) is not None
    ]
    numbers += own_numbers(graph.bare, modules, layout, {(modules[a.module], a.name) for a in graph.attributes})
    ops = [_op(op, plain_modules, widths) for op in (*graph.ops, *graph.uncounted(), *_bare_ops(graph, plain_modules))]
    added = {
        "widths": width_dict,
        "complexity": Complexity(ops, dict(width_dict.items()), duration_s, parameters=parameters),
        "duration_s": duration_s,
        "fixed_reasons": _fixed_reasons(graph, plain_modules, names),
        "plain_class": type(network),
        "bare": bare,
        "numbers": numbers,
        "followed": tuple(dict.fromkeys(p.method for p in graph.passes)),
        "unreached": tuple(graph.unreached),
    }
    for name, value in added.items():
        setattr(network, name, value)
    dynamic = become(network, dynamic_class(type(network)))
    if dynamic.bare or dynamic.numbers:
        _enter_parts(dynamic)
    return dynamic


def _fixed_reasons(graph: Graph, modules: dict[str, nn.Module], names: dict[Size, str]) -> dict[str, str]:
    """Why sizes are not learned, by name."""
    own = {names.get(s, s.names[0].replace(".", "-")): s.reason for s in (*graph.whole(modules), *graph.roots())}
    given = {name: reason for name, reason in own.items() if reason}
    return given | graph.fixed | dict.fromkeys(graph.unreached, NOT_REACHED)


def _enter_parts(network: DynamicNetwork) -> None:
    """Let parts that are called by themselves (as ``network.encoder(x)``) find what their code reads in place."""
    widths = set(network.widths.modules())
    for module in network.modules():
        if module is not network and module not in widths and not (isinstance(module, DynamicLayer) or is_leaf(module)):
            module.register_forward_pre_hook(Entering(network, leaves=False), prepend=True)
            module.register_forward_hook(Entering(network, leaves=True), always_call=True)


def no_nested_tensors(network: AnyModule) -> AnyModule:
    """Let every torch.nn.TransformerEncoder pad in evaluation as it does in training; answers the network.

    Its layers take nested tensors on their fused path alone, which reads whole weights. Positions that are masked then
    hold what they hold in training, where nested tensors have zeros.
    """
    for module in network.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.enable_nested_tensor = module.use_nested_tensor = False
    return network


def _layout(axis: Axis, widths: dict[Size, Width]) -> Layout:
    factors: list[Width | int | Concat] = []
    for factor in axis:
        if isinstance(factor, Sum):
            factors.append(Concat(*(_layout(part, widths) for part in factor.parts)))
        else:
            factors.append(factor if isinstance(factor, int) else widths.get(factor, factor.full_size))
    merged = Layout(*factors)
    return merged if merged.widths else Layout(merged.full_size)


def _bare(graph: Graph, modules: dict[str, nn.Module], layout: Callable[[Axis], Layout | None]) -> list[Bare]:
    """Bare parameters that follow widths; those that make a size which no layer makes get its noise."""
    makers: dict[Width, str] = {}
    for name, module in modules.items():
        if isinstance(module, DynamicLayer):
            makers |= dict.fromkeys(module.makes(), name)
    found = []
    for (name, key), axes in graph.bare.items():
        dims = tuple(layout(axis) for axis in axes)
        if not any(d is not None for d in dims):
            continue
        makes = []
        if key in modules[name]._parameters and not isinstance(modules[name], DynamicLayer):
            for dim, made in enumerate(dims):
                # The first parameter that has a size makes it, along with its module's others (a bias).
                if made is not None and all(makers.setdefault(width, name) == name for width in made.widths):
                    makes.append(dim)
        found.append(Bare(modules[name], key, dims, tuple(makes)))
    return found


def own_numbers(
    bare: Mapping[tuple[str, str], Axes],
    modules: dict[str, nn.Module],
    layout: Callable[[Axis], Layout | None],
    known: set[tuple[nn.Module, str]],
) -> list[Number]:
    """Integers of layers that say how large parameters are which the code uses by themselves, but for those known.

    A layer that is called by itself is replaced, and its integers with it. Others would say what they were.
    """
    found: dict[tuple[nn.Module, str], Number] = {}
    for (name, key), axes in bare.items():
        parametrized = _PARAMETRIZED.search(name)
        module = modules[name[: parametrized.start()] if parametrized else name]
        tensor = parametrized[1] if parametrized else _computes(module, key)
        kind = None if isinstance(module, DynamicLayer) else form_of(type(module))
        for place, size in () if kind is None else kind.numbers(module, tensor, tuple(map(layout, axes))):
            attribute, _, at = place.partition(".")
            value, index = vars(module).get(attribute), int(at) if at else None
            full = value if index is None or value is None else value[index]
            if size.widths and full == size.full_size and (module, attribute) not in known:
                found.setdefault((module, place), Number(module, attribute, index, size))
    return list(found.values())


def _computes(module: nn.Module, key: str) -> str:
    """The tensor that a hook of torch's computes from a parameter and that has its shape; else the parameter's name.

    ``weight_v`` is weight_norm's direction where a length ``weight_g`` is beside it, else a vector of spectral_norm's.
    """
    name, _, kind = key.rpartition("_")
    return name if kind == "orig" or (kind == "v" and f"{name}_g" in module._parameters) else key


def _bare_ops(graph: Graph, modules: dict[str, nn.Module]) -> Iterable[Op]:
    """Bare parameters as operations that cost nothing but parameters."""
    held = {id(p) for name in graph.bindings for p in modules[name].parameters()}
    for (module, name), axes in graph.bare.items():
        tensor = modules[module]._parameters.get(name)
        if module not in graph.bindings and id(tensor) not in held:
            kind = "Buffer" if tensor is None else "Parameter"
            yield Op(f"{module}.{name}".strip("."), kind, None, (), (axes,))


def _op(op: Op, modules: dict[str, nn.Module], widths: dict[Size, Width]) -> Op:
    def resolve(axis: Axis) -> Axis:
        return substitute(axis, lambda size: widths.get(size, size.full_size))

    return op.with_sizes(resolve, None if op.module is None else modules[op.name])


def _only(axis: Axis) -> Size | None:
    """The one Size that an Axis is all of, if so."""
    axis = normal(axis)
    return axis[0] if len(axis) == 1 and isinstance(axis[0], Size) else None


def noise_makers(network: nn.Module, graph: Graph) -> dict[str, Size]:
    """For each filter bank's size, the layer that makes its noise: the last elementwise one behind it, or itself."""
    last: dict[Size, str] = {}
    for name, bound in graph.bindings.items():
        module = network.get_submodule(name)
        size = _only(bound["out_width"]) if "out_width" in bound else None
        if isinstance(module, MelFilterBank) and size is not None:
            last[size] = name
        elif isinstance(module, AFTER_FILTER_BANK):
            size = _only(bound["in_width"])
            if size in last:
                last[size] = name
    return {name: size for size, name in last.items()}


def norms_behind(graph: Graph) -> dict[str, str]:
    """Layer → the norm behind it that makes its noise: one that treats each element by itself undoes any fading.

    The last such norm, where all on the way there treat each element by itself too, and nothing else reads it.
    """
    first, *others = (_norms_behind(p) for p in graph.passes)
    called = [{op.name for op in p.ops} for p in graph.passes[1:]]
    return {
        maker: norm
        for maker, norm in first.items()
        if all(maker not in names or other.get(maker) == norm for names, other in zip(called, others, strict=True))
    }


def _norms_behind(p: Pass) -> dict[str, str]:
    calls = Counter(op.name for op in p.ops)
    return {
        trail.maker: trail.norm
        for trail in p.trails
        if calls[trail.maker] == calls[trail.norm] == 1 and all(len(reads) == 1 for reads in trail.reads[:-1])
    }


def resamplable(network: nn.Module, graph: Graph) -> set[Size]:
    """Sizes of filter banks behind which stand only layers that can take interpolated bands."""
    found = set(noise_makers(network, graph).values())
    for axes in graph.bare.values():
        found -= {size for axis in axes for size in axis_sizes(axis)}
    for name, bound in graph.bindings.items():
        axis = normal(bound["in_width"]) if "in_width" in bound else ()
        module = network.get_submodule(name)
        takes = "out_width" in bound or "hidden_widths" in bound or isinstance(module, AFTER_FILTER_BANK)
        if len(axis) != 1 or not takes or getattr(module, "groups", 1) > 1:
            found -= set(axis_sizes(axis))
        if not isinstance(module, MelFilterBank):
            # What another layer makes as well, tied to the bank, samples nothing.
            made = [bound["out_width"]] if "out_width" in bound else bound.get("hidden_widths", ())
            found -= {size for axis in made for size in axis_sizes(axis)}
    return found
