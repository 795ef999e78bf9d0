"""Networks with sizes that must not be learned, and the reasons that are given."""

from typing import Any

import pytest
import torch
from torch import nn


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("cumsum", lambda net, x: x.cumsum(-1)),
        ("flip", lambda net, x: torch.flip(x, (-1,))),
        ("sort", lambda net, x: torch.sort(x, dim=-1).values),
        ("roll", lambda net, x: torch.roll(x, 1, -1)),
        ("matmul", lambda net, x: x @ torch.eye(8)),
        ("unbind", lambda net, x: sum(x.unbind(-1)).unsqueeze(-1).expand(3, 8)),
        (
            "kron",
            lambda net, x: (
                torch.kron(x.flatten(), torch.ones(8)).sum() + net.free(torch.ones(3, 4)).sum() * torch.ones(3, 8)
            ),
        ),
    ],
)
def test_unknown_functions_are_named(fixed_reasons_of, name: str, function: Any) -> None:
    reason = fixed_reasons_of(function)["a"]
    assert f"the function {name} in the network is not known" in reason


def test_hard_coded_sizes(fixed_reasons_of) -> None:
    for function in (
        lambda net, x: x.view(-1, 8),
        lambda net, x: x.reshape(3, 8),
        lambda net, x: x.expand(3, 8),
        lambda net, x: x.unflatten(-1, (8, 1)).flatten(1),
    ):
        assert "gives it as a number (8)" in fixed_reasons_of(function)["a"]
    for function in (
        lambda net, x: torch.cat([x[:, 4:], x[:, :4]], -1),
        lambda net, x: torch.cat(x.split(4, -1)[::-1], -1),
        lambda net, x: x.narrow(-1, 0, 4).repeat(1, 2),
    ):
        assert "gives it as a number (4)" in fixed_reasons_of(function)["a"]


def test_python_reads_of_a_size(fixed_reasons_of) -> None:
    def function(net, x):
        assert x.shape[1] == 8, "eight channels"
        return x

    assert "eight channels" in fixed_reasons_of(function)["a"]


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: x + torch.ones(8),
        lambda net, x: torch.ones(1, 8) * x,
        lambda net, x: torch.where(torch.arange(8) > 3, x, 0.0),
        lambda net, x: x * torch.sigmoid(torch.randn(8, generator=torch.Generator().manual_seed(0))),
        lambda net, x: torch.maximum(x, torch.zeros(8)),
    ],
)
def test_sums_and_gates_with_a_fixed_size(fixed_reasons_of, function: Any) -> None:
    assert "joins it with a fixed size" in fixed_reasons_of(function)["a"]


def test_weights_read_past_their_layer(check, Net) -> None:
    def run(net, x):
        x = nn.functional.linear(x, net.a.weight, net.a.bias) if not net.training else net.a(x)
        return net.out(nn.functional.adaptive_avg_pool1d(x.unsqueeze(1), 4).squeeze(1)) + net.end(net.free(x))

    net = Net(run, a=nn.Linear(8, 8), out=nn.Linear(4, 2), free=nn.Linear(8, 6), end=nn.Linear(6, 2))
    check(net, torch.randn(3, 8), {"free"})


def test_a_layers_function_that_skips_its_slices(check) -> None:
    """The parent computes with the inner layers' whole weights, unseen by the shapes."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
            self.fast = False

        def forward(self, x):
            if torch.overrides._is_torch_function_mode_enabled():  # the trace takes the ordinary way
                return self.down(torch.relu(self.up(x)))
            h = torch.relu(x @ self.up.weight.T + self.up.bias)
            return h @ self.down.weight.T + self.down.bias

    net = nn.Sequential(nn.Linear(3, 4), Pair(), nn.Linear(4, 6), nn.Linear(6, 2))
    dynamic = check(net, torch.randn(5, 3), {"2"})
    assert "without calling the layer" in dynamic.fixed_reasons["1-up"]


def test_an_initial_state_of_a_fixed_size(check, Net) -> None:
    def run(net, x):
        z, _ = net.given(net.inp(x), torch.zeros(1, x.shape[0], 5))
        return net.out(net.free(z))

    net = Net(
        run,
        inp=nn.Linear(3, 6),
        given=nn.GRU(6, 5, batch_first=True),
        free=nn.Linear(5, 7),
        out=nn.Linear(7, 2),
    )
    dynamic = check(net, torch.randn(2, 4, 3), {"inp", "free"})
    assert "initial state" in dynamic.fixed_reasons["given-l0"]


def test_pooling_over_a_size(check, Net) -> None:
    def run(net, x):
        x = nn.functional.max_pool1d(net.a(x), 2)
        return net.out(net.free(x))

    pooled = Net(run, a=nn.Linear(3, 8), free=nn.Linear(4, 6), out=nn.Linear(6, 2))
    assert "pool" in check(pooled, torch.randn(2, 4, 3), {"free"}).fixed_reasons["a"]


def test_sizes_that_are_answered(check, Net) -> None:
    def run(net, x):
        h = net.a(x)
        return {"logit": net.out(net.free(h)), "features": [h]}

    net = Net(run, a=nn.Linear(3, 8), free=nn.Linear(8, 6), out=nn.Linear(6, 2))
    assert "output" in check(net, torch.randn(2, 3), {"free"}).fixed_reasons["a"]


@pytest.mark.parametrize("other", [8, 12])
def test_half_of_a_concatenation(check, Net, other: int) -> None:
    def run(net, x):
        y = torch.cat([net.a(x), net.b(x)], -1)
        return net.out(y[:, : y.shape[-1] // 2]) + net.end(net.free(x))

    half = (8 + other) // 2
    layers = {"a": nn.Linear(3, 8), "b": nn.Linear(3, other), "out": nn.Linear(half, 2)}
    net = Net(run, **layers, free=nn.Linear(3, 6), end=nn.Linear(6, 2))
    reasons = check(net, torch.randn(2, 3), {"free"}).fixed_reasons
    for name in "ab":
        assert f"computes it ({half}) by division ({8 + other} // …) of a concatenation" in reasons[name]
        assert reasons[name].endswith(f"(test_fixed_sizes.py:{run.__code__.co_firstlineno + 2})")
