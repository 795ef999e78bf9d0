"""What a dynamic network adds to its backbone's class, and its way back to a plain one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex

import torch
from torch import Tensor, nn
from typing_extensions import Self, TypeVar

from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.costs.uncounted import in_words
from dyn_lightning.errors import FAILURES, SettingError, UserError
from dyn_lightning.graph.untouched import fresh, untouched
from dyn_lightning.inputs import call_arguments, evaluating, tensors_in
from dyn_lightning.layers import DynamicLayer
from dyn_lightning.network.copies import become, computed, copied, empty_stores
from dyn_lightning.network.overlay import Bare, Entering, Number, in_place, not_followed
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width, held
from dyn_lightning.widths.width_dict import WidthDict

Backbone = TypeVar("Backbone", bound=nn.Module, covariant=True, default=nn.Module)
AnyModule = TypeVar("AnyModule", bound=nn.Module)
Memo = dict[int, object]

if TYPE_CHECKING:

    class _OfBackbone(nn.Module, Generic[Backbone]): ...

else:

    class _OfBackbone(nn.Module):
        """Stands for ``Generic``, whose place among a class's bases would bar backbones that are generic themselves."""

        def __class_getitem__(cls, _backbone):
            return cls


class DynamicNetwork(_OfBackbone[Backbone]):
    """What :func:`dyn_lightning.dynamize.dynamize` adds to a backbone's own class.

    It is an instance of that class as well; of whose methods and attributes type checkers know nothing but that they
    are there.

    Attributes:
        widths: the learned sizes by name, each registered once.
        complexity: parameters and FLOPs as functions of the widths.
        duration_s: seconds of audio in the example input; None counts per call.
        fixed_reasons: sizes that are not learned, and why.
        bare: parameters and buffers outside layers that follow widths.
        numbers: integer attributes that follow widths.
        followed: the methods that runs of :func:`dyn_lightning.dynamize.dynamize` have called.
        unreached: modules and parameters that none of these runs has used.
    """

    widths: WidthDict
    complexity: Complexity
    duration_s: float | None
    fixed_reasons: dict[str, str]
    plain_class: type[Backbone]
    bare: list[Bare]
    numbers: list[Number]
    followed: tuple[str, ...]
    unreached: tuple[str, ...]
    _dyn_call: tuple[int, ExitStack] | None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Whatever else the backbone has."""

    def forward(self, *args: object, **kwargs: object) -> Any:
        """What the backbone answers."""
        with self._dyn_in_use("forward"):
            return super().forward(*args, **kwargs)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As of torch.nn. Raises SettingError where ``SyncBatchNorm.convert_sync_batchnorm`` puts norms in."""
        super().add_module(name, module)
        check_norms(self, name)

    @contextmanager
    def _dyn_in_use(self, method: str) -> Iterator[None]:
        """Sizes stand still, and what the network's code reads of them is in place, for a call of a method.

        Raises:
            UserError: where sizes are cut and the call fails in what :func:`dyn_lightning.dynamize.dynamize` has not
                followed.
        """
        outermost = self.__dict__.get("_dyn_call") is None
        self._dyn_enter(self)
        try:
            yield
        except FAILURES as error:
            if outermost and (why := not_followed(self, method, error)):
                raise UserError(why) from error
            raise
        finally:
            if outermost:
                self._dyn_leave(self)

    def _dyn_enter(self, module: nn.Module) -> None:
        """Put sizes in place for a call of a module, unless it runs within another call."""
        if self.__dict__.get("_dyn_call") is None:
            stack = ExitStack()
            stack.enter_context(held(self.widths.values()))
            stack.enter_context(in_place(self.bare, self.numbers))
            self.__dict__["_dyn_call"] = (id(module), stack)

    def _dyn_leave(self, module: nn.Module) -> None:
        """The end of the call that :meth:`_dyn_enter` was told of; others are left alone."""
        call = self.__dict__.get("_dyn_call")
        if call is not None and call[0] == id(module):
            self.__dict__["_dyn_call"] = None
            call[1].close()

    def __deepcopy__(self, memo: Memo) -> Self:
        new = copied(self, memo, {k: v for k, v in self.__dict__.items() if k != "complexity"})
        # The polynomials are shared; what they are evaluated at must be the copy's own λ.
        complexity = copy.copy(self.complexity)
        complexity.widths = dict(new.widths.items())
        new.__dict__["complexity"] = complexity
        return new

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        # Its class is made for it and found by no name: pickled are the plain class and what is added to it.
        return _new_network, (self.plain_class,), super().__reduce_ex__(2)[2]

    def __repr__(self) -> str:
        missing = self.complexity.uncounted
        left_out = f"\nnot in any count of FLOPs, having no price: {in_words(missing)}" if missing else ""
        learned = "1 learned size" if len(self.widths) == 1 else f"{len(self.widths)} learned sizes"
        return f"{self.plain_class.__name__} with {learned}\n{size_table(self)}{left_out}"


def _new_network(plain: type[AnyModule]) -> DynamicNetwork[AnyModule]:
    """An empty dynamic network of a plain class, for pickle to fill."""
    from dyn_lightning.network.dynamic_class import dynamic_class

    made = dynamic_class(plain)
    return made.__new__(made)


def shallow_copy(network: AnyModule, shared: Iterable[object] = ()) -> AnyModule:
    """A copy of a network's modules that shares all parameters and buffers with it, and what else is ``shared``."""
    tensors = [t for m in network.modules() for s in (m._parameters, m._buffers) for t in s.values() if t is not None]
    memo: Memo = {**empty_stores(network), **computed(network), **{id(x): x for x in (*tensors, *shared)}}
    return copy.deepcopy(network, memo)


@torch.inference_mode(False)
def plain_copy(dynamic: DynamicNetwork[AnyModule]) -> AnyModule:
    """A copy of a dynamic network in the backbone's own class, with plain layers of the kept sizes."""
    with held(dynamic.widths.values()):
        return _plain_copy(dynamic)


def _plain_copy(dynamic: DynamicNetwork[AnyModule]) -> AnyModule:
    # The copy has no use for widths, but to ask them for their sizes: it refers to the same ones.
    layouts = [layer.__dict__[kept] for layer in dynamic_layers(dynamic).values() for kept in ("_refs", "_cuts")]
    layouts += [bare.dims for bare in dynamic.bare] + [number.layout for number in dynamic.numbers]
    cut = shallow_copy(dynamic, [dynamic.widths, *layouts])
    holders: dict[int, list[tuple[str, str]]] = {}
    for name, module in cut.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                holders.setdefault(id(parameter), []).append((name, key))
    layers = dynamic_layers(cut).values()
    inside = set(map(id, layers))
    replace_modules(cut, {layer: layer.to_plain() for layer in layers})
    for bare in cut.bare:
        if id(bare.module) not in inside:
            _store(bare.module, bare.name, bare.cut(kept=True).detach().clone())
    for number in cut.numbers:
        number.set(number.layout.size)
    for module in cut.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(hook, Entering)]:
                del hooks[key]
                module._forward_hooks_always_called.pop(key, None)
    plain = become(cut, dynamic.plain_class)
    del plain._modules["widths"]
    for name in DynamicNetwork.__annotations__:
        plain.__dict__.pop(name, None)
    shared = {id(t) for m in dynamic.modules() for s in (m._parameters, m._buffers) for t in s.values()}
    for module in plain.modules():
        for store in (module._parameters, module._buffers):
            for key, tensor in store.items():
                if tensor is not None and id(tensor) in shared:
                    _store(module, key, tensor.detach().clone())
    _tie(plain, [places for places in holders.values() if len(places) > 1])
    return plain


def _store(module: nn.Module, name: str, value: Tensor) -> None:
    old = module._parameters.get(name)
    if old is None:
        module._buffers[name] = value
    else:
        module._parameters[name] = nn.Parameter(value, requires_grad=old.requires_grad)


def _tie(plain: nn.Module, groups: list[list[tuple[str, str]]]) -> None:
    """Share again what several layers shared."""
    for places in groups:
        (first, key), *others = places
        try:
            parameter = plain.get_submodule(first)._parameters[key]
            for name, other in others:
                plain.get_submodule(name)._parameters[other] = parameter
        except (AttributeError, KeyError):
            continue


def replace_modules(network: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put modules in others' places, wherever the network holds them: in one pass, inside the new ones as well."""
    seen = {network}
    rest = [network]
    while rest:
        module = rest.pop()
        for name, child in module._modules.items():
            if child is None:
                continue
            placed = module._modules[name] = new.get(child, child)
            if placed not in seen:
                seen.add(placed)
                rest.append(placed)


def run_in_eval(network: nn.Module, example_input: object, method: str = "forward") -> list[Tensor]:
    """All tensors that a network's method answers in evaluation mode, without gradients.

    Its mode, its buffers, the random generators and the example input are left as they were.
    """
    args, kwargs = fresh(call_arguments(example_input))
    with evaluating(network), untouched(network), torch.no_grad():
        return tensors_in((network if method == "forward" else getattr(network, method))(*args, **kwargs))


def check_norms(network: DynamicNetwork, child: str) -> None:
    """Raises SettingError where a synchronised norm stands for a batch norm that followed a size."""
    complexity, added = network.__dict__.get("complexity"), network._modules.get(child)
    if complexity is None or added is None:
        return
    synced = {f"{child}.{n}".rstrip(".") for n, m in added.named_modules() if isinstance(m, nn.SyncBatchNorm)}
    if not synced:
        return
    for row in complexity.table():
        if row["name"] in synced and row["kind"] != nn.SyncBatchNorm.__name__:
            raise SettingError(
                f"convert_sync_batchnorm replaces {row['name']}, which follows a learned size, by a norm that does "
                "not: leave it out, and make the network dynamic anew. Give each process larger batches, or "
                "BatchNormReestimation, which averages statistics over processes"
            )


def dynamic_layers(network: nn.Module) -> dict[str, DynamicLayer]:
    """The dynamic layers of a network by qualified name."""
    return {name: m for name, m in network.named_modules() if isinstance(m, DynamicLayer)}


def learned_tensors(network: nn.Module) -> Iterator[tuple[Tensor, tuple[Layout | None, ...]]]:
    """Every parameter and buffer that follows widths, once, with a Layout (or None) for each dimension."""
    seen: set[int] = set()
    found = [
        (layer._tensor(name), dims)
        for layer in dynamic_layers(network).values()
        for name, dims in layer.layouts().items()
    ]
    found += [(bare.tensor, bare.dims) for bare in getattr(network, "bare", ())]
    for tensor, dims in found:
        if tensor is not None and id(tensor) not in seen and any(d is not None for d in dims):
            seen.add(id(tensor))
            yield tensor, dims


def size_table(dynamic: DynamicNetwork) -> str:
    """One line for each size: name, size of N, the layers that make and follow it, the share of FLOPs it governs."""
    cost = dynamic.complexity
    rows = [("size", "now", "N", "made by", "followed by", "FLOPs %")]
    shares = cost.governed_shares()
    makers: dict[Width, list[str]] = {}
    followers: dict[Width, list[str]] = {}
    for layer_name, layer in dynamic_layers(dynamic).items():
        made = layer.makes()
        for width in layer.widths():
            (makers if width in made else followers).setdefault(width, []).append(layer_name)
    for name, width in cost.widths.items():
        by, after = _few(makers.get(width, [])), _few(followers.get(width, []))
        rows.append((name, str(width.size), str(width.full_size), by, after, f"{100 * shares[name]:.1f}"))
    lengths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(n) for c, n in zip(row, lengths, strict=True)).rstrip() for row in rows)


def _few(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


__all__ = ["Bare", "DynamicNetwork", "Number", "Width", "plain_copy", "run_in_eval", "size_table"]
