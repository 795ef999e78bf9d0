"""Networks with sizes that must not be learned, and the reasons that are given."""

from typing import Any

import pytest
import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("cumsum", lambda net, x: x.cumsum(-1)),
        ("flip", lambda net, x: torch.flip(x, (-1,))),
        ("sort", lambda net, x: torch.sort(x, dim=-1).values),
        ("roll", lambda net, x: torch.roll(x, 1, -1)),
        ("cat", lambda net, x: torch.cat([x[:, :4], x[:, 4:]], -1)),
        ("getitem", lambda net, x: x[:, [0, 1, 2, 3, 4, 5, 6, 7]]),
        ("matmul", lambda net, x: x @ torch.eye(8)),
        ("glu", lambda net, x: nn.functional.glu(torch.cat([x, x], -1))),
    ],
)
def test_unknown_functions_are_named(fixed_reasons_of, name: str, function: Any) -> None:
    reason = fixed_reasons_of(function)["a"]
    assert "the function" in reason
    if name not in ("cat", "glu"):
        assert name in reason


def test_hard_coded_sizes(fixed_reasons_of) -> None:
    for function in (
        lambda net, x: x.view(-1, 8),
        lambda net, x: x.reshape(3, 8),
        lambda net, x: x.expand(3, 8),
        lambda net, x: x.unflatten(-1, (8, 1)).flatten(1),
    ):
        assert "needs it at full size" in fixed_reasons_of(function)["a"]


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


def test_own_parameters(fixed_reasons_of) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.randn(8))

        def forward(self, x):
            return x * self.gain

    reason = fixed_reasons_of(lambda net, x: net.scale(x), scale=Scaled())["a"]
    assert "the function mul in scale joins it with a fixed size" in reason


def test_shared_weights(check) -> None:
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    net = nn.Sequential(nn.Linear(3, 6), a, nn.ReLU(), b, nn.Linear(6, 5), nn.Linear(5, 2))
    dynamic = check(net, torch.randn(2, 3), {"4"})
    assert "3 shares a parameter with 1" in dynamic.fixed_reasons["1"]
    assert "shares a parameter" in dynamic.fixed_reasons["0"]
    assert dynamic[1].weight is dynamic[3].weight


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


def test_transformer_encoder_layer() -> None:
    """Its fast path in evaluation mode reads weights past their layers."""
    net = nn.Sequential(
        nn.Linear(3, 8),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        nn.Linear(8, 6),
        nn.Linear(6, 2),
    )
    dynamic = dynamize(net, torch.randn(2, 5, 3))
    assert "2" in dynamic.widths
    assert "0" not in dynamic.widths
    for width in dynamic.widths.values():
        width.set_lam(0.5)
    _, report = consolidate(dynamic, [torch.randn(2, 5, 3)])
    assert report.largest_relative_difference < 1e-5


def test_subclasses_are_not_taken_for_their_base(check) -> None:
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    net = nn.Sequential(nn.Linear(3, 6), Doubled(6, 6), nn.Linear(6, 5), nn.Linear(5, 2))
    dynamic = check(net, torch.randn(2, 3), {"2"})
    assert "Doubled" in dynamic.fixed_reasons["1"]
    weighted = nn.Sequential(
        nn.Linear(3, 6),
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
        nn.Linear(6, 5),
        nn.Linear(5, 2),
    )
    assert set(dynamize(weighted, torch.randn(2, 3)).widths) == {"2"}


def test_grouped_and_multiplied_convolutions(check) -> None:
    net = nn.Sequential(
        nn.Conv1d(2, 8, 1),
        nn.Conv1d(8, 8, 3, groups=2),
        nn.Conv1d(8, 16, 3, groups=8),
        nn.Conv1d(16, 6, 1),
        nn.Conv1d(6, 2, 1),
    )
    dynamic = check(net, torch.randn(2, 2, 12), {"3"})
    assert "2 groups" in dynamic.fixed_reasons["1"]


def test_one_channel_a_group_cannot_shrink(check) -> None:
    net = nn.Sequential(nn.Conv1d(2, 8, 1), nn.GroupNorm(8, 8), nn.Conv1d(8, 6, 1), nn.Conv1d(6, 2, 1))
    dynamic = check(net, torch.randn(2, 2, 12), {"2"})
    assert "each group" in dynamic.fixed_reasons["0"]


def test_projections_and_initial_states(check, Net) -> None:
    def run(net, x):
        x = net.inp(x)
        y, _ = net.proj(x)
        z, _ = net.given(x, torch.zeros(1, x.shape[0], 5))
        return net.out(net.free(torch.cat([y, z], -1)))

    net = Net(
        run,
        inp=nn.Linear(3, 6),
        proj=nn.LSTM(6, 8, proj_size=4, batch_first=True),
        given=nn.GRU(6, 5, batch_first=True),
        free=nn.Linear(9, 7),
        out=nn.Linear(7, 2),
    )
    dynamic = check(net, torch.randn(2, 4, 3), {"free"})
    assert "projection" in dynamic.fixed_reasons["inp"]
    assert "initial state" in dynamic.fixed_reasons["given-l0"]


def test_layer_norm_over_several_dimensions_and_pooling_over_channels(check, Net) -> None:
    net = nn.Sequential(nn.Conv1d(2, 8, 3), nn.LayerNorm([8, 10]), nn.Conv1d(8, 6, 1), nn.Conv1d(6, 2, 1))
    assert "several dimensions" in check(net, torch.randn(2, 2, 12), {"2"}).fixed_reasons["0"]

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
