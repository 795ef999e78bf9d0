"""Multi-head attention able to follow Widths: heads, sizes of each head, input and output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from dyn_lightning.costs.base import ZERO, OpCost, numel, size
from dyn_lightning.costs.prices import SOFTMAX
from dyn_lightning.costs.weighted import weighted
from dyn_lightning.graph import Axis, Op, make_axis, unify
from dyn_lightning.graph.axes import concatenated
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layers.linear import Linear
from dyn_lightning.modules import attention as plain
from dyn_lightning.widths.layout import Concat, Layout

_WEIGHTS = (
    "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v",
)  # fmt: skip


class _Attention(DynamicLayer):
    """Shared by torch.nn's attention and the slim one that it is consolidated into.

    ``heads``, ``head_size`` (of each head's queries and keys) and ``value_size``: Widths or Layouts that it produces.
    ``in_width``, ``key_width``, ``value_width``: followed, features of queries, keys and values. The output's features
    are those of ``out_proj``, a Linear layer that may be dynamic itself. Scores keep the scale of the full head size,
    so that nothing jumps when a feature leaves.
    """

    made = ("heads", "head_size", "value_size", "out_width")
    more = ("in_width", "key_width", "value_width")
    followed = False
    dropout: float
    batch_first: bool

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        """Heads, the size of each head's queries and keys, and that of its values are apart."""
        m = c.module
        query, key, value = (c.inputs[0], *c.inputs[1:3]) if len(c.inputs) > 2 else (c.inputs[0],) * 3
        known = c.bound
        if known is None:
            slim = isinstance(m, plain.SlimMultiheadAttention)
            heads = c.make("heads", m.num_heads)
            head_size = c.make("head_size", m.head_size if slim else m.head_dim)
            value_size = c.make("value_size", m.value_size if slim else m.head_dim)
            made = c.t.new_size(f"{c.name}.out_proj", m.embed_dim)
        else:
            heads, head_size, value_size, made = (known[k] for k in ("heads", "head_size", "value_size", "out_width"))
        c.bind(
            heads=heads, head_size=head_size, value_size=value_size,
            in_width=query[-1], key_width=key[-1], value_width=value[-1], out_width=made,
        )  # fmt: skip
        inner, values = make_axis(*heads, *head_size), make_axis(*heads, *value_size)
        rows = concatenated([inner, inner, values])
        if m.in_proj_weight is not None:
            for other in (key[-1], value[-1]):
                unify(query[-1], other, f"{c.name} projects queries, keys and values by one matrix{c.t.line}")
            c.t.own(m.in_proj_weight, (rows, query[-1]), c.reason)
        else:
            for weight, row, x in ((m.q_proj_weight, inner, query), (m.k_proj_weight, inner, key)):
                c.t.own(weight, (row, x[-1]), c.reason)
            c.t.own(m.v_proj_weight, (values, value[-1]), c.reason)
        if m.in_proj_bias is not None:
            c.t.own(m.in_proj_bias, (rows,), c.reason)
        if m.bias_k is not None:
            c.t.own(m.bias_k, ((1,), (1,), inner), c.reason)
            c.t.own(m.bias_v, ((1,), (1,), values), c.reason)
        c.t.own(m.out_proj.weight, (made, values), c.reason)
        if m.out_proj.bias is not None:
            c.t.own(m.out_proj.bias, (made,), c.reason)
        axes: list[Axes] = [(*query[:-1], made)]
        for weights in c.results[1:]:
            per_head = weights.dim() == len(query) + 1
            noted: list[Axis] = [(int(n),) for n in weights.shape]
            if per_head:
                noted[-3] = heads
            axes.append(tuple(noted))
        c.hidden = (heads, head_size, value_size)
        return axes

    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        slim = isinstance(module, plain.SlimMultiheadAttention)
        q, k, v = op.inputs[:3] if len(op.inputs) >= 3 else op.inputs[:1] * 3
        if op.hidden:
            heads, head_size, value_size = map(size, op.hidden)
        else:
            heads = Polynomial.constant(module.num_heads)
            head_size = Polynomial.constant(module.head_size if slim else module.head_dim)
            value_size = Polynomial.constant(module.value_size) if slim else head_size
        bias = module.in_proj_bias is not None
        # A learned key and value may be appended, and one of zeros.
        appended = (module.bias_k is not None) + bool(module.zero_attn if slim else module.add_zero_attn)
        keys = size(k[1] if len(k) == 3 and module.batch_first else k[0]) + appended
        rows = (heads * head_size, heads * head_size, heads * value_size)
        projections = [weighted(size(x[-1]), n, numel(x[:-1]), bias) for x, n in zip((q, k, v), rows, strict=True)]
        projections.append(weighted(heads * value_size, size(op.outputs[0][-1]), numel(q[:-1]), bias))
        total = sum(projections, start=OpCost())
        # Scores and their scale, softmax, and the weighted sums of values.
        per_query = heads * keys * (2 * head_size + SOFTMAX + 2 * value_size) + heads * head_size
        learned = heads * (head_size + value_size) * (module.bias_k is not None)
        return OpCost(total.flops_full + numel(q[:-1]) * per_query, ZERO, total.params + learned)

    @classmethod
    def replacing(cls, plain: Any, refs: dict[str, Any]) -> dict[nn.Module, nn.Module]:
        """Itself, and the layer inside it that projects what it answers."""
        out, inner = refs["out_width"], {name: ref for name, ref in refs.items() if name != "out_width"}
        value_size = plain.head_dim if isinstance(plain, nn.MultiheadAttention) else plain.value_size
        values = Layout(refs["heads"] or plain.num_heads, refs["value_size"] or value_size)
        made = Linear.replacing(plain.out_proj, {"out_width": out, "in_width": values if values.widths else None})
        if any(ref is not None for ref in refs.values()):
            made[plain] = cls.from_plain(plain, **inner)
        return made

    @property
    def _full_parts(self) -> tuple[int, int, int]:
        """Heads, the size of each head's queries and keys, and that of its values, at full size."""
        raise NotImplementedError

    @property
    def _scale(self) -> float:
        raise NotImplementedError

    @property
    def _zero_attn(self) -> bool:
        raise NotImplementedError

    @property
    def _parts(self) -> tuple[Layout, ...]:
        names = ("heads", "head_size", "value_size")
        return tuple(self.ref(name) or Layout(n) for name, n in zip(names, self._full_parts, strict=True))

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        heads, head_size, value_size = self._parts
        keys, values = Layout(heads, head_size), Layout(heads, value_size)
        rows = Layout(Concat(keys, keys, values))
        return {
            "in_proj_weight": (rows, self.in_width),
            "q_proj_weight": (keys, self.in_width),
            "k_proj_weight": (keys, self.ref("key_width")),
            "v_proj_weight": (values, self.ref("value_width")),
            "in_proj_bias": (rows,),
            "bias_k": (None, None, keys),
            "bias_v": (None, None, values),
        }

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        plain.check_hint(attn_mask, is_causal)
        heads, head_size, value_size = self._parts
        noisy = {
            "query": ((3, head_size),),
            "key": ((3, head_size),),
            "value": ((3, value_size),),
            "context": ((1, heads),),
        }

        def on_heads(name: str, x: Tensor) -> Tensor:
            for dim, layout in noisy[name]:
                x = layout.noise(x, dim) if layout.widths else x
            return x

        return plain.attend(
            (query, key, value), {n: self.cut(n) for n in _WEIGHTS}, heads.current, head_size.current,
            value_size.current, out=self.out_proj, scale=self._scale,
            dropout=self.dropout if self.training else 0.0, batch_first=self.batch_first,
            zero_attn=self._zero_attn, key_padding_mask=key_padding_mask, need_weights=need_weights,
            attn_mask=attn_mask, average=average_attn_weights, on_heads=on_heads,
        )  # fmt: skip

    def plain_tensors(self) -> dict[str, Tensor]:
        return {n: self.cut(n, kept=True) for n in _WEIGHTS if self._parameters.get(n) is not None}

    def to_plain(self) -> nn.Module:
        heads, head_size, value_size = (part.size for part in self._parts)
        me: Any = self
        fused = me.in_proj_weight is not None
        matrices = [me.in_proj_weight] * 3 if fused else [me.q_proj_weight, me.k_proj_weight, me.v_proj_weight]
        in_sizes = tuple(
            x.shape[1] if (ref := self.ref(name)) is None else ref.size
            for name, x in zip(("in_width", "key_width", "value_width"), matrices, strict=True)
        )
        project: Any = self.out_proj.to_plain() if isinstance(self.out_proj, DynamicLayer) else self.out_proj
        weight = project.weight
        small = plain.SlimMultiheadAttention(
            in_sizes, heads, head_size, value_size, weight.shape[0],  # type: ignore[arg-type]
            fused=fused, bias=me.in_proj_bias is not None, bias_kv=me.bias_k is not None,
            zero_attn=self._zero_attn, scale=self._scale, dropout=self.dropout, batch_first=self.batch_first,
        ).to(weight.device, weight.dtype)  # fmt: skip
        for name, kept in self.plain_tensors().items():
            self._copy(getattr(small, name), kept, self._parameters[name])
        small.out_proj.load_state_dict(project.state_dict())
        for mine, theirs in zip(small.out_proj.parameters(), project.parameters(), strict=True):
            mine.requires_grad_(theirs.requires_grad)
        return small.train(self.training)

    @staticmethod
    def _copy(target: nn.Parameter, kept: Tensor, source: Any) -> None:
        target.data.copy_(kept)
        target.requires_grad_(source.requires_grad)


class MultiheadAttention(_Attention, nn.MultiheadAttention):
    """torch.nn.MultiheadAttention with learned sizes: ``heads``, ``head_size`` and ``value_size`` are Widths or Layouts
    that it produces, ``in_width``, ``key_width`` and ``value_width`` those of queries, keys and values.

    Shapes as torch.nn.MultiheadAttention. Consolidates into a
    :class:`dyn_lightning.modules.attention.SlimMultiheadAttention`.
    """

    plain_class = nn.MultiheadAttention
    by_hand = {
        "q_proj_weight": (None, "in_width"), "k_proj_weight": (None, "key_width"),
        "v_proj_weight": (None, "value_width"),
    }  # fmt: skip
    sizes = {
        "embed_dim": "in_width", "num_heads": "heads", "head_dim": "head_size", "kdim": "key_width",
        "vdim": "value_width",
    }  # fmt: skip
    kept_as = {"bias": lambda m: m.in_proj_bias is not None, "add_bias_kv": lambda m: m.bias_k is not None}

    @classmethod
    def numbers(cls, plain: Any, key: str, dims: Sequence[Layout | None]) -> Iterator[tuple[str, Layout]]:
        if key == "in_proj_weight" and dims[1] is not None:
            yield from ((name, dims[1]) for name in ("embed_dim", "kdim", "vdim"))
        yield from super().numbers(plain, key, dims)

    def bind(self, **widths: Any) -> None:
        # torch.nn.TransformerEncoderLayer asks for this before it takes its fused path, which reads the full weights.
        self._qkv_same_embed_dim = False
        super().bind(**widths)

    @property
    def _full_parts(self) -> tuple[int, int, int]:
        return self.full("num_heads"), self.full("head_dim"), self.full("head_dim")

    @property
    def _scale(self) -> float:
        return 1 / math.sqrt(self.full("head_dim"))

    @property
    def _zero_attn(self) -> bool:
        return self.add_zero_attn


class SlimMultiheadAttention(_Attention, plain.SlimMultiheadAttention):
    """:class:`dyn_lightning.modules.attention.SlimMultiheadAttention` with learned sizes, as
    :class:`MultiheadAttention` has them; consolidates into its own class.
    """

    plain_class = plain.SlimMultiheadAttention
    # It may answer another size than it reads: that is the one that it is called by.
    sizes = {
        "embed_dim": "out_width", "out_size": "out_width", "num_heads": "heads", "head_size": "head_size",
        "value_size": "value_size",
    }  # fmt: skip
    kept_as = {"heads": lambda m: m.num_heads}

    @property
    def _full_parts(self) -> tuple[int, int, int]:
        return self.full("num_heads"), self.full("head_size"), self.full("value_size")

    @property
    def _scale(self) -> float:
        return self.scale

    @property
    def _zero_attn(self) -> bool:
        return self.zero_attn
