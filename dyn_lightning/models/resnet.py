"""ResNet34 on spectrograms: audio anti-spoofing by a thin residual network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.models.cosine import Classifier, make_classifier


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; where the shape changes, the shortcut is a 1×1 convolution.

    Shapes: (batch, in_channels, bands, frames) → (batch, channels, ⌈bands/stride⌉, ⌈frames/stride⌉).
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.activation(y + self.shortcut(x))


class ResNet34(nn.Module):
    """Log-spectrogram to class logits (arXiv 2601.13704, table of audio anti-spoofing).

    A 3×3 stem, four stacks of 3, 4, 6 and 3 blocks with 32, 64, 128 and 256 channels, of which all but the first
    halve bands and frames, the mean over both, a linear embedding and a linear classifier: 5,389,666 parameters.
    The published 5.64 GFLOPs are those of an input of 80 bands and 122 frames. Neither the front end nor the
    pooling is published; with the mean the parameters come out exactly.

    Args:
        channels: of each stack; the first is also the stem's.
        blocks: in each stack.
        embedding_size: output of the embedding layer.
        num_classes: logits.
        classifier: ``linear``, or ``cosine``: cosines with the embedding, in place of logits.

    Shapes: spectrogram (batch, 1, bands, frames) → logits (batch, num_classes).

    Raises:
        SettingError: if ``channels`` and ``blocks`` are not of one length, or for an unknown classifier.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (3, 4, 6, 3),
        embedding_size: int = 256,
        num_classes: int = 2,
        classifier: Classifier = "linear",
    ) -> None:
        super().__init__()
        if len(channels) != len(blocks):
            raise SettingError(f"channels={channels} and blocks={blocks} must be of one length")
        self.stem = nn.Conv2d(1, channels[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels[0])
        self.activation = nn.ReLU()
        inputs = [channels[0], *channels]
        self.stacks = nn.Sequential(
            *(
                nn.Sequential(
                    *(
                        BasicBlock(inputs[i] if j == 0 else width, width, stride=2 if i > 0 and j == 0 else 1)
                        for j in range(count)
                    )
                )
                for i, (width, count) in enumerate(zip(channels, blocks, strict=True))
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.embedding = nn.Linear(channels[-1], embedding_size)
        self.classifier = make_classifier(classifier, embedding_size, num_classes)

    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.activation(self.norm(self.stem(spectrogram)))
        x = self.pool(self.stacks(x))
        return self.classifier(self.embedding(torch.flatten(x, 1)))
