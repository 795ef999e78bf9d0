from typing import Any

import torch
from torch import nn

from dyn_lightning.layers import Embedding
from dyn_lightning.widths.width import Width


def test_embedding(contract) -> None:
    contract(
        nn.Embedding(11, 8, padding_idx=3),
        lambda w: {"out_width": w},
        [8],
        lambda w: (Index(torch.randint(11, (4, 5))),),
    ).check()


class Index(torch.Tensor):
    """Indices stay what they are in a network of another precision."""

    def double(self) -> Any:
        return self


def test_an_embedding_is_a_prefix_of_each_vector() -> None:
    width = Width(8)
    layer, plain = Embedding(11, 8, out_width=width), nn.Embedding(11, 8)
    plain.load_state_dict(layer.state_dict())
    width.freeze(5)
    x = torch.randint(11, (4, 5))
    assert torch.equal(layer(x), plain(x)[..., :5])
    small = layer.to_plain()
    assert (small.num_embeddings, small.embedding_dim) == (11, 5)
    assert torch.equal(small(x), layer(x))


def test_a_padding_entry_stays_without_gradient() -> None:
    width = Width(8)
    layer = Embedding(11, 8, padding_idx=3, out_width=width)
    width.set_lam(0.7)
    layer(torch.tensor([[3, 1, 3, 2]])).sum().backward()
    assert layer.weight.grad is not None
    assert (layer.weight.grad[3] == 0).all()
    assert (layer.weight.grad[1, :5] != 0).all()
    assert (layer.weight.grad[1, 6:] == 0).all()
