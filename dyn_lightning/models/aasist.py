"""AASIST: anti-spoofing from the waveform by graphs over bands and over time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dyn_lightning.features.augmentation import SpecAugment
from dyn_lightning.features.sinc import SincFilterBank
from dyn_lightning.features.spectral import check_min_samples
from dyn_lightning.models.cosine import Classifier, make_classifier
from dyn_lightning.models.graph_attention import GraphAttention, GraphPool, HeterogeneousGraphAttention

POOL = 3  # of bands, once, and of time, once more in each block


class WaveformBlock(nn.Module):
    """Pre-activated residual block with kernels of 2 bands × 3 steps, then a maximum over 3 steps.

    Shapes: (batch, in_channels, bands, steps) → (batch, channels, bands, steps // 3).
    """

    def __init__(self, in_channels: int, channels: int, first: bool = False) -> None:
        super().__init__()
        enter = nn.Identity() if first else nn.Sequential(nn.BatchNorm2d(in_channels), nn.SELU())
        self.body = nn.Sequential(
            enter,
            nn.Conv2d(in_channels, channels, (2, 3), padding=(1, 1)),
            nn.BatchNorm2d(channels),
            nn.SELU(),
            nn.Conv2d(channels, channels, (2, 3), padding=(0, 1)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, (1, 3), padding=(0, 1))
        self.pool = nn.MaxPool2d((1, POOL))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.body(x) + self.shortcut(x))


class StackBranch(nn.Module):
    """Two heterogeneous layers with a pooling between, the second beside a shortcut, and a learned master node.

    Shapes: (B, N₁, in_features), (B, N₂, in_features) → both kinds' nodes left, and the master (B, 1, features).
    """

    def __init__(self, in_features: int, features: int, share: float, temperature: float) -> None:
        super().__init__()
        self.master = nn.Parameter(torch.randn(1, 1, in_features))
        self.enter = HeterogeneousGraphAttention(in_features, features, temperature)
        self.pool_frames = GraphPool(share, features)
        self.pool_bands = GraphPool(share, features)
        self.leave = HeterogeneousGraphAttention(features, features, temperature)
        self.dropout = nn.Dropout(0.2)

    def forward(self, frames: Tensor, bands: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        frames, bands, master = self.enter(frames, bands, self.master)
        frames, bands = self.pool_frames(frames), self.pool_bands(bands)
        more_frames, more_bands, more_master = self.leave(frames, bands, master)
        return (
            self.dropout(frames + more_frames),
            self.dropout(bands + more_bands),
            self.dropout(master + more_master),
        )


class AASIST(nn.Module):
    """Audio to class logits (arXiv 2110.01200): fixed sinc filters, a residual 2-D encoder, graph attention over the
    bands' and over the frames' maxima, two branches of heterogeneous graph attention with master nodes, their
    element-wise maximum, and a read-out by maxima and means.

    The defaults are AASIST-L: 85,306 parameters, as published. Its input there has 64,600 samples at 16 kHz; other
    lengths give other numbers of frames.

    Args:
        n_filters, kernel_size: of the sinc filters; one node a band for each three filters.
        channels: of each block of the encoder.
        graph_size, stack_size: features of a node in the first graphs, and in the heterogeneous ones.
        bands_share, frames_share, stack_share: nodes that are left by the pooling of each graph.
        freq_mask: sinc filters that are masked at most, in training (``SpecAugment``); 0 for none.
        num_classes, classifier: ``linear`` logits or ``cosine`` values, for each class.

    Shapes: audio (batch, samples) → (batch, num_classes); of two, index 1 is bona fide.

    Raises:
        SettingError: for an unknown classifier, or audio that leaves no frame.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_filters: int = 70,
        kernel_size: int = 129,
        channels: Sequence[int] = (32, 32, 24, 24, 24, 24),
        graph_size: int = 24,
        stack_size: int = 32,
        bands_share: float = 0.4,
        frames_share: float = 0.5,
        stack_share: float = 0.7,
        graph_temperature: float = 2.0,
        stack_temperature: float = 100.0,
        freq_mask: int = 0,
        num_classes: int = 2,
        classifier: Classifier = "linear",
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.n_filters = n_filters
        self.kernel_size = kernel_size
        self.filters = SincFilterBank(n_filters, kernel_size, sample_rate)
        self.augmentation = SpecAugment(freq_mask, 0)
        self.enter = nn.Sequential(nn.MaxPool2d(POOL), nn.BatchNorm2d(1), nn.SELU())
        inputs = [1, *channels]
        self.encoder = nn.Sequential(*(WaveformBlock(i, o, i == 1) for i, o in zip(inputs, channels, strict=False)))
        self.band_positions = nn.Parameter(torch.randn(1, n_filters // POOL, channels[-1]))
        self.band_graph = GraphAttention(channels[-1], graph_size, graph_temperature)
        self.frame_graph = GraphAttention(channels[-1], graph_size, graph_temperature)
        self.pool_bands = GraphPool(bands_share, graph_size)
        self.pool_frames = GraphPool(frames_share, graph_size)
        self.branches = nn.ModuleList(
            StackBranch(graph_size, stack_size, stack_share, stack_temperature) for _ in range(2)
        )
        self.dropout = nn.Dropout(0.5)
        self.classifier = make_classifier(classifier, 5 * stack_size, num_classes)

    @property
    def min_samples(self) -> int:
        """The fewest samples that give a frame."""
        return self.kernel_size - 1 + POOL ** (len(self.encoder) + 1)

    def forward(self, audio: Tensor) -> Tensor:
        check_min_samples(audio, self.min_samples)
        x = self.augmentation(self.filters(audio)).abs().unsqueeze(1)
        x = self.encoder(self.enter(x)).abs()
        bands = self.band_graph(x.amax(3).transpose(1, 2) + self.band_positions)
        frames = self.frame_graph(x.amax(2).transpose(1, 2))
        bands, frames = self.pool_bands(bands), self.pool_frames(frames)
        one, other = (branch(frames, bands) for branch in self.branches)
        frames, bands, master = (torch.maximum(a, b) for a, b in zip(one, other, strict=True))
        read = (frames.abs().amax(1), frames.mean(1), bands.abs().amax(1), bands.mean(1), master.squeeze(1))
        return self.classifier(self.dropout(torch.cat(read, dim=1)))
