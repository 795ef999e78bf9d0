import math

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.modules.attention import SlimMultiheadAttention


def reference(m: SlimMultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """One head at a time, by its formula: (L, in), (S, in), (S, in) → (L, out)."""
    e, v, h = m.head_size, m.value_size, m.num_heads
    if m.fused:
        matrices = m.in_proj_weight.split([h * e, h * e, h * v])
    else:
        matrices = [m.q_proj_weight, m.k_proj_weight, m.v_proj_weight]
    biases = m.in_proj_bias.split([h * e, h * e, h * v])
    q, k, u = (x @ w.T + b for x, w, b in zip((query, key, value), matrices, biases, strict=True))
    heads = []
    for i in range(h):
        scores = q[:, i * e : (i + 1) * e] @ k[:, i * e : (i + 1) * e].T * m.scale
        heads.append(scores.softmax(-1) @ u[:, i * v : (i + 1) * v])
    return torch.cat(heads, -1) @ m.out_proj.weight.T + m.out_proj.bias


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_each_head_by_its_formula(fused: bool, need_weights: bool) -> None:
    torch.manual_seed(0)
    m = SlimMultiheadAttention((6, 6, 6) if fused else (6, 5, 7), 3, 2, 4, 8, fused=fused, batch_first=True)
    nn.init.normal_(m.in_proj_bias)
    q, k, v = (torch.randn(2, t, n) for t, n in ((3, 6), (5, m.in_sizes[1]), (5, m.in_sizes[2])))
    if fused:
        k = v = torch.randn(2, 5, 6)
    y, weights = m(q, k, v, need_weights=need_weights)
    expected = torch.stack([reference(m, a, b, c) for a, b, c in zip(q, k, v, strict=True)])
    torch.testing.assert_close(y, expected)
    assert (weights is None) == (not need_weights)
    if weights is not None:
        assert weights.shape == (2, 3, 5)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
    torch.testing.assert_close(m(q[0], k[0], v[0], need_weights=need_weights)[0], y[0])


def test_it_is_torchs_where_that_has_such_sizes() -> None:
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(12, 3)
    slim = SlimMultiheadAttention((12, 12, 12), 3, 4, 4, 12)
    slim.load_state_dict(plain.state_dict())
    x = torch.randn(5, 2, 12)
    for one, other in zip(slim(x, x, x), plain(x, x, x), strict=True):
        torch.testing.assert_close(one, other)
    assert slim.scale == 1 / math.sqrt(4)


def test_heads_that_are_gone_take_their_masks_along() -> None:
    """A mask for each head at full size, whose first ones are left."""
    torch.manual_seed(0)
    slim = SlimMultiheadAttention((6, 6, 6), 2, 3, 3, 6, batch_first=True)
    x, full = torch.randn(2, 4, 6), torch.randn(2, 3, 4, 4)
    y, _ = slim(x, x, x, attn_mask=full.flatten(0, 1))
    torch.testing.assert_close(y, slim(x, x, x, attn_mask=full[:, :2].flatten(0, 1))[0])
    assert not torch.allclose(y, slim(x, x, x)[0])


def test_dropout_only_in_training() -> None:
    slim = SlimMultiheadAttention((6, 6, 6), 2, 3, 3, 6, dropout=0.5).eval()
    x = torch.randn(4, 2, 6)
    assert torch.equal(slim(x, x, x)[0], slim(x, x, x)[0])
    slim.train()
    assert not torch.equal(slim(x, x, x)[0], slim(x, x, x)[0])
    assert "heads=2, head_size=3, value_size=3" in repr(slim)
