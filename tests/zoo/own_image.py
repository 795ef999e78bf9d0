"""Two-dimensional convolutional networks: residual, dense, depthwise, shuffled, with skips."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.registry import own


def conv_norm(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the shape at stride 1, and batch norm."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate made of their means."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, hidden, 1)
        self.up = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class BasicBlock(nn.Module):
    """Two convolutions and a skip, optionally with squeeze-and-excitation."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, squeeze: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.squeeze = SqueezeExcite(c_out, squeeze) if squeeze else nn.Identity()
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = conv_norm(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.squeeze(self.bn2(self.conv2(out)))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """Stem, three stages of two blocks, global mean, linear head."""

    def __init__(self, channels: tuple[int, int, int] = (12, 20, 28), squeeze: int = 0, classes: int = 5) -> None:
        super().__init__()
        self.stem = conv_norm(3, channels[0])
        blocks: list[nn.Module] = []
        before = channels[0]
        for i, c in enumerate(channels):
            blocks += [BasicBlock(before, c, 1 if i == 0 else 2, squeeze), BasicBlock(c, c, 1, squeeze)]
            before = c
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


@own
def resnet() -> tuple[nn.Module, Tensor]:
    return ResNet(), torch.randn(3, 3, 18, 18)


@own
def se_resnet() -> tuple[nn.Module, Tensor]:
    return ResNet(squeeze=6), torch.randn(3, 3, 18, 18)


class BottleneckPreActivation(nn.Module):
    """Norm and activation before each convolution; the skip is untouched."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x.clone())


@own
def preactivation_resnet() -> tuple[nn.Module, Tensor]:
    blocks = [BottleneckPreActivation(20, hidden) for hidden in (8, 10, 12)]
    head = [nn.BatchNorm2d(20), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(20, 5)]
    return nn.Sequential(nn.Conv2d(3, 20, 3, 2, 1), *blocks, *head), torch.randn(3, 3, 16, 16)


class DenseLayer(nn.Module):
    """Its input with new channels behind it."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, 3 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(3 * growth)
        self.conv2 = nn.Conv2d(3 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return torch.cat([x, new], 1)


@own
def densenet() -> tuple[nn.Module, Tensor]:
    layers: list[nn.Module] = [nn.Conv2d(3, 10, 3, padding=1)]
    layers += [DenseLayer(10 + 6 * i, 6) for i in range(3)]
    layers += [nn.BatchNorm2d(28), nn.ReLU(), nn.Conv2d(28, 14, 1), nn.AvgPool2d(2)]
    layers += [DenseLayer(14 + 6 * i, 6) for i in range(2)]
    layers += [nn.BatchNorm2d(26), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(26, 5)]
    return nn.Sequential(*layers), torch.randn(3, 3, 16, 16)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; a skip where the shape stays."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        self.conv = nn.Sequential(
            conv_norm(c_in, hidden, 1),
            nn.ReLU6(inplace=True),
            conv_norm(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(inplace=True),
            conv_norm(hidden, c_out, 1),
        )
        self.use_skip = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_skip else self.conv(x)


@own
def mobilenet() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        conv_norm(3, 10, 3, 2),
        nn.Hardswish(),
        InvertedResidual(10, 14, 2, 1),
        InvertedResidual(14, 14, 3, 1),
        InvertedResidual(14, 18, 2, 2),
        InvertedResidual(18, 18, 2, 1),
        conv_norm(18, 36, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(36, 5),
    )
    return net, torch.randn(3, 3, 16, 16)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of all groups in turn."""
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width).transpose(1, 2)
    return x.reshape(batch, channels, height, width)


class ShuffleUnit(nn.Module):
    """Grouped pointwise convolutions with a channel shuffle between them, and a skip."""

    def __init__(self, channels: int, hidden: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.compress = conv_norm(channels, hidden, 1, groups=groups)
        self.depthwise = conv_norm(hidden, hidden, 3, groups=hidden)
        self.expand = conv_norm(hidden, channels, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        out = channel_shuffle(F.relu(self.compress(x)), self.groups)
        return F.relu(x + self.expand(self.depthwise(out)))


@own
def shufflenet() -> tuple[nn.Module, Tensor]:
    units = [ShuffleUnit(24, 12, 3), ShuffleUnit(24, 18, 3)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)]
    return nn.Sequential(conv_norm(3, 24, 3, 2), *units, *head), torch.randn(2, 3, 14, 14)


class ShuffleSplitUnit(nn.Module):
    """Half of the channels pass, half are convolved; concatenated and shuffled (ShuffleNet V2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv_norm(half, half, 1), nn.ReLU(), conv_norm(half, half, 3, groups=half), conv_norm(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((first, self.branch(second)), dim=1), 2)


@own
def shufflenet_v2() -> tuple[nn.Module, Tensor]:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(30, 5)]
    units = [ShuffleSplitUnit(20), ShuffleSplitUnit(20), conv_norm(20, 30, 1)]
    return nn.Sequential(conv_norm(3, 20, 3, 2), *units, *head), torch.randn(2, 3, 14, 14)


class UNet2d(nn.Module):
    """Encoder, decoder by transposed convolutions, concatenated skips."""

    def __init__(self, channels: tuple[int, int, int] = (8, 14, 22)) -> None:
        super().__init__()
        a, b, c = channels
        self.enc1, self.enc2, self.mid = conv_norm(2, a), conv_norm(a, b), conv_norm(b, c)
        self.up2, self.dec2 = nn.ConvTranspose2d(c, b, 2, 2), conv_norm(2 * b, b)
        self.up1, self.dec1 = nn.ConvTranspose2d(b, a, 2, 2), conv_norm(2 * a, a)
        self.out = nn.Conv2d(a, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        e1 = F.relu(self.enc1(x))
        e2 = F.relu(self.enc2(F.max_pool2d(e1, 2)))
        m = F.relu(self.mid(F.max_pool2d(e2, 2)))
        d2 = F.relu(self.dec2(torch.cat([self.up2(m), e2], 1)))
        d1 = F.relu(self.dec1(torch.cat([self.up1(d2), e1], 1)))
        return self.out(d1) * x  # a mask


@own
def unet_2d() -> tuple[nn.Module, Tensor]:
    return UNet2d(), torch.randn(2, 2, 16, 12)


class Inception(nn.Module):
    """Four branches, concatenated; one of them is itself a concatenation."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.one = conv_norm(c_in, 6, 1)
        self.three = nn.Sequential(conv_norm(c_in, 5, 1), nn.ReLU(), conv_norm(5, 8, 3))
        self.stem, self.left, self.right = conv_norm(c_in, 7, 1), conv_norm(7, 4, 3), conv_norm(7, 3, 5)
        self.pool = conv_norm(c_in, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        stem = F.relu(self.stem(x))
        nested = torch.cat([self.left(stem), self.right(stem)], dim=1)
        pooled = self.pool(F.max_pool2d(x, 3, stride=1, padding=1))
        return F.relu(torch.cat([self.one(x), self.three(x), nested, pooled], dim=1))


@own
def inception() -> tuple[nn.Module, Tensor]:
    head = [nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(26 * 2, 5)]
    return nn.Sequential(conv_norm(3, 12), Inception(12), Inception(26), *head), torch.randn(2, 3, 12, 12)


@own
def vgg_flatten() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 20, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d((3, 2)),
        nn.Flatten(),
        nn.Linear(20 * 6, 28),
        nn.ReLU(),
        nn.Dropout(0.0),
        nn.Linear(28, 5),
    )
    return net, torch.randn(3, 3, 14, 12)
