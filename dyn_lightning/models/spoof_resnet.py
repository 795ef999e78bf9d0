"""Audio anti-spoofing by the thin ResNet34, front end included."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dyn_lightning.features.augmentation import SpecAugment
from dyn_lightning.features.front_ends import FrontEnd, Normalisation, make_front_end, make_normalisation
from dyn_lightning.features.spectral import check_min_samples
from dyn_lightning.models.cosine import Classifier
from dyn_lightning.models.resnet import ResNet34


class SpoofResNet(nn.Module):
    """Audio to class logits: front end → normalisation → SpecAugment → :class:`ResNet34`.

    arXiv 2601.13704, table of audio anti-spoofing: 5,389,666 parameters. Its front end is not published; two fit
    the published 5.64 GFLOPs, 80 mel bands of one second (n_fft 512, hop 128: 122 frames) and 40 of four seconds
    (n_fft 1024, hop 256: 247 frames). The defaults are the former.

    Args:
        front_end, n_fft, hop_length, n_bands: see ``features.front_ends.make_front_end``.
        normalisation: see ``features.front_ends.make_normalisation``.
        freq_mask, time_mask: rows and frames that SpecAugment masks at most, in training; 0 for none.
        channels, blocks, embedding_size, num_classes, classifier: see :class:`ResNet34`.

    Shapes: audio (batch, samples) → logits (batch, num_classes); of two, index 1 is bona fide.

    Raises:
        SettingError: for an unknown front end, normalisation or classifier; if the audio is shorter than n_fft.
    """

    def __init__(
        self,
        front_end: FrontEnd = "log_mel",
        sample_rate: int = 16000,
        n_fft: int = 512,
        hop_length: int = 128,
        n_bands: int = 80,
        normalisation: Normalisation = "fixed",
        freq_mask: int = 0,
        time_mask: int = 0,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (3, 4, 6, 3),
        embedding_size: int = 256,
        num_classes: int = 2,
        classifier: Classifier = "linear",
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.front_end, n_rows = make_front_end(
            front_end, sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length, n_bands=n_bands
        )
        self.normalisation = make_normalisation(normalisation, n_rows)
        self.augmentation = SpecAugment(freq_mask, time_mask)
        self.resnet = ResNet34(channels, blocks, embedding_size, num_classes, classifier)

    @property
    def min_samples(self) -> int:
        """The fewest samples that give a logit."""
        return self.n_fft

    def forward(self, audio: Tensor) -> Tensor:
        check_min_samples(audio, self.min_samples)
        features = self.augmentation(self.normalisation(self.front_end(audio)))
        return self.resnet(features.unsqueeze(1))
