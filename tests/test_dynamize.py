import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import DynamicNetwork, dynamic_layers, dynamize, plain_copy, run_in_eval
from dyn_lightning.graph import read_graph, tensors_in
from dyn_lightning.complexity import Complexity
from dyn_lightning.models.crnn_vad import CRNNVAD


class Net(nn.Module):
    """Named layers and a function that runs them."""

    def __init__(self, run: Any, **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def _plain_parts(network: nn.Module) -> None:
    for module in network.modules():
        home = type(module).__module__
        assert not home.startswith(("dyn_lightning.layers", "dyn_lightning.width", "dyn_lightning.dynamize")), home
        for name, value in vars(module).items():
            home = type(value).__module__
            assert not home.startswith(("dyn_lightning.layers", "dyn_lightning.width")), name
    assert not isinstance(network, DynamicNetwork)
    assert "widths" not in dict(network.named_children())


def check(backbone: nn.Module, example: Any, expected: set[str] | None = None, **options: Any) -> Any:
    """Everything that holds for a dynamic network: full size, any size, checkpoints, consolidation, costs."""
    torch.manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    dynamic = dynamize(backbone, example, **options)
    assert isinstance(dynamic, type(backbone))
    if expected is not None:
        assert set(dynamic.widths) == expected, dynamic.fixed_reasons
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())

    # a plain checkpoint loads, strictly but for the widths
    missing, unexpected = dynamic.load_state_dict(before, strict=False)
    assert all(name.startswith("widths.") for name in missing)
    assert unexpected == []
    assert [n for n in dynamic.state_dict() if not n.startswith("widths.")] == list(before)

    reference = run_in_eval(backbone, example)
    for a, b in zip(run_in_eval(dynamic, example), reference, strict=True):
        assert (a - b).abs().max() <= 1e-6 * max(1e-3, b.abs().max().item())

    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for width in dynamic.widths.values():
            width.set_lam(max(width.lam_min, torch.rand((), generator=generator).item()))
        state = {k: v.clone() for k, v in dynamic.state_dict().items()}
        small, report = consolidate(dynamic, [example])
        assert report.largest_relative_difference is not None
        assert report.largest_relative_difference < 1e-5
        assert all(torch.equal(v, state[k]) for k, v in dynamic.state_dict().items())
        assert type(small) is type(backbone)
        _plain_parts(small)
        for a, b in zip(run_in_eval(small, example), reference, strict=True):
            assert a.shape == b.shape
        retraced = Complexity(read_graph(small, example).ops, {}, options.get("duration_s"))
        assert retraced.flops_at({}) == pytest.approx(_full_cost(small, example, options), rel=1e-9)
        assert report.flops == pytest.approx(_full_cost(small, example, options), rel=1e-9)
        assert report.parameters == sum(p.numel() for p in small.parameters()) == dynamic.complexity.parameters_now()

    # training: noise reaches every λ that is left with a boundary
    dynamic.train()
    for width in dynamic.widths.values():
        width.set_lam(max(width.lam_min, (0.8 * width.units + 0.5) / width.units * 0.75))
    args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
    out = dynamic(*(args if isinstance(args, tuple) else (args,)), **kwargs)
    loss = sum(t.square().sum() for t in tensors_in(out) if t.is_floating_point())
    if any(p.requires_grad for p in dynamic.parameters()):
        loss.backward()
    assert all(w.theta.grad is None or torch.isfinite(w.theta.grad) for w in dynamic.widths.values())
    assert any(w.theta.grad is not None for w in dynamic.widths.values())
    return dynamic


def _full_cost(small: nn.Module, example: Any, options: dict[str, Any]) -> float:
    """FLOPs of a plain network as its own trace counts them, with every size a plain number."""
    from dyn_lightning.graph import Op, axis_size

    def sizes(axes: Any) -> Any:
        return tuple((axis_size(axis),) for axis in axes)

    ops = [
        Op(o.name, o.kind, o.module, tuple(map(sizes, o.inputs)), tuple(map(sizes, o.outputs)), sizes(o.hidden))
        for o in read_graph(small, example).ops
    ]
    return Complexity(ops, {}, options.get("duration_s")).flops_at({})


# ------------------------------------------------------------------------------------------------------- chains


def test_convolutions_to_linear() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ELU(),
        nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(48, 10), nn.Dropout(), nn.PReLU(10), nn.Linear(10, 3),
    )  # fmt: skip
    dynamic = check(net, torch.randn(2, 1, 12, 10), {"0", "4", "8"})
    assert len(dynamic) == 12
    assert dynamic[-1].out_features == 3
    assert "output" in dynamic.fixed_reasons["11"]


def test_channels_by_bands_into_a_gru() -> None:
    def run(net, x):
        x = net.act(net.norm(net.conv(x)))
        x = x.permute(0, 3, 1, 2).flatten(2)  # (batch, time, channels × bands)
        return net.out(net.gru(x)[0][:, -1])

    net = Net(
        run, conv=nn.Conv2d(1, 6, 3, padding=1), norm=nn.BatchNorm2d(6), act=nn.SELU(),
        gru=nn.GRU(6 * 5, 9, 2, batch_first=True), out=nn.Linear(9, 2),
    )  # fmt: skip
    check(net, torch.randn(3, 1, 5, 7), {"conv", "gru-l0", "gru-l1"}, duration_s=2.0)


def test_bands_by_channels_into_an_lstm() -> None:
    """The learned factor comes last: no prefix."""

    def run(net, x):
        x = net.conv(x).permute(3, 0, 2, 1)
        return net.out(net.rnn(x.reshape(x.shape[0], x.shape[1], -1))[0].mean(0))

    net = Net(run, conv=nn.Conv2d(1, 6, 3), rnn=nn.LSTM(6 * 3, 8, bidirectional=True), out=nn.Linear(16, 2))
    check(net, torch.randn(3, 1, 5, 7), {"conv", "rnn-l0"})


def test_crnn() -> None:
    dynamic = check(CRNNVAD(20, 12, 16), torch.randn(1, 8000), {"mel", "conv", "gru-l0", "gru-l1"}, duration_s=0.5)
    assert dynamic.complexity.unit == "flops_per_second"
    check(CRNNVAD(20, 12, 16), torch.randn(1, 8000), {"mel"}, dynamic=["mel"], mel_spacing="dropped")


def test_separable_convolutions_with_group_norm() -> None:
    net = nn.Sequential(
        nn.Conv1d(3, 12, 3), nn.GroupNorm(4, 12), nn.PReLU(12), nn.Conv1d(12, 12, 3, groups=12), nn.GroupNorm(1, 12),
        nn.SiLU(), nn.Conv1d(12, 8, 1), nn.GroupNorm(2, 8), nn.ConvTranspose1d(8, 2, 3, stride=2),
    )  # fmt: skip
    dynamic = check(net, torch.randn(2, 3, 20), {"0", "6"})
    assert (dynamic.widths["0"].groups, dynamic.widths["6"].groups) == (4, 2)


def test_final_states_tie_the_layers() -> None:
    def run(net, x):
        _, (h, _) = net.rnn(net.inp(x))
        return net.out(h.transpose(0, 1).flatten(1))

    net = Net(
        run, inp=nn.Linear(4, 6), rnn=nn.LSTM(6, 8, 2, bidirectional=True, batch_first=True), out=nn.Linear(32, 3)
    )
    check(net, torch.randn(2, 5, 4), {"inp", "rnn-l0"})

    def last(net, x):
        return net.out(net.rnn(x)[1][-1])

    check(Net(last, rnn=nn.GRU(4, 8, 3), out=nn.Linear(8, 3)), torch.randn(5, 2, 4), {"rnn-l0"})


def test_multilayer_perceptron_with_layer_norm() -> None:
    net = nn.Sequential(
        nn.Linear(5, 16), nn.LayerNorm(16), nn.GELU(), nn.Sequential(nn.Linear(16, 12), nn.LayerNorm(12)), nn.Tanh(),
        nn.Linear(12, 2),
    )  # fmt: skip
    check(net, torch.randn(2, 7, 5), {"0", "3-0"})


def test_residual_sums_tie() -> None:
    def run(net, x):
        x = net.stem(x)
        for block in (net.one, net.two):
            x = torch.relu(x + block(x))
        return net.head(x.mean((2, 3)))

    def block():
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))

    net = Net(run, stem=nn.Conv2d(1, 8, 3), one=block(), two=block(), head=nn.Linear(8, 2))
    dynamic = check(net, torch.randn(2, 1, 7, 7), {"stem", "one-0", "two-0"})
    stem = dynamic.widths["stem"]
    assert dynamic.one[3].out_width is dynamic.two[3].out_width is dynamic.one[0].in_width.widths[0] is stem


def test_squeeze_and_excitation_gate() -> None:
    def run(net, x):
        x = net.conv(x)
        gate = torch.sigmoid(net.up(torch.relu(net.down(x.mean(-1)))))
        return net.out((x * gate.unsqueeze(-1) + x.max(dim=-1, keepdim=True).values).transpose(1, 2))

    net = Net(run, conv=nn.Conv1d(2, 8, 3), down=nn.Linear(8, 4), up=nn.Linear(4, 8), out=nn.Linear(8, 1))
    check(net, torch.randn(2, 2, 9), {"conv", "down"})


def test_a_layer_called_twice_is_one_layer() -> None:
    def run(net, a, b):
        x = net.shared(net.first(a))
        return net.out(net.shared(net.second(b)) - x)

    net = Net(run, first=nn.Linear(3, 6), second=nn.Linear(4, 6), shared=nn.Linear(6, 5), out=nn.Linear(5, 2))
    dynamic = check(net, (torch.randn(2, 3), torch.randn(2, 4)), {"first", "shared"})
    assert dynamic.first.out_width is dynamic.second.out_width


def test_a_layer_under_two_names_is_replaced_under_both() -> None:
    layer = nn.Linear(6, 6)
    net = nn.Sequential(nn.Linear(3, 6), layer, nn.ReLU(), layer, nn.Linear(6, 2))
    dynamic = check(net, torch.randn(2, 3), {"0"})
    assert dynamic[1] is dynamic[3]


def test_containers_in_and_out() -> None:
    @dataclass
    class Answer:
        score: Tensor
        note: str = ""

    def run(net, *, audio, extra):
        x = net.a(audio["left"]) * net.b(extra[0])
        return Answer(net.out(x))

    net = Net(run, a=nn.Linear(3, 6), b=nn.Linear(4, 6), out=nn.Linear(6, 5))
    dynamic = check(net, {"audio": {"left": torch.randn(2, 3)}, "extra": [torch.randn(2, 4)]}, {"a"})
    assert "output" in dynamic.fixed_reasons["out"]


def test_control_flow_and_shape_arithmetic() -> None:
    def run(net, x):
        x = net.a(x)
        if x.shape[-1] > 2:
            x = x / x.shape[-1] ** 0.5
        for _ in range(3):
            x = torch.tanh(net.loop(x)) + x
        return net.out(x.view(x.size(0), 1, -1).squeeze(1))

    check(Net(run, a=nn.Linear(3, 8), loop=nn.Linear(8, 8), out=nn.Linear(8, 2)), torch.randn(4, 3), {"a"})


def test_packed_sequences() -> None:
    def run(net, x, lengths):
        packed = pack_padded_sequence(net.inp(x), lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(net.rnn(packed)[0], batch_first=True)
        return net.out(y)

    net = Net(run, inp=nn.Linear(3, 6), rnn=nn.GRU(6, 8, 2, batch_first=True), out=nn.Linear(8, 2))
    check(net, (torch.randn(3, 5, 3), torch.tensor([3, 5, 2])), {"inp", "rnn-l0", "rnn-l1"})


def test_names_that_a_module_dict_has_itself() -> None:
    def run(net, x):
        return net.out(net.keys(x) * net.values(x))

    check(Net(run, keys=nn.Linear(3, 6), values=nn.Linear(3, 6), out=nn.Linear(6, 2)), torch.randn(2, 3), {"keys_"},
          dynamic=["keys"])  # fmt: skip


# ---------------------------------------------------------------------------------------------- what must be fixed

_HEAD = {"a": nn.Linear(4, 8), "out": nn.Linear(8, 2), "free": nn.Linear(4, 6), "end": nn.Linear(6, 2)}


def _fixed(function: Any, **more: nn.Module) -> dict[str, str]:
    """Reasons, where ``function`` stands between two layers; a free layer beside it stays learnable."""

    def run(net, x):
        return net.out(function(net, net.a(x))) + net.end(net.free(x))

    net = Net(run, **copy.deepcopy(_HEAD), **more)
    return check(net, torch.randn(3, 4), {"free"}).fixed_reasons


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
def test_unknown_functions_are_named(name: str, function: Any) -> None:
    reason = _fixed(function)["a"]
    assert "the function" in reason
    if name not in ("cat", "glu"):
        assert name in reason


def test_hard_coded_sizes() -> None:
    for function in (
        lambda net, x: x.view(-1, 8),
        lambda net, x: x.reshape(3, 8),
        lambda net, x: x.expand(3, 8),
        lambda net, x: x.unflatten(-1, (8, 1)).flatten(1),
    ):
        assert "needs it at full size" in _fixed(function)["a"]


def test_python_reads_of_a_size() -> None:
    def function(net, x):
        assert x.shape[1] == 8, "eight channels"
        return x

    assert "eight channels" in _fixed(function)["a"]


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
def test_sums_and_gates_with_a_fixed_size(function: Any) -> None:
    assert "joins it with a fixed size" in _fixed(function)["a"]


def test_own_parameters() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.randn(8))

        def forward(self, x):
            return x * self.gain

    reason = _fixed(lambda net, x: net.scale(x), scale=Scaled())["a"]
    assert "the function mul in scale joins it with a fixed size" in reason


def test_shared_weights() -> None:
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    net = nn.Sequential(nn.Linear(3, 6), a, nn.ReLU(), b, nn.Linear(6, 5), nn.Linear(5, 2))
    dynamic = check(net, torch.randn(2, 3), {"4"})
    assert "3 shares a parameter with 1" in dynamic.fixed_reasons["1"]
    assert "shares a parameter" in dynamic.fixed_reasons["0"]
    assert dynamic[1].weight is dynamic[3].weight


def test_weights_read_past_their_layer() -> None:
    def run(net, x):
        x = nn.functional.linear(x, net.a.weight, net.a.bias) if not net.training else net.a(x)
        return net.out(nn.functional.adaptive_avg_pool1d(x.unsqueeze(1), 4).squeeze(1)) + net.end(net.free(x))

    net = Net(run, a=nn.Linear(8, 8), out=nn.Linear(4, 2), free=nn.Linear(8, 6), end=nn.Linear(6, 2))
    check(net, torch.randn(3, 8), {"free"})


def test_a_layers_function_that_skips_its_slices() -> None:
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
        nn.Linear(3, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 6), nn.Linear(6, 2)
    )
    dynamic = dynamize(net, torch.randn(2, 5, 3))
    assert "2" in dynamic.widths
    assert "0" not in dynamic.widths
    for width in dynamic.widths.values():
        width.set_lam(0.5)
    _, report = consolidate(dynamic, [torch.randn(2, 5, 3)])
    assert report.largest_relative_difference < 1e-5


def test_subclasses_are_not_taken_for_their_base() -> None:
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    net = nn.Sequential(nn.Linear(3, 6), Doubled(6, 6), nn.Linear(6, 5), nn.Linear(5, 2))
    dynamic = check(net, torch.randn(2, 3), {"2"})
    assert "Doubled" in dynamic.fixed_reasons["1"]
    weighted = nn.Sequential(
        nn.Linear(3, 6), nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)), nn.Linear(6, 5), nn.Linear(5, 2)
    )
    assert set(dynamize(weighted, torch.randn(2, 3)).widths) == {"2"}


def test_grouped_and_multiplied_convolutions() -> None:
    net = nn.Sequential(
        nn.Conv1d(2, 8, 1), nn.Conv1d(8, 8, 3, groups=2), nn.Conv1d(8, 16, 3, groups=8), nn.Conv1d(16, 6, 1),
        nn.Conv1d(6, 2, 1),
    )  # fmt: skip
    dynamic = check(net, torch.randn(2, 2, 12), {"3"})
    assert "2 groups" in dynamic.fixed_reasons["1"]


def test_one_channel_a_group_cannot_shrink() -> None:
    net = nn.Sequential(nn.Conv1d(2, 8, 1), nn.GroupNorm(8, 8), nn.Conv1d(8, 6, 1), nn.Conv1d(6, 2, 1))
    dynamic = check(net, torch.randn(2, 2, 12), {"2"})
    assert "each group" in dynamic.fixed_reasons["0"]


def test_projections_and_initial_states() -> None:
    def run(net, x):
        x = net.inp(x)
        y, _ = net.proj(x)
        z, _ = net.given(x, torch.zeros(1, x.shape[0], 5))
        return net.out(net.free(torch.cat([y, z], -1)))

    net = Net(
        run, inp=nn.Linear(3, 6), proj=nn.LSTM(6, 8, proj_size=4, batch_first=True),
        given=nn.GRU(6, 5, batch_first=True), free=nn.Linear(9, 7), out=nn.Linear(7, 2),
    )  # fmt: skip
    dynamic = check(net, torch.randn(2, 4, 3), {"free"})
    assert "projection" in dynamic.fixed_reasons["inp"]
    assert "initial state" in dynamic.fixed_reasons["given-l0"]


def test_layer_norm_over_several_dimensions_and_pooling_over_channels() -> None:
    net = nn.Sequential(nn.Conv1d(2, 8, 3), nn.LayerNorm([8, 10]), nn.Conv1d(8, 6, 1), nn.Conv1d(6, 2, 1))
    assert "several dimensions" in check(net, torch.randn(2, 2, 12), {"2"}).fixed_reasons["0"]

    def run(net, x):
        x = nn.functional.max_pool1d(net.a(x), 2)
        return net.out(net.free(x))

    pooled = Net(run, a=nn.Linear(3, 8), free=nn.Linear(4, 6), out=nn.Linear(6, 2))
    assert "pool" in check(pooled, torch.randn(2, 4, 3), {"free"}).fixed_reasons["a"]


def test_sizes_that_are_answered() -> None:
    def run(net, x):
        h = net.a(x)
        return {"logit": net.out(net.free(h)), "features": [h]}

    net = Net(run, a=nn.Linear(3, 8), free=nn.Linear(8, 6), out=nn.Linear(6, 2))
    assert "output" in check(net, torch.randn(2, 3), {"free"}).fixed_reasons["a"]


# ------------------------------------------------------------------------------------------------------- options


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def test_dynamic_and_fixed_patterns() -> None:
    x = torch.randn(2, 3)
    chosen = check(_mlp(), x, {"2"}, dynamic=["2"])
    assert chosen.fixed_reasons["0"] == "it was not asked for"
    left = check(_mlp(), x, {"2"}, fixed=["0"])
    assert left.fixed_reasons["0"] == "it was asked to be fixed"


def test_ties() -> None:
    dynamic = check(_mlp(), torch.randn(2, 3), {"0"}, ties=[["0", "2"]])
    assert dynamic[2].out_width is dynamic[0].out_width
    rnn = Net(lambda n, x: n.out(n.rnn(n.inp(x))[0]), inp=nn.Linear(3, 8), rnn=nn.GRU(8, 8, 2), out=nn.Linear(8, 2))
    check(rnn, torch.randn(4, 2, 3), {"inp"}, ties=[["inp", "rnn"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dynamic": ["nothing*"]}, r"(?s)'nothing\*' matches no size.*0 \(8\): can be learned.*4 \(2\): .*output"),
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
        dynamize(nn.ReLU(), torch.randn(2, 3))
    with pytest.raises(ValueError, match="output"):
        dynamize(nn.Linear(3, 2), torch.randn(2, 3))
    with pytest.raises(TypeError, match="no tensor"):
        dynamize(Net(lambda net, x: None, a=nn.Linear(3, 2)), torch.randn(2, 3))
    taken = _mlp()
    taken.complexity = 3
    with pytest.raises(ValueError, match="Sequential has its own complexity"):
        dynamize(taken, torch.randn(2, 3))
    with pytest.raises(ValueError, match="has its own widths"):
        dynamize(dynamize(_mlp(), torch.randn(2, 3)), torch.randn(2, 3))


# ------------------------------------------------------------------------------------------------------- behaviour


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
    assert twin[0].out_width is twin.widths["0"]
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
    small, report = consolidate(double, [torch.randn(2, 3, dtype=torch.float64)])
    assert report.largest_relative_difference < 1e-12
    half = dynamize(_mlp().bfloat16(), torch.randn(2, 3, dtype=torch.bfloat16))
    assert half(torch.randn(2, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_helpers() -> None:
    dynamic = dynamize(_mlp(), torch.randn(2, 3))
    assert list(dynamic_layers(dynamic)) == ["0", "2", "4"]
    assert type(plain_copy(dynamic)) is nn.Sequential
