"""What else is done with channels: norms, gates, slices, stacks, einsum, shuffled pixels, parametrised weights."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from tests.zoo.registry import own


@own
def group_norm_net() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.GroupNorm(3, 12),
        nn.SiLU(),
        nn.Conv2d(12, 20, 3, padding=1, groups=2),
        nn.GroupNorm(4, 20),
        nn.SiLU(),
        nn.Conv2d(20, 16, 1),
        nn.GroupNorm(1, 16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    return net, torch.randn(2, 3, 10, 10)


@own
def instance_norm_net() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        nn.Conv1d(5, 12, 5, padding=2),
        nn.InstanceNorm1d(12, affine=True),
        nn.PReLU(12),
        nn.Conv1d(12, 20, 3, dilation=2),
        nn.InstanceNorm1d(20),
        nn.PReLU(),
        nn.Conv1d(20, 14, 3, groups=2),
        nn.InstanceNorm1d(14, affine=True, track_running_stats=True),
        nn.Conv1d(14, 4, 1),
    )
    return net, torch.randn(2, 5, 25)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then layer norm and linear layers on the last dimension, and a scaled skip."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.up, self.down = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.gamma = nn.Parameter(0.5 * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        out = self.gamma * self.down(F.gelu(self.up(out)))
        return x + out.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Patches, blocks, mean, head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 14, 2, 2)
        self.blocks = nn.Sequential(ConvNeXtBlock(14, 40), ConvNeXtBlock(14, 36))
        self.norm, self.head = nn.LayerNorm(14), nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patches(x)).mean([-2, -1])))


@own
def convnext() -> tuple[nn.Module, Tensor]:
    return ConvNeXt(), torch.randn(2, 3, 12, 12)


class PixelShuffle(nn.Module):
    """Super-resolution: channels into pixels, and back once more."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 10 * 4, 3, padding=1)
        self.shuffle, self.unshuffle = nn.PixelShuffle(2), nn.PixelUnshuffle(2)
        self.after, self.last = nn.Conv2d(10, 6, 3, padding=1), nn.Conv2d(24, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.after(self.shuffle(self.wide(F.relu(self.first(x))))))
        return self.shuffle(self.last(self.unshuffle(x)))


@own
def pixel_shuffle() -> tuple[nn.Module, Tensor]:
    return PixelShuffle(), torch.randn(2, 1, 8, 6)


class StackSum(nn.Module):
    """Branches stacked on a new dimension: weighed and summed, and the largest taken."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Conv1d(4, 18, k, padding=k // 2) for k in (1, 3, 5)])
        self.weigh = nn.Linear(18, 3)
        self.second = nn.ModuleList([nn.Conv1d(18, 14, 1) for _ in range(2)])
        self.out = nn.Conv1d(14, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        stacked = torch.stack([branch(x) for branch in self.branches], dim=1)  # (batch, branch, channel, time)
        weights = self.weigh(stacked.sum(1).mean(-1)).softmax(-1)
        x = F.relu((stacked * weights[:, :, None, None]).sum(1))
        return self.out(torch.stack([layer(x) for layer in self.second]).amax(0))


@own
def stack_sum() -> tuple[nn.Module, Tensor]:
    return StackSum(), torch.randn(2, 4, 17)


class Slices(nn.Module):
    """Channels cut by index: fixed slices, by torch.split with sizes, and by half."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv1d(4, 22, 3), nn.Conv1d(10, 12, 3), nn.Conv1d(12, 16, 1)
        self.fourth = nn.Conv1d(8, 11, 1)
        self.out = nn.Conv1d(7 + 11, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        left, middle, right = torch.split(x, [10, 5, 7], dim=1)
        y = F.relu(self.second(left) * middle.mean(1, keepdim=True)[..., 2:])
        z = self.third(y)
        w = self.fourth(z[:, :8] * z[:, 8:])
        return self.out(torch.cat([right[..., 1:-1], w], 1))


@own
def channel_slices() -> tuple[nn.Module, Tensor]:
    return Slices(), torch.randn(2, 4, 19)


class Gated(nn.Module):
    """F.glu, a gate by chunk, and a gate of its own layer."""

    def __init__(self) -> None:
        super().__init__()
        self.glu, self.chunked = nn.Conv1d(5, 2 * 14, 3, padding=1), nn.Conv1d(14, 2 * 11, 1)
        self.value, self.gate = nn.Conv1d(11, 17, 3, padding=1), nn.Conv1d(11, 17, 3, padding=1)
        self.skip = nn.Conv1d(14, 17, 1)
        self.out = nn.Conv1d(17, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.glu(x), dim=1)
        value, gate = self.chunked(y).chunk(2, dim=1)
        z = torch.tanh(value) * torch.sigmoid(gate)
        g = torch.sigmoid(self.gate(z))
        return self.out(g * self.value(z) + (1 - g) * self.skip(y))


@own
def gated_convolutions() -> tuple[nn.Module, Tensor]:
    return Gated(), torch.randn(2, 5, 15)


@own
def weight_norm_net() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        weight_norm(nn.Conv1d(4, 14, 5, padding=2)),
        nn.LeakyReLU(0.1),
        weight_norm(nn.Conv1d(14, 22, 3, padding=2, dilation=2)),
        nn.LeakyReLU(0.1),
        weight_norm(nn.ConvTranspose1d(22, 10, 4, 2, 1)),
        nn.Tanh(),
        weight_norm(nn.Conv1d(10, 3, 1)),
    )
    return net, torch.randn(2, 4, 16)


@own
def spectral_norm_net() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        spectral_norm(nn.Linear(9, 20)), nn.ReLU(), nn.Linear(20, 14), nn.ReLU(), spectral_norm(nn.Linear(14, 3))
    )
    return net, torch.randn(4, 9)


class Einsum(nn.Module):
    """Bilinear pooling and a factored linear layer, both by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(7, 12), nn.Linear(7, 15)
        self.mix = nn.Parameter(0.2 * torch.randn(12, 15, 18))
        self.out = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.einsum("bti,btj->bij", torch.tanh(self.left(x)), self.right(x)) / x.shape[1]
        return self.out(torch.einsum("bij,ijk->bk", pooled, self.mix).relu())


@own
def einsum_net() -> tuple[nn.Module, Tensor]:
    return Einsum(), torch.randn(3, 9, 7)


class ParameterLists(nn.Module):
    """Layers by hand, from parameters in a list."""

    def __init__(self, sizes: tuple[int, ...] = (6, 18, 13, 4)) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(o, i) / i**0.5) for i, o in pairs])
        self.biases = nn.ParameterList([nn.Parameter(0.1 * torch.randn(o)) for _, o in pairs])
        self.first = nn.Linear(5, sizes[0])
        self.side = nn.Linear(5, 16)
        self.out = nn.Linear(16, sizes[-1])

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            y = F.linear(torch.tanh(y), weight, bias)
        return y + self.out(self.side(x).relu())


@own
def parameter_list() -> tuple[nn.Module, Tensor]:
    return ParameterLists(), torch.randn(4, 5)


class Autoencoder(nn.Module):
    """Strided convolutions down to a code and transposed ones up; returns both."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 10, 4, 2, 1), nn.ReLU(), nn.Conv2d(10, 18, 4, 2, 1), nn.ReLU())
        self.code, self.decode = nn.Linear(18 * 12, 9), nn.Linear(9, 18 * 12)
        self.decoder = nn.Sequential(nn.ConvTranspose2d(18, 12, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(12, 1, 4, 2, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.code(self.encoder(x).flatten(1))
        return self.decoder(F.relu(self.decode(code)).view(-1, 18, 4, 3)), code


@own
def autoencoder() -> tuple[nn.Module, Tensor]:
    return Autoencoder(), torch.randn(2, 1, 16, 12)


class UNet1d(nn.Module):
    """Waveform U-Net: strided down, interpolated up, concatenated skips."""

    def __init__(self, channels: tuple[int, ...] = (10, 14, 18)) -> None:
        super().__init__()
        sizes = (1, *channels)
        pairs = list(itertools.pairwise(sizes))
        self.down = nn.ModuleList([nn.Conv1d(i, o, 5, padding=2) for i, o in pairs])
        self.middle = nn.Conv1d(18, 22, 5, padding=2)
        before = (22, *channels[:0:-1])
        self.up = nn.ModuleList(
            [nn.Conv1d(i + o, o, 5, padding=2) for i, o in zip(before, channels[::-1], strict=True)]
        )
        self.out = nn.Conv1d(channels[0] + 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, skips = x, []
        for layer in self.down:
            y = F.leaky_relu(layer(y))
            skips.append(y)
            y = y[..., ::2]
        y = F.leaky_relu(self.middle(y))
        for layer in self.up:
            y = F.interpolate(y, scale_factor=2, mode="linear", align_corners=False)
            y = F.leaky_relu(layer(torch.cat([y, skips.pop()], dim=1)))
        return torch.tanh(self.out(torch.cat([y, x], dim=1)))


@own
def unet_1d() -> tuple[nn.Module, Tensor]:
    return UNet1d(), torch.randn(2, 1, 64)
