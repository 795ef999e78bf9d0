"""Speech networks: separation, speaker embedding, recognition, anti-spoofing, raw waveforms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.own_image import BasicBlock, conv_norm
from tests.zoo.registry import own


class ThinResNet(nn.Module):
    """Residual stages, then mean and deviation over time of channels × bands."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(1, 8)
        self.blocks = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 12, 2), BasicBlock(12, 20, 2))
        self.embedding = nn.Linear(2 * 20 * 5, 18)
        self.norm, self.head = nn.BatchNorm1d(18), nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x.unsqueeze(1))))
        x = x.reshape(x.size(0), -1, x.size(-1))  # (batch, channels × bands, time)
        statistics = torch.cat([x.mean(2), x.var(2, unbiased=False).clamp(min=1e-5).sqrt()], dim=1)
        return self.head(self.norm(self.embedding(statistics)))


@own
def thin_resnet_statistics() -> tuple[nn.Module, Tensor]:
    return ThinResNet(), torch.randn(3, 20, 23)


class TemporalBlock(nn.Module):
    """ConvTasNet's block: bottleneck → hidden → depthwise → residual and skip."""

    def __init__(self, channels: int, hidden: int, skip: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, hidden, 1),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
            nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
        )
        self.residual, self.skip = nn.Conv1d(hidden, channels, 1), nn.Conv1d(hidden, skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x)
        return x + self.residual(y), self.skip(y)


class ConvTasNet(nn.Module):
    """Learned filters, masks for two talkers, learned synthesis."""

    def __init__(self, filters: int = 24, channels: int = 14, hidden: int = 20, skip: int = 10) -> None:
        super().__init__()
        self.talkers = 2
        self.encoder = nn.Conv1d(1, filters, 16, 8, bias=False)
        self.norm, self.bottleneck = nn.GroupNorm(1, filters), nn.Conv1d(filters, channels, 1)
        self.blocks = nn.ModuleList([TemporalBlock(channels, hidden, skip, 2**i) for i in range(3)])
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(skip, self.talkers * filters, 1), nn.Sigmoid())
        self.decoder = nn.ConvTranspose1d(filters, 1, 16, 8, bias=False)

    def forward(self, audio: Tensor) -> Tensor:
        spectrum = self.encoder(audio)
        x = self.bottleneck(self.norm(spectrum))
        total = torch.zeros(())
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        masks = self.mask(total).view(audio.shape[0], self.talkers, spectrum.shape[1], -1)
        masked = masks * spectrum.unsqueeze(1)
        return self.decoder(masked.flatten(0, 1)).view(audio.shape[0], self.talkers, -1)


@own
def conv_tasnet() -> tuple[nn.Module, Tensor]:
    return ConvTasNet(), torch.randn(3, 1, 200)


class Res2Block1d(nn.Module):
    """Channels in ``scale`` parts, each convolved with the sum of its own and the part before."""

    def __init__(self, channels: int, scale: int, dilation: int = 1) -> None:
        super().__init__()
        self.width = channels // scale
        self.convs = nn.ModuleList(
            [nn.Conv1d(self.width, self.width, 3, padding=dilation, dilation=dilation) for _ in range(scale - 1)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm1d(self.width) for _ in range(scale - 1)])

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.width, dim=1)
        out = [parts[0]]
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            part = parts[i + 1] if i == 0 else parts[i + 1] + out[-1]
            out.append(norm(F.relu(conv(part))))
        return torch.cat(out, dim=1)


class Res2NetBlock(nn.Module):
    """Bottle2neck of two dimensions, split by ``self.width``."""

    def __init__(self, channels: int, width: int, scale: int) -> None:
        super().__init__()
        self.width, self.scale = width, scale
        self.enter, self.leave = conv_norm(channels, width * scale, 1), conv_norm(width * scale, channels, 1)
        self.convs = nn.ModuleList([conv_norm(width, width) for _ in range(scale - 1)])

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(F.relu(self.enter(x)), self.width, 1)
        part, out = parts[0], []
        for i, conv in enumerate(self.convs):
            part = F.relu(conv(part if i == 0 else part + parts[i]))
            out.append(part)
        out.append(parts[self.scale - 1])
        return F.relu(x + self.leave(torch.cat(out, 1)))


@own
def res2net() -> tuple[nn.Module, Tensor]:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    return nn.Sequential(conv_norm(1, 16), Res2NetBlock(16, 6, 4), Res2NetBlock(16, 5, 3), *head), torch.randn(
        3, 1, 12, 14
    )


class SeRes2Block(nn.Module):
    """ECAPA-TDNN's block."""

    def __init__(self, channels: int, dilation: int, squeeze: int = 8, scale: int = 4) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels)
        self.res2 = Res2Block1d(channels, scale, dilation)
        self.conv3, self.bn3 = nn.Conv1d(channels, channels, 1), nn.BatchNorm1d(channels)
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool1d(1),
            nn.Conv1d(channels, squeeze, 1),
            nn.ReLU(),
            nn.BatchNorm1d(squeeze),
            nn.Conv1d(squeeze, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(F.relu(self.conv1(x)))
        y = self.bn3(F.relu(self.conv3(self.res2(y))))
        return x + y * self.se(y)


class EcapaTdnn(nn.Module):
    """Multi-layer aggregation by concatenation; attentive statistics pooling with global context."""

    def __init__(self, bands: int = 11, channels: int = 24, wide: int = 30, embedding: int = 14) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(bands, channels, 5, padding=2), nn.BatchNorm1d(channels)
        self.blocks = nn.ModuleList([SeRes2Block(channels, dilation) for dilation in (2, 3, 4)])
        self.aggregate = nn.Conv1d(3 * channels, wide, 1)
        self.attention = nn.Sequential(
            nn.Conv1d(3 * wide, 12, 1), nn.ReLU(), nn.BatchNorm1d(12), nn.Tanh(), nn.Conv1d(12, wide, 1), nn.Softmax(2)
        )
        self.bn5, self.fc6, self.bn6 = (
            nn.BatchNorm1d(2 * wide),
            nn.Linear(2 * wide, embedding),
            nn.BatchNorm1d(embedding),
        )
        self.head = nn.Linear(embedding, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(F.relu(self.conv1(x)))
        x1 = self.blocks[0](x)
        x2 = self.blocks[1](x + x1)
        x3 = self.blocks[2](x + x1 + x2)
        x = F.relu(self.aggregate(torch.cat((x1, x2, x3), dim=1)))
        time = x.size(-1)
        mean = x.mean(2, keepdim=True).repeat(1, 1, time)
        deviation = torch.sqrt(x.var(2, keepdim=True, unbiased=False).clamp(min=1e-4)).expand(-1, -1, time)
        w = self.attention(torch.cat((x, mean, deviation), dim=1))
        mu = torch.sum(x * w, dim=2)
        sigma = torch.sqrt((torch.sum((x**2) * w, dim=2) - mu**2).clamp(min=1e-4))
        return self.head(self.bn6(self.fc6(self.bn5(torch.cat((mu, sigma), 1)))))


@own
def ecapa_tdnn() -> tuple[nn.Module, Tensor]:
    return EcapaTdnn(), torch.randn(3, 11, 25)


class Crdnn(nn.Module):
    """Convolutions pooled along frequency, bidirectional LSTM, linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, padding=1), nn.LayerNorm([20, 8])
        self.conv2, self.norm2 = nn.Conv2d(8, 12, 3, padding=1), nn.LayerNorm([10, 12])
        self.lstm = nn.LSTM(5 * 12, 14, num_layers=2, bidirectional=True, batch_first=True)
        self.dnn = nn.Sequential(nn.Linear(28, 22), nn.BatchNorm1d(22), nn.LeakyReLU(), nn.Linear(22, 6))

    def forward(self, features: Tensor) -> Tensor:
        x = self.conv1(features.unsqueeze(1)).permute(0, 2, 3, 1)  # (batch, time, bands, channels)
        x = F.leaky_relu(self.norm1(x)).permute(0, 3, 1, 2)
        x = self.conv2(F.max_pool2d(x, (1, 2))).permute(0, 2, 3, 1)
        x = F.leaky_relu(self.norm2(x)).permute(0, 3, 1, 2)
        x = F.max_pool2d(x, (1, 2)).permute(0, 2, 3, 1)
        x = self.lstm(x.flatten(2))[0]
        batch, time, size = x.shape
        return self.dnn(x.reshape(batch * time, size)).reshape(batch, time, -1)


@own
def crdnn() -> tuple[nn.Module, Tensor]:
    return Crdnn(), torch.randn(3, 13, 20)


class Crnn(nn.Module):
    """Channels × bands flattened into a GRU."""

    def __init__(self, bands: int = 16) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 10, 3, padding=1),
            nn.BatchNorm2d(10),
            nn.ReLU(),
            nn.MaxPool2d((2, 1)),
            nn.Conv2d(10, 14, 3, padding=1),
        )
        self.gru = nn.GRU(14 * bands // 2, 18, 2, bidirectional=True)
        self.out = nn.Linear(36, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x.unsqueeze(1))  # (batch, channels, bands, time)
        batch, channels, bands, time = x.shape
        x = x.permute(3, 0, 1, 2).contiguous().view(time, batch, channels * bands)
        x, _ = self.gru(x)
        return self.out(x).transpose(0, 1)


@own
def crnn_gru() -> tuple[nn.Module, Tensor]:
    return Crnn(), torch.randn(3, 16, 11)


class Lcnn(nn.Module):
    """Max-feature-map: the larger of two halves of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5, padding=2), nn.Conv2d(10, 28, 3, padding=1)
        self.norm, self.fc1, self.fc2 = nn.BatchNorm2d(10), nn.Linear(14 * 4 * 3, 24), nn.Linear(12, 2)

    @staticmethod
    def max_feature_map(x: Tensor) -> Tensor:
        first, second = torch.chunk(x, 2, dim=1)
        return torch.max(first, second)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.max_pool2d(self.max_feature_map(self.conv1(x)), 2))
        x = F.max_pool2d(self.max_feature_map(self.conv2(x)), 2)
        return self.fc2(self.max_feature_map(self.fc1(torch.flatten(x, 1))))


@own
def lcnn_max_feature_map() -> tuple[nn.Module, Tensor]:
    return Lcnn(), torch.randn(3, 1, 16, 12)


@own
def tdnn_xvector() -> tuple[nn.Module, Tensor]:
    class XVector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for i, o, kernel, dilation in ((13, 20, 5, 1), (20, 24, 3, 2), (24, 30, 1, 1)):
                layers += [nn.Conv1d(i, o, kernel, dilation=dilation), nn.ReLU(), nn.BatchNorm1d(o)]
            self.frames = nn.Sequential(*layers)
            self.segment = nn.Sequential(nn.Linear(60, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 4))

        def forward(self, x: Tensor) -> Tensor:
            deviation, mean = torch.std_mean(self.frames(x), dim=-1)
            return self.segment(torch.cat([mean, deviation], -1))

    return XVector(), torch.randn(3, 13, 30)
