"""What every dynamic layer shares: Widths for its dimensions, and parameters cut down to them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost
from dyn_lightning.graph.declared import LAYERS, Features
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes, Op
from dyn_lightning.layers.declare import declare
from dyn_lightning.modules.kinds import describes
from dyn_lightning.registry import Registry
from dyn_lightning.widths.layout import Layout, as_layout
from dyn_lightning.widths.width import Width

_NOISE = frozenset({"quiet", "noisy"})

Size = int | Width | Layout

DYNAMIC_LAYERS: Registry[type[nn.Module], type[DynamicLayer]] = Registry("dynamic form")
"""The dynamic class for each plain one."""
ALIKE: dict[type[nn.Module], type[DynamicLayer]] = {}
"""Classes that are followed by their functions, and the dynamic class that knows what their attributes are."""


class DynamicLayer(nn.Module):
    """A torch.nn layer whose sizes may follow Widths. Its class says all that there is to know of such layers.

    ``out_width``: this layer produces the width, or a Layout of widths (dynamic complexity layer, DCL).
    ``in_width``: its input has them (adaptive, ACL). Both, or neither. Widths are referred to, not registered: they
    belong to no layer. Parameters keep torch.nn's names and full shapes; a forward pass uses slices of them.

    A class that names its ``plain_class``, which it inherits from as well, is declared by that: ``dynamize`` takes
    layers of the plain class by it. SettingError where another class is declared for the same one.

    Attributes:
        sizes: integer attribute → the size that it is; for a tuple of integers, the sizes of its entries.
        tensors: parameter or buffer → for each of its dimensions the size that it is, or None.
        by_hand: the same of parameters that ``trace`` notes itself, as far as their dimensions are sizes.
        made: sizes that such layers make; all others are those of what goes in.
        more: sizes that no attribute names.
        whole: sizes that the code behind the layer cannot take apart.
        features: ``made`` by such layers; ``each`` treated by itself; ``normed`` each by itself; or ``mixed``.
        followed: whether a class derived of the plain one can be followed by the functions that it calls.
        described: whether artifacts have to say how to make the plain layer: one of sizes of its own.
        arguments: of the plain class's constructor, where it does not name them.
        kept_as: constructor's argument → what it was, asked of the layer, where no attribute of that name tells.
    """

    plain_class: ClassVar[type[nn.Module]]
    sizes: ClassVar[Mapping[str, str | tuple[str, ...]]] = {}
    tensors: ClassVar[Mapping[str, tuple[str | None, ...]]] = {}
    by_hand: ClassVar[Mapping[str, tuple[str | None, ...]]] = {}
    made: ClassVar[tuple[str, ...]] = ("out_width",)
    more: ClassVar[tuple[str, ...]] = ()
    whole: ClassVar[tuple[str, ...]] = ()
    features: ClassVar[Features] = "mixed"
    followed: ClassVar[bool] = True
    described: ClassVar[bool] = True
    arguments: ClassVar[tuple[str, ...]] = ()
    kept_as: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    _refs: dict[str, Any]
    _cuts: dict[str, list[tuple[int, Layout]]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "plain_class" not in vars(cls):
            return
        plain = cls.plain_class
        declare(
            plain, trace=cls.trace, price=cls.price, by=cls, sizes=cls.sizes, tensors=cls.tensors, makes=cls.made,
            more=cls.more, whole=cls.whole, features=cls.features, followed=cls.followed,
        )  # fmt: skip
        DYNAMIC_LAYERS.add(plain, cls, by=cls)
        if cls.described:
            describes(plain, arguments=cls.arguments, kept_as=cls.kept_as, by=cls)

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        """What a call does to Axes: binds the layer's sizes, and answers the Axes of each result.

        An error of Python's own (an index, a key, a type) says that this form of call is not known: all that goes in
        is then fixed.
        """
        raise NotImplementedError

    @staticmethod
    def price(op: Op) -> OpCost | None:
        """What a call costs in both conventions, and its parameters; None where the call does not tell."""
        raise NotImplementedError

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Arguments as the plain class has them, and the Widths or Layouts of sizes by their names."""
        named = {*LAYERS[self.plain_class].names, *_NOISE}
        widths = {name: kwargs.pop(name) for name in sorted(named & kwargs.keys())}
        super().__init__(*args, **kwargs)
        self.bind(**widths)

    @classmethod
    def replacing(cls, plain: nn.Module, refs: dict[str, Any]) -> dict[nn.Module, nn.Module]:
        """What stands in the network for a plain layer, and for parts of it, whose sizes are ``refs``."""
        learned = any(isinstance(ref, (Layout, Width, tuple)) for ref in refs.values())
        return {plain: cls.from_plain(plain, **refs)} if learned else {}

    def bind(self, **widths: Any) -> None:
        """Tie sizes of this layer to Widths or Layouts; ``quiet`` and ``noisy``: see :attr:`noisy_width`.

        Raises SettingError for a size that such layers have not, ValueError where the full sizes differ.
        """
        LAYERS[self.plain_class].check({k: v for k, v in widths.items() if k not in _NOISE})
        given = {k: as_layout(v) if isinstance(v, Width) else v for k, v in widths.items()}
        self.__dict__["_refs"] = {k: v for k, v in given.items() if v is not None and v is not False}
        self.__dict__["_cuts"] = {}
        # Attributes may be set to current sizes for the network's own code while it runs.
        self.__dict__["_full"] = {k: v for k, v in self.__dict__.items() if type(v) is int}
        for name, dims in self.layouts().items():
            tensor = self._tensor(name)
            if tensor is None:
                continue
            for dim, (layout, size) in enumerate(zip(dims, tensor.shape, strict=True)):
                if layout is not None and layout.full_size != size:
                    raise ValueError(
                        f"{type(self).__name__}.{name} has {size} elements in dimension {dim}, "
                        f"its width {layout.full_size}"
                    )

    @classmethod
    def from_plain(cls, plain: nn.Module, **widths: Any) -> Any:
        """The dynamic form of a plain layer; it takes over the layer's parameters, buffers and hooks."""
        layer: Any = copy.copy(plain)
        for store in ("_parameters", "_buffers", "_modules"):
            layer.__dict__[store] = dict(plain.__dict__[store])
        layer.__class__ = cls
        layer.bind(**widths)
        return layer

    @classmethod
    def numbers(cls, plain: nn.Module, key: str, dims: Sequence[Layout | None]) -> Iterator[tuple[str, Layout]]:
        """Which integer attributes of a plain layer are sizes of a parameter that code uses by itself.

        Args:
            plain: the layer.
            key: the parameter's name.
            dims: what each of its dimensions is made of.

        Yields:
            the attribute, or one entry of a tuple as "attribute.index", and what it is made of.
        """
        names = cls.tensors.get(key) or cls.by_hand.get(key, ())
        found = {name: layout for name, layout in zip(names, dims, strict=False) if name and layout is not None}
        for attribute, name in cls.sizes.items():
            if isinstance(name, str) and name in found:
                yield attribute, found[name]

    def full(self, name: str) -> int:
        """An integer attribute of the plain layer, at full size."""
        return int(self.__dict__["_full"][name])

    def ref(self, name: str) -> Layout | None:
        """What a size of this layer was tied to, as a Layout."""
        size = self.__dict__.get("_refs", {}).get(name)
        return None if size is None else as_layout(size)

    @property
    def out_width(self) -> Layout | None:
        return self.ref("out_width")

    @property
    def in_width(self) -> Layout | None:
        return self.ref("in_width")

    def widths(self) -> list[Width]:
        """Every Width that this layer produces or follows, each once."""
        found: dict[int, Width] = {}

        def visit(ref: Any) -> None:
            if isinstance(ref, Width):
                found[id(ref)] = ref
            elif isinstance(ref, Layout):
                found.update((id(w), w) for w in ref.widths)
            elif isinstance(ref, (list, tuple)):
                for item in ref:
                    visit(item)

        for ref in self.__dict__.get("_refs", {}).values():
            visit(ref)
        return list(found.values())

    def makes(self) -> set[Width]:
        """The Widths that this layer produces."""
        refs = self.__dict__.get("_refs", {})
        made = [refs.get(name) for name in self.made]
        several = [ref if isinstance(ref, tuple) else (ref,) for ref in made]
        return {w for refs in several for ref in refs if ref is not None for w in as_layout(ref).widths}

    def train(self, mode: bool = True) -> Any:
        # A Width's mode decides sizes on both of its sides, so it must turn with the layers that share it.
        for width in self.widths():
            width.train(mode)
        return super().train(mode)

    def layouts(self) -> Mapping[str, tuple[Layout | None, ...]]:
        """For each parameter or buffer that has learned dimensions: one Layout (or None) a dimension."""
        refs = {name: self.ref(name) for names in self.tensors.values() for name in names if name is not None}
        return {key: tuple(refs.get(name or "") for name in names) for key, names in self.tensors.items()}

    def plain_sizes(self) -> dict[str, Any]:
        """Attributes of the plain layer that differ once it is cut to the kept sizes."""
        named = {key: name for key, name in self.sizes.items() if isinstance(name, str)}
        return {key: kept(self.ref(name), self.full(key)) for key, name in named.items()}

    def _tensor(self, name: str) -> Tensor | None:
        return self._parameters[name] if name in self._parameters else self._buffers.get(name)

    def cut(self, name: str, *, kept: bool = False) -> Any:
        """A parameter or buffer cut to the elements in use (``kept``: that consolidation keeps), or None."""
        x = self._tensor(name)
        if x is not None:
            for dim, layout in self._learned_dims(name):
                x = layout.take(x, dim, kept=kept)
        return x

    def _learned_dims(self, name: str) -> list[tuple[int, Layout]]:
        """Of a tensor that this layer has: each dimension to cut. Kept until the layer is bound anew."""
        cuts = self._cuts
        if name not in cuts:
            dims = self.layouts().get(name, ())
            cuts[name] = [(dim, layout) for dim, layout in enumerate(dims) if layout is not None]
        return cuts[name]

    @property
    def noisy_width(self) -> Layout | None:
        """The dimension that this layer puts boundary noise on: what it produces, unless another layer does so.

        ``bind(quiet=True)`` leaves the noise of ``out_width`` to a norm behind (``bind(noisy=True)`` there), which
        would undo the fading and bring the boundary unit back to the scale of the others.
        """
        refs = self.__dict__.get("_refs", {})
        return self.in_width if refs.get("noisy") else None if refs.get("quiet") else self.out_width

    def noise(self, x: Tensor, dim: int) -> Tensor:
        """Boundary noise on a dimension, where this layer makes it."""
        width = self.noisy_width
        return x if width is None else width.noise(x, dim)

    @property
    def folds_noise(self) -> bool:
        """Whether boundary noise is due now that :meth:`fade` and :meth:`noise_` can put on without a copy."""
        width = self.noisy_width
        return width is not None and any(w.noisy for w in width.widths) and width.foldable

    def fade(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weights (size, …) and bias (size,) of the noisy dimension before :meth:`noise_`."""
        width = self.noisy_width
        assert width is not None
        faded = width.fade([weight] if bias is None else [weight, bias])
        return faded[0], None if bias is None else faded[1]

    def noise_(self, x: Tensor, dim: int) -> Tensor:
        """Boundary noise in place, on a product of faded weights."""
        width = self.noisy_width
        assert width is not None
        return width.noise_(x, dim)

    def plain_tensors(self) -> dict[str, Tensor]:
        """The tensors of the plain layer of the kept sizes by their names in it, with this layer's gradients."""
        return {n: self.cut(n, kept=True) for n in (*self._parameters, *self._buffers) if self._tensor(n) is not None}

    def to_plain(self) -> nn.Module:
        """The torch.nn layer of the kept sizes, with copies of the kept elements."""
        plain = copy.copy(self)
        sizes = self.plain_sizes()
        del plain.__dict__["_refs"], plain.__dict__["_full"], plain.__dict__["_cuts"]
        plain.__class__ = self.plain_class  # type: ignore[assignment]
        kept = {name: x.detach().clone() for name, x in self.plain_tensors().items()}
        plain.__dict__["_buffers"] = {name: kept.get(name) for name in self._buffers}
        plain.__dict__["_parameters"] = {
            name: None if x is None else nn.Parameter(kept[name], requires_grad=x.requires_grad)
            for name, x in self._parameters.items()
        }
        for name, value in sizes.items():
            setattr(plain, name, value)
        return plain


def form_of(plain: type[nn.Module]) -> type[DynamicLayer] | None:
    """The dynamic form of a class, or of the first that it is derived of."""
    forms = ALIKE | dict(DYNAMIC_LAYERS)
    return next((forms[kind] for kind in plain.__mro__ if kind in forms), None)


def kept(layout: Layout | None, otherwise: int) -> int:
    """The kept size of a dimension, or the one it has when nothing is learned there."""
    return otherwise if layout is None else layout.size


def used_positions(shape: Sequence[int], dims: Sequence[Layout | None]) -> list[Tensor] | None:
    """Per dimension of a full parameter, the positions in use now; None where the whole parameter is in use."""
    used = [None if d is None else d.in_use() for d in dims]
    if all(u is None for u in used):
        return None
    return [torch.arange(n) if u is None else u.cpu() for u, n in zip(used, shape, strict=True)]
