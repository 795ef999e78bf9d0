"""Multi-head attention whose inner sizes need not be those of its input, called like torch.nn's."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SlimMultiheadAttention(nn.Module):
    """torch.nn.MultiheadAttention with any number of heads and any size of queries, keys, values and output.

    Called and answering like torch.nn.MultiheadAttention, its parameters named alike: ``in_proj_weight`` where queries,
    keys and values come of one width and size, else ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight``.

    Args:
        in_sizes: features of queries, keys and values.
        heads: number of heads H.
        head_size: features of each head's queries and keys, E.
        value_size: features of each head's values, V.
        out_size: features of the output.
        fused: one matrix for queries, keys and values, of 2·H·E + H·V rows; their ``in_sizes`` are then one.
        bias: whether the projections have one.
        bias_kv: whether a learned key and value is appended.
        zero_attn: whether a key and value of zeros is appended.
        scale: what scores are multiplied by; 1/√E when absent.
        dropout: of the attention weights, in training.
        batch_first: (batch, time, features) instead of (time, batch, features).
    """

    # torch.nn.TransformerEncoderLayer asks for this before it takes its fused path, which has one size for all.
    _qkv_same_embed_dim = False

    def __init__(
        self,
        in_sizes: tuple[int, int, int],
        heads: int,
        head_size: int,
        value_size: int,
        out_size: int,
        *,
        fused: bool = True,
        bias: bool = True,
        bias_kv: bool = False,
        zero_attn: bool = False,
        scale: float | None = None,
        dropout: float = 0.0,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        self.in_sizes = tuple(in_sizes)
        self.num_heads = heads
        self.head_size = head_size
        self.value_size = value_size
        self.embed_dim = self.out_size = out_size
        self.fused = fused
        self.bias = bias
        self.bias_kv = bias_kv
        self.zero_attn = zero_attn
        self.scale = scale if scale is not None else 1.0 / math.sqrt(head_size)
        self.dropout = dropout
        self.batch_first = batch_first
        keys, values = heads * head_size, heads * value_size
        rows = {"q": keys, "k": keys, "v": values}
        if fused:
            self.in_proj_weight = nn.Parameter(torch.empty(2 * keys + values, in_sizes[0]))
        for name, n_in in zip(rows, in_sizes, strict=True):
            weight = None if fused else nn.Parameter(torch.empty(rows[name], n_in))
            self.register_parameter(f"{name}_proj_weight", weight)
        if not fused:
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", nn.Parameter(torch.zeros(2 * keys + values)) if bias else None)
        self.register_parameter("bias_k", nn.Parameter(torch.zeros(1, 1, keys)) if bias_kv else None)
        self.register_parameter("bias_v", nn.Parameter(torch.zeros(1, 1, values)) if bias_kv else None)
        self.out_proj = nn.Linear(values, out_size, bias=bias)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.xavier_uniform_(weight)

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
        names = (
            "in_proj_weight",
            "q_proj_weight",
            "k_proj_weight",
            "v_proj_weight",
            "in_proj_bias",
            "bias_k",
            "bias_v",
        )
        weights = {name: getattr(self, name) for name in names}
        check_hint(attn_mask, is_causal)
        return attend(
            (query, key, value), weights, self.num_heads, self.head_size, self.value_size,
            out=self.out_proj, scale=self.scale, dropout=self.dropout if self.training else 0.0,
            batch_first=self.batch_first, zero_attn=self.zero_attn, key_padding_mask=key_padding_mask,
            need_weights=need_weights, attn_mask=attn_mask, average=average_attn_weights,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"{self.in_sizes}, heads={self.num_heads}, head_size={self.head_size}, value_size={self.value_size}, "
            f"out_size={self.out_size}"
        )


def check_hint(attn_mask: Tensor | None, is_causal: bool) -> None:
    """``is_causal`` says of a mask that it is causal. Raises RuntimeError, as torch.nn does, where there is none."""
    if is_causal and attn_mask is None:
        raise RuntimeError("is_causal is a hint about attn_mask: give attn_mask as well")


def attend(
    inputs: tuple[Tensor, Tensor, Tensor],
    weights: dict[str, Any],
    heads: int,
    head_size: int,
    value_size: int,
    *,
    out: Any,
    scale: float,
    dropout: float = 0.0,
    batch_first: bool = False,
    zero_attn: bool = False,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average: bool = True,
    on_heads: Any = None,
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention as a function of its weights; what torch.nn.MultiheadAttention computes.

    Args:
        inputs: queries, keys and values, (time, batch, features), (batch, time, features) where ``batch_first``, or
            (time, features).
        weights: by torch.nn's names; None for those that are not there.
        out: the output projection, called with (batch, time, heads · value_size).
        on_heads: called with a name ("query", "key", "value", "context") and a tensor (batch, heads, time, size); what
            it answers is used instead.
        attn_mask, key_padding_mask: boolean (True: not to be looked at) or added to the scores.

    Returns:
        The output in the form of the queries, and the attention weights (batch, L, S), or (batch, heads, L, S) if not
        ``average``; None unless ``need_weights``.
    """
    change = on_heads if on_heads is not None else lambda name, x: x
    batched = inputs[0].dim() == 3
    if not batched:
        inputs = tuple(x.unsqueeze(0) for x in inputs)  # type: ignore[assignment]
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    elif not batch_first:
        inputs = tuple(x.transpose(0, 1) for x in inputs)  # type: ignore[assignment]
    rows = [heads * head_size, heads * head_size, heads * value_size]
    fused = weights["in_proj_weight"]
    matrices = [weights[f"{n}_proj_weight"] for n in "qkv"] if fused is None else fused.split(rows)
    biases: Any = [None] * 3 if weights["in_proj_bias"] is None else weights["in_proj_bias"].split(rows)
    q, k, v = (F.linear(x, w, b) for x, w, b in zip(inputs, matrices, biases, strict=True))
    batch = q.shape[0]
    extra = 0
    if weights["bias_k"] is not None:
        k, v = (torch.cat([x, weights[f"bias_{n}"].expand(batch, 1, -1)], 1) for n, x in (("k", k), ("v", v)))
        extra += 1
    q, k = (x.unflatten(2, (heads, head_size)).transpose(1, 2) for x in (q, k))
    v = v.unflatten(2, (heads, value_size)).transpose(1, 2)
    q, k, v = change("query", q), change("key", k), change("value", v)
    if zero_attn:
        k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
        extra += 1
    mask = _mask(attn_mask, key_padding_mask, batch, q, extra)
    if need_weights:
        scores = q @ k.transpose(-2, -1) * scale
        probabilities = F.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
        context = probabilities @ v
    else:
        probabilities = None
        context = F.scaled_dot_product_attention(q, k, v, mask, dropout, scale=scale)
    y = out(change("context", context).transpose(1, 2).flatten(2))
    if probabilities is not None and average:
        probabilities = probabilities.mean(1)
    if not batched:
        return y.squeeze(0), None if probabilities is None else probabilities.squeeze(0)
    return (y if batch_first else y.transpose(0, 1)), probabilities


def _mask(attn_mask: Tensor | None, padding: Tensor | None, batch: int, q: Tensor, extra: int) -> Tensor | None:
    """Both masks as one that is added to the scores, (batch or 1, heads or 1, L or 1, S)."""
    total: Tensor | None = None
    for mask, shape in ((attn_mask, (-1,)), (padding, (batch, 1, 1))):
        if mask is None:
            continue
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(mask, float("-inf"))
        mask = mask.to(q.dtype)
        if len(shape) > 1:
            mask = mask.view(batch, 1, 1, -1)
        elif mask.dim() == 3:
            # One for each batch entry and head at full size; heads that are gone have none.
            mask = mask.unflatten(0, (batch, -1))[:, : q.shape[1]]
        else:
            mask = mask[None, None]
        mask = F.pad(mask, (0, extra))
        total = mask if total is None else total + mask
    return total
