import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning import consolidate, dynamize
from dyn_lightning.layers import Bilinear
from dyn_lightning.network.plain import plain_complexity
from dyn_lightning.widths.width import Width


@pytest.mark.parametrize("bias", [True, False])
def test_bilinear(contract, bias: bool) -> None:
    contract(
        nn.Bilinear(8, 6, 9, bias=bias),
        lambda a, b, out: {"in1_width": a, "in2_width": b, "out_width": out},
        [8, 6, 9],
        lambda a, b, out: (torch.randn(4, 3, a), torch.randn(4, 3, b)),
    ).check()


def test_what_is_cut_is_what_zeros_would_give() -> None:
    a, b, out = Width(8), Width(6), Width(9)
    layer, plain = Bilinear(8, 6, 9, in1_width=a, in2_width=b, out_width=out).eval(), nn.Bilinear(8, 6, 9)
    plain.load_state_dict(layer.state_dict())
    for width, n in ((a, 5), (b, 2), (out, 4)):
        width.freeze(n)
    x, y = torch.randn(3, 8), torch.randn(3, 6)
    x[:, 5:], y[:, 2:] = 0, 0
    torch.testing.assert_close(layer(x[:, :5], y[:, :2]), plain(x, y)[:, :4])


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.pair, self.last = nn.Linear(3, 10), nn.Linear(4, 8), nn.Bilinear(10, 8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.last(self.pair(self.a(x), self.b(y)))


def test_all_three_sizes_are_learned_and_counted() -> None:
    torch.manual_seed(0)
    example = (torch.randn(5, 3), torch.randn(5, 4))
    dynamic = dynamize(Pairs(), example)
    assert {name: w.full_size for name, w in dynamic.widths.items()} == {"a": 10, "b": 8, "pair": 6}
    row = next(row for row in dynamic.complexity.rows if row.name == "pair")
    # Of 5 rows and each output: for each of 7 features of x a sum of 3 products, times it, summed; and a bias.
    assert row.flops["full"].at({"a": 7, "b": 3, "pair": 4}) == 5 * 4 * (7 * (2 * 3 + 2) + 1)
    assert row.params.at({"a": 7, "b": 3, "pair": 4}) == 4 * (7 * 3 + 1)
    for name, n in {"a": 7, "b": 3, "pair": 4}.items():
        dynamic.widths[name].freeze(n)
    small, report = consolidate(dynamic, [example])
    assert report.largest_difference == 0
    layer = small.pair
    assert (layer.in1_features, layer.in2_features, layer.out_features) == (7, 3, 4)
    assert layer.weight.shape == (4, 7, 3)
    assert plain_complexity(small, example, None).flops_now() == dynamic.complexity.flops_now()


def test_one_tensor_twice_ties_both_sizes() -> None:
    class Square(Pairs):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.last(self.pair(x, x))

    net = Square()
    net.pair = nn.Bilinear(10, 10, 6)
    dynamic = dynamize(net, torch.randn(5, 3))
    assert {"a", "pair"} == set(dynamic.widths)
    dynamic.widths["a"].freeze(4)
    small, _ = consolidate(dynamic, [torch.randn(5, 3)])
    assert small.pair.weight.shape == (6, 4, 4)


def test_the_function_costs_the_same() -> None:
    class Function(Pairs):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.last(F.bilinear(self.a(x), self.b(y), self.pair.weight, self.pair.bias))

    example = (torch.randn(5, 3), torch.randn(5, 4))
    function, layer = (plain_complexity(kind(), example, None) for kind in (Function, Pairs))
    assert function.flops_now() == layer.flops_now()
    assert function.parameters_now() == layer.parameters_now()
