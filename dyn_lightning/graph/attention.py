"""Multi-head attention, as a layer and as a function: what it does to Axes, and how its own sizes are bound."""

from __future__ import annotations

import inspect
from typing import Any

import torch.nn.functional as F
from torch import nn

from dyn_lightning.graph.axes import Axis, axis_size, concatenated, fix_sizes, make_axis, normal
from dyn_lightning.graph.binding import bind
from dyn_lightning.graph.call import Call
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.shapes import axis_from
from dyn_lightning.graph.tracer import Tracer
from dyn_lightning.graph.unification import split_sum, unify
from dyn_lightning.inputs import tensors_in
from dyn_lightning.modules.attention import SlimMultiheadAttention

ATTENTIONS = (nn.MultiheadAttention, SlimMultiheadAttention)


def attention(t: Tracer, name: str, m: Any, inputs: tuple[Axes, ...], out: Any) -> tuple[list[Axes], list[Axis]]:
    """nn.MultiheadAttention: heads, the size of each head's queries and keys, and that of its values are apart."""
    query, key, value = (inputs[0], *inputs[1:3]) if len(inputs) > 2 else (inputs[0],) * 3
    known = t.graph.bindings.get(name)
    if known is None:
        slim = isinstance(m, SlimMultiheadAttention)
        heads = t.new_size(f"{name}.heads", m.num_heads)
        head_size = t.new_size(f"{name}.head_size", m.head_size if slim else m.head_dim)
        value_size = t.new_size(f"{name}.value_size", m.value_size if slim else m.head_dim)
        made = t.new_size(f"{name}.out_proj", m.embed_dim)
    else:
        heads, head_size, value_size, made = (known[k] for k in ("heads", "head_size", "value_size", "out"))
    reason = f"{name} is called with inputs of different make{t.line}"
    bind(
        t, name, heads=heads, head_size=head_size, value_size=value_size,
        in_axis=query[-1], key_axis=key[-1], value_axis=value[-1], out=made,
    )  # fmt: skip
    inner, values = make_axis(*heads, *head_size), make_axis(*heads, *value_size)
    rows = concatenated([inner, inner, values])
    if m.in_proj_weight is not None:
        for other in (key[-1], value[-1]):
            unify(query[-1], other, f"{name} projects queries, keys and values by one matrix{t.line}")
        t.own(m.in_proj_weight, (rows, query[-1]), reason)
    else:
        for weight, row, x in ((m.q_proj_weight, inner, query), (m.k_proj_weight, inner, key)):
            t.own(weight, (row, x[-1]), reason)
        t.own(m.v_proj_weight, (values, value[-1]), reason)
    if m.in_proj_bias is not None:
        t.own(m.in_proj_bias, (rows,), reason)
    if m.bias_k is not None:
        t.own(m.bias_k, ((1,), (1,), inner), reason)
        t.own(m.bias_v, ((1,), (1,), values), reason)
    t.own(m.out_proj.weight, (made, values), reason)
    if m.out_proj.bias is not None:
        t.own(m.out_proj.bias, (made,), reason)
    results = tensors_in(out)
    axes: list[Axes] = [(*query[:-1], made)]
    for weights in results[1:]:
        per_head = weights.dim() == len(query) + 1
        noted: list[Axis] = [(int(n),) for n in weights.shape]
        if per_head:
            noted[-3] = heads
        axes.append(tuple(noted))
    return axes, [heads, head_size, value_size]


_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def attention_function(c: Call) -> list[Axes] | None:
    """F.multi_head_attention_forward: queries (L, B, E) or (L, E) → (L, B, out), and weights.

    The function cuts all heads from E itself: heads × the size of each is what it reads, and no size is of its own.
    """
    given = _SIGNATURE.bind(*c.args, **c.kwargs).arguments
    if given.get("static_k") is not None or given.get("static_v") is not None:
        return None

    def axes(name: str) -> Axes | None:
        return None if given.get(name) is None else c.t.axes(given[name])

    query, key, value = c.inputs[:3]
    features, reason = query[-1], f"the function {c.name} in {c.t.where} has one size for all that it makes{c.t.line}"
    heads = axis_from(c.t, given["num_heads"])
    each = axis_size(features) // axis_size(heads)
    head_size = c.t.new_size(f"features of each head in {c.t.where}", each, weak=True)
    unify(features, make_axis(*heads, *head_size), reason)
    c.t.require(given["embed_dim_to_check"], features)
    # All that must be E; what has three of them is cut.
    equal = [found[-1] for name in ("bias_k", "bias_v", "out_proj_weight") if (found := axes(name))]
    thrice = [found[0] for name in ("in_proj_weight", "in_proj_bias") if (found := axes(name)) and axis_size(found[0])]
    if given.get("use_separate_proj_weight"):
        for name, x in (("q_proj_weight", query), ("k_proj_weight", key), ("v_proj_weight", value)):
            rows, columns = c.t.axes(given[name])
            unify(x[-1], columns, reason)
            equal.append(rows)
    else:
        equal += [key[-1], value[-1], c.t.axes(given["in_proj_weight"])[1]]
    for axis in thrice:
        equal += split_sum(axis, [axis_size(features)] * 3) or _all_fixed(axis, features, reason)
    for axis in equal:
        unify(features, axis, reason)
    out, mask = c.t.axes(given["out_proj_weight"])[0], axes("attn_mask")
    if (bias := axes("out_proj_bias")) is not None:
        unify(out, bias[0], reason)
    batch: Axis = query[1] if len(query) == 3 else (1,)
    if mask is not None and len(mask) == 3:
        unify(make_axis(*batch, *heads), mask[0], reason)
    c.hidden = (normal(heads), normal(head_size))
    made: list[Axes] = [(*query[:-1], normal(out))]
    for weights in c.results[1:]:
        noted: list[Axis] = [(int(n),) for n in weights.shape]
        if weights.dim() == len(query) + 1:
            noted[-3] = normal(heads)
        made.append(tuple(noted))
    c.t.graph.fixed.pop(c.t.where, None)
    return made


def _all_fixed(axis: Axis, other: Axis, reason: str) -> list[Axis]:
    fix_sizes(axis, reason)
    fix_sizes(other, reason)
    return []


def attention_detail(c: Call) -> tuple[bool, bool, int]:
    """What the function's price hangs on: a bias of what it projects, of its output, and the keys that it appends."""
    given = _SIGNATURE.bind(*c.args, **c.kwargs).arguments
    appended = (given.get("bias_k") is not None) + bool(given.get("add_zero_attn"))
    return given.get("in_proj_bias") is not None, given.get("out_proj_bias") is not None, appended
