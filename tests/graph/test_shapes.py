"""Functions that move, cut and join dimensions. The learned size is the second of (2, C, 5); C has six elements."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dyn_lightning.graph import axis_size, read_graph

C = "C6"
Function = Callable[..., Any]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.transpose(1, 2), [2, 5, C]),
        (lambda x: torch.transpose(x, dim0=0, dim1=-2), [C, 2, 5]),
        (lambda x: x.mT, [2, 5, C]),
        (lambda x: x.swapaxes(0, 1), [C, 2, 5]),
        (lambda x: x.movedim(1, -1), [2, 5, C]),
        (lambda x: torch.moveaxis(x, 2, 0), [5, 2, C]),
        (lambda x: x.permute(2, 0, 1), [5, 2, C]),
        (lambda x: x.permute((1, 2, -3)), [C, 5, 2]),
        (lambda x: torch.permute(x, dims=(1, 2, 0)), [C, 5, 2]),
        (lambda x: x[0].T, [5, C]),
        (lambda x: x[0].t(), [5, C]),
        (lambda x: x[0, :, 0].t(), [C]),
        (lambda x: x.flatten(1), [2, (C, 5)]),
        (lambda x: x.flatten(), [(2, C, 5)]),
        (lambda x: x.ravel(), [(2, C, 5)]),
        (lambda x: x.transpose(1, 2).reshape(2, -1), [2, (5, C)]),
        (lambda x: x.reshape(2, -1, 5, 1), [2, C, 5, 1]),
        (lambda x: x.transpose(0, 1).reshape(-1, 5), [(C, 2), 5]),
        (lambda x: x.flatten(1).unflatten(1, (-1, 5)), [2, C, 5]),
        (lambda x: x.transpose(1, 2).flatten(0, 1), [10, C]),
        (lambda x: x.transpose(1, 2).flatten(0, 1).view(5, 2, -1), [5, 2, C]),
        (lambda x: x.flatten(1).view_as(x), [2, C, 5]),
        (lambda x: x.unsqueeze(1), [2, 1, C, 5]),
        (lambda x: x.unsqueeze(-1), [2, C, 5, 1]),
        (lambda x: x.unsqueeze(1).squeeze(1), [2, C, 5]),
        (lambda x: x.unsqueeze(0).squeeze(), [2, C, 5]),
        (lambda x: x.squeeze(1), [2, C, 5]),
        (lambda x: x[:, :, 0], [2, C]),
        (lambda x: x[..., 1:4], [2, C, 3]),
        (lambda x: x[-1, ..., None], [C, 5, 1]),
        (lambda x: x[:1, :, ::2], [1, C, 3]),
        (lambda x: x[:, :, torch.tensor([0, 3])], [2, C, 2]),
        (lambda x: x[:, :, [0, 3, 1]], [2, C, 3]),
        (lambda x: x[torch.tensor([True, False])], [1, C, 5]),
        (lambda x: x.select(2, 1), [2, C]),
        (lambda x: x.narrow(2, 1, 3), [2, C, 3]),
        (lambda x: x.unbind(2), [2, C]),
        (lambda x: functional.pad(x, (1, 2)), [2, C, 8]),
        (lambda x: x.index_select(0, torch.tensor([1, 1, 0])), [3, C, 5]),
        (lambda x: x.chunk(5, -1), [2, C, 1]),
        (lambda x: x.split([2, 3], -1), [2, C, 2]),
        (lambda x: functional.interpolate(x, scale_factor=2), [2, C, 10]),
        (lambda x: x.unfold(2, 3, 1), [2, C, 3, 3]),
        (lambda x: x.cumsum(-1), [2, C, 5]),
        (lambda x: x.flip(0), [2, C, 5]),
        (lambda x: x.sort(2), [2, C, 5]),
        (lambda x: x.topk(2, -1), [2, C, 2]),
        (lambda x: x.roll(1, 2), [2, C, 5]),
        (lambda x: x.expand(3, *x.shape), [3, 2, C, 5]),
        (lambda x: x.unsqueeze(1).expand(-1, 4, -1, -1), [2, 4, C, 5]),
        (lambda x: x[:, :, :1].expand_as(x), [2, C, 5]),
        (lambda x: x.mean(1, keepdim=True).expand(x.shape), [2, C, 5]),
        (lambda x: x.repeat(1, 1, 2), [2, C, 10]),
        (lambda x: x.repeat(1, 3, 1), [2, (3, C), 5]),
        (lambda x: x.repeat(3, 1, 1, 1), [3, 2, C, 5]),
        (lambda x: torch.tile(x, (2,)), [2, C, 10]),
        (lambda x: x.repeat_interleave(3, 1), [2, (C, 3), 5]),
        (lambda x: x.repeat_interleave(3, dim=2), [2, C, 15]),
        (lambda x: torch.stack([x, x, x], 1), [2, 3, C, 5]),
        (lambda x: torch.stack([x, x], -1), [2, C, 5, 2]),
        (lambda x: torch.stack([x, x], 2).flatten(1, 2), [2, (C, 2), 5]),
        (lambda x: torch.cat([x, x], 1), [2, (2, C), 5]),
        (lambda x: torch.cat([x, x], -1), [2, C, 10]),
        (lambda x: torch.cat([x, torch.zeros(2, 3, 5)], 1), [2, [C, 3], 5]),
        (lambda x: torch.cat([torch.zeros(2, 1, 5), x, torch.ones(2, 4, 5)], dim=1), [2, [1, C, 4], 5]),
        (lambda x: torch.cat([torch.cat([x, torch.ones(2, 2, 5)], 1), x], 1), [2, [C, 2, C], 5]),
        (lambda x: x.gather(2, torch.zeros_like(x, dtype=torch.int64)), [2, C, 5]),
        (lambda x: functional.pixel_unshuffle(x.unsqueeze(-1).repeat(1, 1, 1, 5)[..., :4, :4], 2), [2, (C, 4), 2, 2]),
        (lambda x: functional.unfold(x.unsqueeze(-1), (3, 1)), [2, (C, 3), 3]),
        (lambda x: torch.zeros(x.shape), [2, C, 5]),
        (lambda x: x.new_ones(3, x.shape[1]), [3, C]),
        (lambda x: torch.full((x.size(1),), 2.0), [C]),
        (lambda x: torch.randn(*x.shape[:2]), [2, C]),
        (
            lambda x: pack_padded_sequence(x.transpose(1, 2), torch.tensor([5, 3]), batch_first=True),
            [8, C],
        ),
        (
            lambda x: pad_packed_sequence(
                pack_padded_sequence(x.transpose(1, 2), torch.tensor([5, 3]), batch_first=True), batch_first=True
            ),
            [2, 5, C],
        ),
    ],
)
def test_dimensions_are_followed(axes_after, trace, free, function: Function, expected: Any) -> None:
    assert axes_after(function) == expected
    assert free(trace(function)) == [6]


@pytest.mark.parametrize(
    ("function", "expected", "left"),
    [
        # a number of equal pieces is code; how large they are is not
        (lambda x: x.chunk(2, 1), [2, "C3", 5], [3]),
        (lambda x: x.chunk(2, 1)[1] + x.chunk(2, 1)[0], [2, "C3", 5], [3]),
        (lambda x: x.tensor_split(2, 1), None, []),
        (lambda x: x.split(x.shape[1] // 2, 1), [2, "C3", 5], [3]),
        (lambda x: x.view(2, 3, -1, 5), [2, 3, "C2", 5], [2]),
        (lambda x: x.view(2, -1, 3, 5), [2, "C2", 3, 5], None),
        (lambda x: x.unflatten(1, (2, -1)), [2, 2, "C3", 5], [3]),
        (lambda x: functional.glu(x, 1), [2, "C3", 5], [3]),
        (lambda x: x[:, ::2], [2, "C3", 5], [3]),
        (lambda x: x[:, 1::2], [2, "C3", 5], [3]),
        (lambda x: functional.channel_shuffle(x, 2), None, []),
        # a number of elements is code; those on the other side of it are not
        (lambda x: x[:, :2], [2, 2, 5], [4]),
        (lambda x: x[:, 2:], [2, "C4", 5], [4]),
        (lambda x: x[:, -2:], [2, 2, 5], [4]),
        (lambda x: x[:, :-2], [2, "C4", 5], [4]),
        (lambda x: x[:, 1:-2], [2, "C3", 5], [3]),
        (lambda x: x.narrow(1, 0, 2), [2, 2, 5], [4]),
        (lambda x: x[:, -9:], [2, "C6", 5], None),
        (lambda x: x.view(2, 2, -1, 5).transpose(1, 2).flatten(1, 2), [2, ("C3", 2), 5], [3]),
    ],
)
def test_pieces_of_the_size(axes_after, trace, free, function: Function, expected: Any, left: Any) -> None:
    if expected is not None:
        assert axes_after(function) == expected
    if left is not None:
        assert free(trace(lambda x: _read(function(x)))) == left


def _read(out: Any) -> Tensor:
    return (out[0] if isinstance(out, tuple) else out) + 0


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda x, net: x.split([net.a, net.b], 1), [2, 4]),
        (lambda x, net: (x[:, : net.a], x[:, net.a :]), [2, 4]),
        (lambda x, net: x[:, : net.a], [2, 4]),
        (lambda x, net: x.narrow(1, net.a, net.b), [2, 4]),
        (lambda x, net: x.reshape(2, net.a, -1, 5), [2, 3]),
        (lambda x, net: x.unflatten(1, (-1, net.a)), [3, 2]),
    ],
)
def test_places_that_attributes_give(trace, free, function: Function, sizes: list[int]) -> None:
    graph = trace(lambda x, net: [y + 0 for y in function(x, net)], a=2, b=4)
    assert free(graph) == sizes
    assert "a" in {attribute.name for attribute in graph.attributes}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.split([2, 4], 1)[0] + 0,
        lambda x: x.split(3, 1)[0] + 0,
        lambda x: x[:, 0] + 0,
        lambda x: x[:, [0, 1]] + 0,
        lambda x: x[:, torch.tensor([0, 1])] + 0,
        lambda x: x[:, x[0, :, 0] > 0] + 0,
        lambda x: x.index_select(1, torch.arange(6)) + 0,
        lambda x: x.select(1, 0) + 0,
        lambda x: x.unbind(1)[0] + 0,
        lambda x: x.view(2, 2, 3, 5) + 0,
        lambda x: x.chunk(4, 1)[0] + 0,
        lambda x: functional.pad(x, (0, 0, 1, 0)) + 0,
        lambda x: torch.cumsum(x, 1) + 0,
        lambda x: x.flip(1) + 0,
        lambda x: x.roll(1, 1) + 0,
        lambda x: x.roll(1) + 0,
        lambda x: x.sort(1).values + 0,
        lambda x: x.topk(2, 1).values + 0,
        lambda x: x.unfold(1, 2, 1) + 0,
        lambda x: x.gather(1, torch.zeros(2, 1, 5, dtype=torch.int64)) + 0,
        lambda x: functional.interpolate(x.transpose(1, 2), scale_factor=2) + 0,
        lambda x: x[0].diagonal() + 0,
        lambda x: torch.arange(x.shape[1]).view(1, -1, 1) * x,
        lambda x: torch.ones(3, 6).view(3, 6) @ x,
    ],
)
def test_what_an_element_stands_for_fixes_the_size(trace, free, function: Function) -> None:
    assert free(trace(function)) == []


def joined(run: Function, **layers: nn.Module) -> list[int]:
    """Free sizes of a network with several layers."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return run(self, x).sum()

    net = Net()
    for name, layer in layers.items():
        net.add_module(name, layer)
    return sorted(s.full_size for s in read_graph(net, torch.randn(2, 3)).roots() if s.reason is None)


def test_concatenations_meet_other_seams() -> None:
    layers = {name: nn.Linear(3, n) for name, n in (("a", 6), ("b", 4), ("c", 3), ("d", 7))}
    sizes = joined(
        lambda n, x: torch.cat([n.a(x), n.b(x)], -1) + torch.cat([n.c(x), n.d(x)], -1),
        **layers,
    )
    assert sizes == [3, 4]  # 6 + 4 = 3 + (3 + 4)
    assert joined(lambda n, x: torch.cat([n.a(x), n.b(x)], -1) + n.e(x), **layers, e=nn.Linear(3, 10)) == [4, 6]


def test_pieces_of_a_concatenation_are_what_was_joined() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        a, b = torch.cat([n.a(x), n.b(x)], -1).split([n.a.out_features, n.b.out_features], -1)
        return a.sum() + b.sum()

    assert joined(run, a=nn.Linear(3, 6), b=nn.Linear(3, 4)) == [4, 6]


def test_written_parts_agree() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        y = x.new_zeros(2, 2, n.a.out_features)
        y[:, 0] = n.a(x)
        y[:, 1] = n.b(x)
        return y

    assert joined(run, a=nn.Linear(3, 6), b=nn.Linear(3, 6)) == [6]

    def fixed(n: Any, x: Tensor) -> Tensor:
        y = torch.zeros(2, 6)
        y[:] = n.a(x)
        return y + n.b(x).sum()

    assert joined(fixed, a=nn.Linear(3, 6), b=nn.Linear(3, 5)) == [5]

    def column(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        y[:, 0] = 0.0
        return y + n.b(x).sum()

    assert joined(column, a=nn.Linear(3, 6), b=nn.Linear(3, 5)) == [5]


def test_pixel_shuffle_has_blocks_for_channels() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.read = nn.Conv2d(1, 24, 3, padding=1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.read(functional.pixel_shuffle(self.conv(x), 2))

    graph = read_graph(Net(), torch.randn(1, 1, 4, 4))
    (size, _) = graph.roots()
    assert (size.full_size, size.reason) == (6, None)
    assert size.names[0].startswith("conv")
    assert [axis_size(a) for a in graph.ops[1].outputs[0]] == [1, 6, 8, 8]
