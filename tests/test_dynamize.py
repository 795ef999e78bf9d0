import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize, left_whole
from dyn_lightning.network.dynamic import dynamic_layers, plain_copy


class Net(nn.Module):
    def __init__(self, function: Any, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def test_dynamic_and_fixed_patterns() -> None:
    x = torch.randn(2, 3)
    chosen = dynamize(_mlp(), x, dynamic=["2"])
    assert list(chosen.widths) == ["2"]
    assert chosen.fixed_reasons["0"] == "it was not asked for"
    left = dynamize(_mlp(), x, fixed=["0"])
    assert list(left.widths) == ["2"]
    assert left.fixed_reasons["0"] == "it was asked to be fixed"
    assert left_whole(chosen) == left_whole(left) == ["0"]  # what it answers cannot be learned, and is not counted


def test_ties() -> None:
    dynamic = dynamize(_mlp(), torch.randn(2, 3), ties=[["0", "2"]])
    assert dynamic[2].out_width.simple is dynamic[0].out_width.simple is dynamic.widths["0"]
    rnn = Net(lambda n, x: n.out(n.rnn(n.inp(x))[0]), inp=nn.Linear(3, 8), rnn=nn.GRU(8, 8, 2), out=nn.Linear(8, 2))
    assert list(dynamize(rnn, torch.randn(4, 2, 3), ties=[["inp", "rnn"]]).widths) == ["inp"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dynamic": ["nothing*"]},
            r"(?s)'nothing\*' matches no size.*0 \(8\): can be learned.*4 \(2\): .*output",
        ),
        ({"dynamic": ["4"]}, "matched, but fixed: 4"),
        ({"dynamic": []}, "nothing would be learned"),
        ({"fixed": ["conv"]}, r"fixed: the pattern 'conv' matches nothing; there are 0, 2, 4"),
        ({"fixed": ["*"]}, "matches no size that can be learned"),
        ({"ties": [["0", "conv"]]}, "ties: no size is called 'conv'"),
        ({"ties": [["0", "4"]]}, r"0 \(8\) and 4 \(2\) cannot be tied"),
        ({"boundary": "cliff"}, "unknown"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dynamize(_mlp(), torch.randn(2, 3), **options)


def test_bad_backbones() -> None:
    with pytest.raises(ValueError, match=r"(?s)can be learned.*no layer"):
        dynamize(Net(lambda net, x: x.relu()), torch.randn(2, 3))
    with pytest.raises(ValueError, match="Linear by itself"):
        dynamize(nn.Linear(3, 2), torch.randn(2, 3))
    with pytest.raises(ValueError, match="output"):
        dynamize(nn.Sequential(nn.Linear(3, 2)), torch.randn(2, 3))
    with pytest.raises(TypeError, match="no tensor"):
        dynamize(Net(lambda net, x: None, a=nn.Linear(3, 2)), torch.randn(2, 3))
    taken = _mlp()
    taken.complexity = 3
    with pytest.raises(ValueError, match="Sequential has its own complexity"):
        dynamize(taken, torch.randn(2, 3))
    with pytest.raises(ValueError, match="has its own widths"):
        dynamize(dynamize(_mlp(), torch.randn(2, 3)), torch.randn(2, 3))


def test_mode_hooks_and_random_state_are_left_alone() -> None:
    net = _mlp()
    net[1].eval()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    dynamic = dynamize(net, torch.randn(2, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in net.modules()] == [True, True, False, True, True, True]
    assert not net._forward_hooks
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in dynamic.modules())


def test_a_half_learned_network_trains_and_evaluates_consistently() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 2, 3))
    dynamic = dynamize(net, torch.randn(2, 2, 12))
    dynamic.widths["0"].set_lam(0.55)
    x = torch.randn(4, 2, 12)
    assert dynamic[0](x).shape[1] == 5
    dynamic.eval()
    assert dynamic[0](x).shape[1] == 4
    dynamic.train()
    dynamic.widths["0"].freeze()
    assert dynamic[0](x).shape[1] == 4


def test_deepcopy_is_independent() -> None:
    dynamic = dynamize(_mlp(), torch.randn(2, 3))
    twin = copy.deepcopy(dynamic)
    assert type(twin) is type(dynamic)
    twin.widths["0"].freeze(3)
    assert (dynamic.widths["0"].size, dynamic[0].out_width.size) == (8, 8)
    assert twin[0].out_width.simple is twin.widths["0"]
    assert twin.complexity.sizes_now == {"0": 3, "2": 8}
    assert dynamic.complexity.flops_now() > twin.complexity.flops_now()
    consolidate(twin, [torch.randn(2, 3)])


def test_mixed_precision_and_other_dtypes() -> None:
    torch.manual_seed(0)
    dynamic = dynamize(_mlp(), torch.randn(2, 3))
    dynamic.widths["0"].set_lam(0.55)
    with torch.autocast("cpu", torch.bfloat16):
        loss = dynamic(torch.randn(64, 3)).square().mean()
    loss.backward()
    assert dynamic.widths["0"].theta.grad.abs() > 0
    double = copy.deepcopy(dynamic).double().eval()
    _, report = consolidate(double, [torch.randn(2, 3, dtype=torch.float64)])
    assert report.largest_relative_difference < 1e-12
    half = dynamize(_mlp().bfloat16(), torch.randn(2, 3, dtype=torch.bfloat16))
    assert half(torch.randn(2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_free_outputs() -> None:
    net, x = nn.Sequential(nn.Linear(3, 8), nn.Tanh()), torch.randn(2, 3)
    dynamic = dynamize(net, x, free_outputs=True)
    assert set(dynamic.widths) == {"0"}
    dynamic.widths["0"].freeze(5)
    torch.testing.assert_close(dynamic(x), net(x)[:, :5])
    small, report = consolidate(dynamic, [x])
    assert small(x).shape == (2, 5)
    assert report.largest_difference < 1e-6


def test_helpers() -> None:
    dynamic = dynamize(_mlp(), torch.randn(2, 3))
    assert list(dynamic_layers(dynamic)) == ["0", "2", "4"]
    assert type(plain_copy(dynamic)) is nn.Sequential


def test_free_outputs_leave_a_size_fixed_that_the_code_needs() -> None:
    net = Net(lambda n, x: n.b(n.a(x)).view(-1, 2, 4), a=nn.Linear(5, 6), b=nn.Linear(6, 8))
    dynamic = dynamize(net, torch.randn(3, 5), free_outputs=True)
    assert list(dynamic.widths) == ["a"]
    assert "gives it as a number (4)" in dynamic.fixed_reasons["b"]
    # the same numbers as a module's attribute follow the size
    follows = dynamize(nn.Sequential(nn.Linear(5, 8), nn.Unflatten(1, (2, 4))), torch.randn(3, 5), free_outputs=True)
    assert [w.full_size for w in follows.widths.values()] == [2, 4]
    for width, size in zip(follows.widths.values(), (1, 3), strict=True):
        width.freeze(size)
    assert follows(torch.randn(3, 5)).shape == (3, 1, 3)
