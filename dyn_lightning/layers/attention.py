"""Multi-head attention able to follow Widths: heads, sizes of each head, input and output."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layout import Concat, Layout
from dyn_lightning.models.attention import SlimMultiheadAttention, attend

_WEIGHTS = (
    "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v",
)  # fmt: skip


class MultiheadAttention(DynamicLayer, nn.MultiheadAttention):
    """torch.nn.MultiheadAttention with learned sizes.

    ``heads``, ``head_size`` (of each head's queries and keys) and ``value_size``: Widths or Layouts that it produces.
    ``in_width``, ``key_width``, ``value_width``: followed, features of queries, keys and values. The output's features
    are those of ``out_proj``, a Linear layer that may be dynamic itself. Scores keep the scale of the full head size,
    so that nothing jumps when a feature leaves.

    Shapes as torch.nn.MultiheadAttention. Consolidates into a
    :class:`dyn_lightning.models.attention.SlimMultiheadAttention`.
    """

    plain_class = nn.MultiheadAttention

    def bind(self, **widths: Any) -> None:
        # torch.nn.TransformerEncoderLayer asks for this before it takes its fused path, which reads the full weights.
        self._qkv_same_embed_dim = False
        super().bind(**widths)

    def _part(self, name: str, full: int) -> Layout:
        return self.ref(name) or Layout(full)

    @property
    def _parts(self) -> tuple[Layout, Layout, Layout]:
        return (
            self._part("heads", self.full("num_heads")),
            self._part("head_size", self.full("head_dim")),
            self._part("value_size", self.full("head_dim")),
        )

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

    def forward(  # type: ignore[override]
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

        return attend(
            (query, key, value), {n: self.cut(n) for n in _WEIGHTS}, heads.current, head_size.current,
            value_size.current, out=self.out_proj, scale=1 / math.sqrt(self.full("head_dim")),
            dropout=self.dropout if self.training else 0.0, batch_first=self.batch_first,
            zero_attn=self.add_zero_attn, key_padding_mask=key_padding_mask, need_weights=need_weights,
            attn_mask=attn_mask, average=average_attn_weights, on_heads=on_heads,
        )  # fmt: skip

    def plain_tensors(self) -> dict[str, Tensor]:
        return {n: self.cut(n, kept=True) for n in _WEIGHTS if self._parameters.get(n) is not None}

    def to_plain(self) -> nn.Module:
        heads, head_size, value_size = (part.size for part in self._parts)
        in_sizes = tuple(
            full if (ref := self.ref(name)) is None else ref.size
            for name, full in (
                ("in_width", self.full("embed_dim")),
                ("key_width", self.full("kdim")),
                ("value_width", self.full("vdim")),
            )
        )
        project: Any = self.out_proj.to_plain() if isinstance(self.out_proj, DynamicLayer) else self.out_proj
        weight = project.weight
        plain = SlimMultiheadAttention(
            in_sizes, heads, head_size, value_size, weight.shape[0],  # type: ignore[arg-type]
            fused=self.in_proj_weight is not None, bias=self.in_proj_bias is not None, bias_kv=self.bias_k is not None,
            zero_attn=self.add_zero_attn, scale=1 / math.sqrt(self.full("head_dim")), dropout=self.dropout,
            batch_first=self.batch_first,
        ).to(weight.device, weight.dtype)  # fmt: skip
        for name, kept in self.plain_tensors().items():
            self._copy(getattr(plain, name), kept, self._parameters[name])
        plain.out_proj.load_state_dict(project.state_dict())
        for mine, theirs in zip(plain.out_proj.parameters(), project.parameters(), strict=True):
            mine.requires_grad_(theirs.requires_grad)
        return plain.train(self.training)

    @staticmethod
    def _copy(target: nn.Parameter, kept: Tensor, source: Any) -> None:
        target.data.copy_(kept)
        target.requires_grad_(source.requires_grad)
