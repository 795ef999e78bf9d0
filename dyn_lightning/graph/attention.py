"""Multi-head attention as a function: what it does to Axes."""

from __future__ import annotations

import inspect

import torch.nn.functional as F
from torch import nn

from dyn_lightning.graph.axes import Axis, axis_size, fix_sizes, make_axis, normal
from dyn_lightning.graph.call import Call
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.shapes import axis_from
from dyn_lightning.graph.unification import split_sum, unify

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
    if type(c.t.owner(given["out_proj_weight"], 2)) is nn.MultiheadAttention:
        unify(out, features, reason)  # whose class has one size for both
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
