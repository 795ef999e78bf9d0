"""Raw waveforms, long memories and graphs: SincNet, RawNet, WaveNet, Demucs, dual-path RNN, TCN, AASIST."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.registry import own


class SincConv(nn.Module):
    """Band-pass filters made of two learned cut-off frequencies each."""

    n: Tensor
    window: Tensor

    def __init__(self, filters: int = 18, kernel: int = 31, sample_rate: int = 16000) -> None:
        super().__init__()
        edges = torch.linspace(30.0, 7000.0, filters + 1) / sample_rate
        self.low, self.band = nn.Parameter(edges[:-1, None].clone()), nn.Parameter(edges.diff()[:, None].clone())
        self.register_buffer("n", torch.arange(kernel) - (kernel - 1) / 2)
        self.register_buffer("window", torch.hamming_window(kernel, periodic=False))

    def forward(self, audio: Tensor) -> Tensor:
        low = self.low.abs()
        high = low + self.band.abs()
        band_pass = 2 * high * torch.sinc(2 * high * self.n) - 2 * low * torch.sinc(2 * low * self.n)
        return F.conv1d(audio, (band_pass * self.window).unsqueeze(1), stride=4)


class SincNet(nn.Module):
    """Sinc filters, absolute values, layer-normalised convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.sinc, self.norm0 = SincConv(), nn.BatchNorm1d(18)
        self.conv1, self.norm1 = nn.Conv1d(18, 22, 5), nn.BatchNorm1d(22)
        self.conv2, self.norm2 = nn.Conv1d(22, 14, 5), nn.BatchNorm1d(14)
        self.fc = nn.Linear(14 * 5, 3)

    def forward(self, audio: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm0(F.max_pool1d(self.sinc(audio.unsqueeze(1)).abs(), 3)))
        x = F.leaky_relu(self.norm1(F.max_pool1d(self.conv1(x), 3)))
        x = F.leaky_relu(self.norm2(F.adaptive_max_pool1d(self.conv2(x), 5)))
        return self.fc(x.view(x.shape[0], -1))


@own
def sincnet() -> tuple[nn.Module, Tensor]:
    return SincNet(), torch.randn(3, 640)


class ScaledBlock(nn.Module):
    """RawNet2's residual block: feature-map scaling x·s + s."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm1d(c_in), nn.Conv1d(c_in, c_out, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm1d(c_out), nn.Conv1d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.scale = nn.Linear(c_out, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.leaky_relu(self.bn1(x)))
        y = self.conv2(F.leaky_relu(self.bn2(y))) + self.shortcut(x)
        y = F.max_pool1d(y, 3)
        s = torch.sigmoid(self.scale(F.adaptive_avg_pool1d(y, 1).view(y.size(0), -1)))
        s = s.view(y.size(0), y.size(1), -1)
        return y * s + s


class RawNet(nn.Module):
    """Waveform, scaled residual blocks, GRU's last state."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(1, 16, 17, 4, bias=False)
        self.blocks = nn.Sequential(ScaledBlock(16, 16), ScaledBlock(16, 20))
        self.gru = nn.GRU(20, 26, 1, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(26, 18), nn.Linear(18, 2)

    def forward(self, audio: Tensor) -> Tensor:
        x = self.blocks(F.max_pool1d(self.front(audio.unsqueeze(1)).abs(), 3)).permute(0, 2, 1)
        self.gru.flatten_parameters()
        x, _ = self.gru(x)
        x = self.fc1(x[:, -1, :])
        return self.fc2(F.normalize(x, p=2.0, dim=1))


@own
def rawnet() -> tuple[nn.Module, Tensor]:
    return RawNet(), torch.randn(3, 700)


class WaveNet(nn.Module):
    """Gated dilated convolutions; residual and summed skips; conditioned on an embedding."""

    def __init__(self, channels: int = 14, hidden: int = 18, skip: int = 22, condition: int = 6) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, channels, 1)
        self.dilations = (1, 2, 4)
        self.gates = nn.ModuleList([nn.Conv1d(channels, 2 * hidden, 2, dilation=d) for d in self.dilations])
        self.conditions = nn.ModuleList([nn.Linear(condition, 2 * hidden) for _ in self.dilations])
        self.residuals = nn.ModuleList([nn.Conv1d(hidden, channels, 1) for _ in self.dilations])
        self.skips = nn.ModuleList([nn.Conv1d(hidden, skip, 1) for _ in self.dilations])
        self.out1, self.out2 = nn.Conv1d(skip, 20, 1), nn.Conv1d(20, 8, 1)

    def forward(self, audio: Tensor, condition: Tensor) -> Tensor:
        x, total = self.enter(audio), []
        layers = zip(self.dilations, self.gates, self.conditions, self.residuals, self.skips, strict=True)
        for dilation, gate, cond, residual, skip in layers:
            y = gate(F.pad(x, (dilation, 0))) + cond(condition)[:, :, None]
            content, sigma = y.split(y.shape[1] // 2, dim=1)
            y = content.tanh() * sigma.sigmoid()
            total.append(skip(y))
            x = (x + residual(y)) * math.sqrt(0.5)
        return self.out2(F.relu(self.out1(F.relu(sum(total)))))


@own
def wavenet_conditioned() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return WaveNet(), (torch.randn(3, 1, 26), torch.randn(3, 6))


class Demucs(nn.Module):
    """Strided convolutions with GLU, a bidirectional LSTM between, added skips."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        channels = (1, 10, 16)
        for i, o in itertools.pairwise(channels):
            self.encoder.append(nn.Sequential(nn.Conv1d(i, o, 8, 4), nn.ReLU(), nn.Conv1d(o, 2 * o, 1), nn.GLU(dim=1)))
            up: list[nn.Module] = [nn.Conv1d(o, 2 * o, 1), nn.GLU(dim=1), nn.ConvTranspose1d(o, i, 8, 4)]
            self.decoder.insert(0, nn.Sequential(*up, *([nn.ReLU()] if i > 1 else [])))
        self.lstm = nn.LSTM(16, 16, 1, bidirectional=True)
        self.merge = nn.Linear(32, 16)

    def forward(self, audio: Tensor) -> Tensor:
        x, skips = audio, []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self.merge(self.lstm(x.permute(2, 0, 1))[0]).permute(1, 2, 0)
        for layer in self.decoder:
            skip = skips.pop(-1)
            x = layer(x + skip[..., : x.shape[-1]])
        return x


@own
def demucs() -> tuple[nn.Module, Tensor]:
    return Demucs(), torch.randn(2, 1, 340)


class DualPathRnn(nn.Module):
    """Recurrent layers within and across segments, each with a projection, a norm and a skip."""

    def __init__(self, features: int = 12) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, features, 8, 4)
        self.within, self.across = (
            nn.LSTM(features, 10, batch_first=True, bidirectional=True),
            nn.GRU(features, 14, batch_first=True),
        )
        self.project1, self.project2 = nn.Linear(20, features), nn.Linear(14, features)
        self.norm1, self.norm2 = nn.GroupNorm(1, features), nn.GroupNorm(1, features)
        self.leave = nn.ConvTranspose1d(features, 1, 8, 4)

    def forward(self, audio: Tensor) -> Tensor:
        x = F.relu(self.enter(audio))
        batch, features, time = x.shape
        x = x.view(batch, features, time // 8, 8)  # (batch, feature, segment, frame)
        y = x.permute(0, 2, 3, 1).reshape(-1, 8, features)
        y = self.project1(self.within(y)[0]).view(batch, -1, 8, features).permute(0, 3, 1, 2)
        x = x + self.norm1(y)
        y = x.permute(0, 3, 2, 1).reshape(batch * 8, -1, features)
        y = self.project2(self.across(y)[0]).view(batch, 8, -1, features).permute(0, 3, 2, 1)
        x = x + self.norm2(y)
        return self.leave(x.reshape(batch, features, time))


@own
def dual_path_rnn() -> tuple[nn.Module, Tensor]:
    return DualPathRnn(), torch.randn(2, 1, 32 * 4 + 4)


class GraphAttention(nn.Module):
    """AASIST's graph attention: pairwise products of nodes, two projections, batch norm over nodes."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.attention, self.weight = nn.Linear(features, out), nn.Parameter(0.3 * torch.randn(out, 1))
        self.with_attention, self.without = nn.Linear(features, out), nn.Linear(features, out)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor) -> Tensor:
        nodes = x.size(1)
        pairs = x.unsqueeze(2).expand(-1, -1, nodes, -1)
        pairs = torch.tanh(self.attention(pairs * pairs.transpose(1, 2)))
        scores = torch.matmul(pairs, self.weight).softmax(dim=-2)
        y = self.with_attention(torch.matmul(scores.squeeze(-1), x)) + self.without(x)
        shape = y.size()
        return F.selu(self.norm(y.view(-1, shape[-1])).view(shape))


class GraphPool(nn.Module):
    """The nodes of highest score, each scaled by it."""

    def __init__(self, share: float, features: int) -> None:
        super().__init__()
        self.share, self.score = share, nn.Linear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.sigmoid(self.score(x))
        kept = torch.topk(scores, max(int(x.size(1) * self.share), 1), dim=1)[1]
        return torch.gather(x * scores, 1, kept.expand(-1, -1, x.size(2)))


class Aasist(nn.Module):
    """Convolutions; graphs over bands and over time with learned positions; joined; read out by max and mean."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.SELU(), nn.Conv2d(12, 18, 3, padding=1), nn.SELU()
        )
        self.position = nn.Parameter(0.1 * torch.randn(1, 10, 18))
        self.bands, self.frames = GraphAttention(18, 14), GraphAttention(18, 14)
        self.pool_bands, self.pool_frames = GraphPool(0.7, 14), GraphPool(0.5, 14)
        self.joint = GraphAttention(14, 20)
        self.master = nn.Parameter(torch.randn(1, 1, 14))
        self.out = nn.Linear(60, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x)
        bands = self.pool_bands(self.bands(x.abs().max(dim=3)[0].transpose(1, 2) + self.position))
        frames = self.pool_frames(self.frames(torch.max(torch.abs(x), dim=2)[0].transpose(1, 2)))
        master = self.master.expand(x.size(0), -1, -1)
        graph = self.joint(torch.cat([master, bands, frames], dim=1))
        first = graph[:, 0]
        most, mean = graph[:, 1:].abs().amax(dim=1), graph[:, 1:].mean(dim=1)
        return self.out(torch.cat([first, most, mean], dim=1))


@own
def aasist() -> tuple[nn.Module, Tensor]:
    return Aasist(), torch.randn(3, 1, 10, 13)


class Chomp(nn.Module):
    """Cuts what padding added at the end."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.size].contiguous()


@own
def causal_tcn() -> tuple[nn.Module, Tensor]:
    class Block(nn.Module):
        def __init__(self, c_in: int, c_out: int, dilation: int) -> None:
            super().__init__()
            conv1 = nn.Conv1d(c_in, c_out, 3, padding=2 * dilation, dilation=dilation)
            conv2 = nn.Conv1d(c_out, c_out, 3, padding=2 * dilation, dilation=dilation)
            self.net = nn.Sequential(conv1, Chomp(2 * dilation), nn.ReLU(), conv2, Chomp(2 * dilation), nn.ReLU())
            self.down = nn.Conv1d(c_in, c_out, 1) if c_in != c_out else None

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.net(x) + (x if self.down is None else self.down(x)))

    net = nn.Sequential(Block(5, 16, 1), Block(16, 16, 2), Block(16, 22, 4), nn.Conv1d(22, 3, 1))
    return net, torch.randn(2, 5, 21)
