"""Networks whose sizes are found, tied and followed."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank
from dyn_lightning.models.crnn_vad import CRNNVAD


def test_convolutions_to_linear(check) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ELU(),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Flatten(),
        nn.Linear(48, 10),
        nn.Dropout(),
        nn.PReLU(10),
        nn.Linear(10, 3),
    )
    dynamic = check(net, torch.randn(2, 1, 12, 10), {"0", "4", "8"})
    assert len(dynamic) == 12
    assert dynamic[-1].out_features == 3
    assert "output" in dynamic.fixed_reasons["11"]


def test_channels_by_bands_into_a_gru(check, Net) -> None:
    def run(net, x):
        x = net.act(net.norm(net.conv(x)))
        x = x.permute(0, 3, 1, 2).flatten(2)  # (batch, time, channels × bands)
        return net.out(net.gru(x)[0][:, -1])

    net = Net(
        run,
        conv=nn.Conv2d(1, 6, 3, padding=1),
        norm=nn.BatchNorm2d(6),
        act=nn.SELU(),
        gru=nn.GRU(6 * 5, 9, 2, batch_first=True),
        out=nn.Linear(9, 2),
    )
    check(net, torch.randn(3, 1, 5, 7), {"conv", "gru-l0", "gru-l1"}, duration_s=2.0)


def test_bands_by_channels_into_an_lstm(check, Net) -> None:
    """The learned factor comes last: no prefix."""

    def run(net, x):
        x = net.conv(x).permute(3, 0, 2, 1)
        return net.out(net.rnn(x.reshape(x.shape[0], x.shape[1], -1))[0].mean(0))

    net = Net(run, conv=nn.Conv2d(1, 6, 3), rnn=nn.LSTM(6 * 3, 8, bidirectional=True), out=nn.Linear(16, 2))
    check(net, torch.randn(3, 1, 5, 7), {"conv", "rnn-l0"})


def test_crnn(check) -> None:
    audio = torch.randn(1, 8000)
    dynamic = check(CRNNVAD(20, 12, 16), audio, {"mel", "conv", "gru-l0", "gru-l1"}, duration_s=0.5)
    assert dynamic.complexity.unit == "flops_per_second"
    for spacing in ("respaced", "ranked"):
        dynamic = check(CRNNVAD(20, 12, 16), audio, {"mel"}, dynamic=["mel"], mel_spacing=spacing)
        assert dynamic.widths["mel"].resampled == (spacing == "respaced")


@pytest.mark.parametrize("consumer", ["linear", "conv", "gru"])
def test_bands_are_resampled_before_layers_that_read_all_of_them(check, Net, consumer) -> None:
    def run(net, x):
        x = net.scale(net.log(net.mel(x)))
        if consumer == "conv":
            return net.out(net.read(x).mean(2))
        x = net.read(x.transpose(1, 2))
        return net.out(x[0] if consumer == "gru" else x)

    read = {"linear": nn.Linear(20, 6), "conv": nn.Conv1d(20, 6, 3), "gru": nn.GRU(20, 6, batch_first=True)}[consumer]
    front_end = {"mel": MelFilterBank(129, 20), "log": LogCompression(), "scale": FixedScaling()}
    net = Net(run, **front_end, read=read, out=nn.Linear(6, 2))
    dynamic = check(net, torch.rand(2, 129, 9), {"mel"}, dynamic=["mel"])
    width = dynamic.widths["mel"]
    assert width.resampled
    # λ learns although nothing is random
    dynamic.train()
    width.set_lam(12.4 / 20)
    x = torch.rand(2, 129, 9)
    once = dynamic(x)
    assert torch.equal(once, dynamic(x))
    (slope,) = torch.autograd.grad(once.square().sum(), width.theta)
    assert torch.isfinite(slope)
    assert slope != 0


@pytest.mark.parametrize("follower", ["batch_norm", "tie"])
def test_bands_are_ranked_where_something_stands_for_each_band(check, Net, follower) -> None:
    def run(net, x):
        x = net.log(net.mel(x))
        x = net.norm(x) if follower == "batch_norm" else x + net.other(x)
        return net.out(x.transpose(1, 2))

    more = {"norm": nn.BatchNorm1d(20)} if follower == "batch_norm" else {"other": nn.Conv1d(20, 20, 3, padding=1)}
    net = Net(run, mel=MelFilterBank(129, 20), log=LogCompression(), out=nn.Linear(20, 2), **more)
    dynamic = check(net, torch.rand(2, 129, 9), {"mel"})
    assert not dynamic.widths["mel"].resampled


def test_a_convolution_along_a_size_fixes_it(check, Net) -> None:
    """Bands are no channels there: a convolution reads neighbours."""

    def run(net, x):
        x = net.conv(net.mel(x).unsqueeze(1))
        return net.out(x.mean((2, 3)))

    net = Net(run, mel=MelFilterBank(129, 20), conv=nn.Conv2d(1, 6, 3), out=nn.Linear(6, 2))
    dynamic = check(net, torch.rand(2, 129, 9), {"conv"})
    assert "convolution along it" in dynamic.fixed_reasons["mel"]


def test_separable_convolutions_with_group_norm(check) -> None:
    net = nn.Sequential(
        nn.Conv1d(3, 12, 3),
        nn.GroupNorm(4, 12),
        nn.PReLU(12),
        nn.Conv1d(12, 12, 3, groups=12),
        nn.GroupNorm(1, 12),
        nn.SiLU(),
        nn.Conv1d(12, 8, 1),
        nn.GroupNorm(2, 8),
        nn.ConvTranspose1d(8, 2, 3, stride=2),
    )
    dynamic = check(net, torch.randn(2, 3, 20), {"0", "6"})
    assert (dynamic.widths["0"].full_size, dynamic.widths["6"].full_size) == (3, 4)  # in blocks


def test_final_states_tie_the_layers(check, Net) -> None:
    def run(net, x):
        _, (h, _) = net.rnn(net.inp(x))
        return net.out(h.transpose(0, 1).flatten(1))

    net = Net(
        run,
        inp=nn.Linear(4, 6),
        rnn=nn.LSTM(6, 8, 2, bidirectional=True, batch_first=True),
        out=nn.Linear(32, 3),
    )
    check(net, torch.randn(2, 5, 4), {"inp", "rnn-l0"})

    def last(net, x):
        return net.out(net.rnn(x)[1][-1])

    check(Net(last, rnn=nn.GRU(4, 8, 3), out=nn.Linear(8, 3)), torch.randn(5, 2, 4), {"rnn-l0"})


def test_multilayer_perceptron_with_layer_norm(check) -> None:
    net = nn.Sequential(
        nn.Linear(5, 16),
        nn.LayerNorm(16),
        nn.GELU(),
        nn.Sequential(nn.Linear(16, 12), nn.LayerNorm(12)),
        nn.Tanh(),
        nn.Linear(12, 2),
    )
    check(net, torch.randn(2, 7, 5), {"0", "3-0"})


def test_residual_sums_tie(check, Net) -> None:
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
    assert dynamic.one[3].out_width.simple is dynamic.two[3].out_width.simple is stem
    assert dynamic.one[0].in_width.simple is stem


def test_squeeze_and_excitation_gate(check, Net) -> None:
    def run(net, x):
        x = net.conv(x)
        gate = torch.sigmoid(net.up(torch.relu(net.down(x.mean(-1)))))
        return net.out((x * gate.unsqueeze(-1) + x.max(dim=-1, keepdim=True).values).transpose(1, 2))

    net = Net(run, conv=nn.Conv1d(2, 8, 3), down=nn.Linear(8, 4), up=nn.Linear(4, 8), out=nn.Linear(8, 1))
    check(net, torch.randn(2, 2, 9), {"conv", "down"})


def test_a_layer_called_twice_is_one_layer(check, Net) -> None:
    def run(net, a, b):
        x = net.shared(net.first(a))
        return net.out(net.shared(net.second(b)) - x)

    net = Net(run, first=nn.Linear(3, 6), second=nn.Linear(4, 6), shared=nn.Linear(6, 5), out=nn.Linear(5, 2))
    dynamic = check(net, (torch.randn(2, 3), torch.randn(2, 4)), {"first", "shared"})
    assert dynamic.first.out_width.simple is dynamic.second.out_width.simple is dynamic.widths["first"]


def test_a_layer_under_two_names_is_replaced_under_both(check) -> None:
    layer = nn.Linear(6, 6)
    net = nn.Sequential(nn.Linear(3, 6), layer, nn.ReLU(), layer, nn.Linear(6, 2))
    dynamic = check(net, torch.randn(2, 3), {"0"})
    assert dynamic[1] is dynamic[3]


def test_containers_in_and_out(check, Net) -> None:
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


def test_control_flow_and_shape_arithmetic(check, Net) -> None:
    def run(net, x):
        x = net.a(x)
        if x.shape[-1] > 0:
            x = x / x.shape[-1] ** 0.5
        for _ in range(3):
            x = torch.tanh(net.loop(x)) + x
        return net.out(x.view(x.size(0), 1, -1).squeeze(1))

    check(Net(run, a=nn.Linear(3, 8), loop=nn.Linear(8, 8), out=nn.Linear(8, 2)), torch.randn(4, 3), {"a"})


def test_packed_sequences(check, Net) -> None:
    def run(net, x, lengths):
        packed = pack_padded_sequence(net.inp(x), lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(net.rnn(packed)[0], batch_first=True)
        return net.out(y)

    net = Net(run, inp=nn.Linear(3, 6), rnn=nn.GRU(6, 8, 2, batch_first=True), out=nn.Linear(8, 2))
    check(net, (torch.randn(3, 5, 3), torch.tensor([3, 5, 2])), {"inp", "rnn-l0", "rnn-l1"})


def test_names_that_a_module_dict_has_itself(check, Net) -> None:
    def run(net, x):
        return net.out(net.keys(x) * net.values(x))

    check(
        Net(run, keys=nn.Linear(3, 6), values=nn.Linear(3, 6), out=nn.Linear(6, 2)),
        torch.randn(2, 3),
        {"keys_"},
        dynamic=["keys"],
    )
