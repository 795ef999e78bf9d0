"""Multi-head attention able to follow Widths: heads, sizes of each head, input and output."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer
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

    dropout: float
    batch_first: bool

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

    def plain_sizes(self) -> dict[str, Any]:
        raise NotImplementedError("attention builds its plain form itself")

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

    @property
    def _full_parts(self) -> tuple[int, int, int]:
        return self.full("num_heads"), self.full("head_size"), self.full("value_size")

    @property
    def _scale(self) -> float:
        return self.scale

    @property
    def _zero_attn(self) -> bool:
        return self.zero_attn
