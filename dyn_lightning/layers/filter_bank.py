"""A mel filter bank whose number of bands is learned (the voice-activity case of arXiv 2601.13704)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.features.spectral import FixedScaling as PlainFixedScaling
from dyn_lightning.features.spectral import LogCompression as PlainLogCompression
from dyn_lightning.features.spectral import MelFilterBank as PlainMelFilterBank
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layout import Layout
from dyn_lightning.width import Width


class MelFilterBank(DynamicLayer, PlainMelFilterBank):
    """features.MelFilterBank with a learned number of bands.

    Its width may be resampled: K bands then always divide up the whole frequency range, their spacing is a continuous
    function of the real-valued K while searching, and layers behind the bank take their weights for K bands as if the
    bands were interpolated back to all N. Otherwise the bands stay what they are and the last are given up: the least
    important ones once they have been reordered (:mod:`dyn_lightning.reorder`), and the highest without that.

    ``quiet``: a LogCompression or FixedScaling behind the bank makes the boundary noise in this bank's place.

    Shapes: (batch, bins, frames) → (batch, bands, frames).
    """

    plain_class = PlainMelFilterBank

    def __init__(self, *args: Any, out_width: Width | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width)

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {"fb": (None, self.out_width)}

    @property
    def width(self) -> Width | None:
        return None if self.out_width is None else self.out_width.simple

    def plain_sizes(self) -> dict[str, Any]:
        return {"n_mels": self.n_mels if self.out_width is None else self.out_width.size}

    def forward(self, power: Tensor) -> Tensor:
        bands = torch.matmul(self._filters().T.to(power.dtype), power)
        return self.noise(bands, 1)

    def _filters(self) -> Tensor:
        """The filters in use, (bins, bands)."""
        width = self.width
        if width is None or not width.resampled:
            return self.cut("fb")
        if width.noisy:
            return respaced_filters(self, width.k, width.active)
        return self.fb if width.current == self.n_mels else self._respaced(width.current)

    def _respaced(self, n_mels: int) -> Tensor:
        return respaced_filters(self, torch.tensor(float(n_mels), device=self.fb.device), n_mels).to(self.fb.dtype)

    def plain_tensors(self) -> dict[str, Tensor]:
        width = self.width
        if width is None or not width.resampled:
            return super().plain_tensors()
        return {"fb": self.fb if width.size == self.n_mels else self._respaced(width.size)}

    def to_plain(self) -> nn.Module:
        width = self.width
        if width is None or not width.resampled:
            return super().to_plain()
        plain = self.resized(width.size).to(self.fb.device, self.fb.dtype).train(self.training)
        plain.fb.copy_(self.plain_tensors()["fb"])
        return plain


class _BehindFilterBank(DynamicLayer):
    """An elementwise layer behind a learned filter bank that makes the boundary noise in the bank's place.

    Power has no zero mean and its noise has no logarithm; the boundary band must pass away where features
    stand at unit scale around zero, or its mean goes with it, and that costs more than the band is worth.
    """

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {}

    def plain_sizes(self) -> dict[str, Any]:
        return {}

    @property
    def noisy_width(self) -> Layout | None:
        return self.in_width

    def forward(self, x: Tensor) -> Tensor:
        return self.noise(super().forward(x), 1)


class LogCompression(_BehindFilterBank, PlainLogCompression):
    """features.LogCompression behind a learned filter bank. Shapes: (batch, bands, frames), unchanged."""

    plain_class = PlainLogCompression


class FixedScaling(_BehindFilterBank, PlainFixedScaling):
    """features.FixedScaling behind a learned filter bank. Shapes: (batch, bands, frames), unchanged."""

    plain_class = PlainFixedScaling


def respaced_filters(bank: PlainMelFilterBank, k: Tensor, n_mels: int) -> Tensor:
    """Triangular mel filters for a real-valued number of bands K: (bins, n_mels).

    Band i rises from the i-th to the (i+1)-th and falls to the (i+2)-th of K + 2 points spaced equally in
    mel; at an integer K these are torchaudio's ``melscale_fbanks`` of K bands. Of a fraction of a band, the
    highest, what lies above ``f_max`` is cut off. Wider bands are lower in proportion, (K + 1) / (N + 1), so that the
    level of a band does not depend on K.
    """
    points_mel = bank.mel_min + (bank.mel_max - bank.mel_min) / (k + 1) * torch.arange(
        n_mels + 2, device=k.device, dtype=torch.float32
    )
    points_hz = 700.0 * (10.0 ** (points_mel / 2595.0) - 1.0)
    bins_hz = torch.linspace(0, bank.sample_rate // 2, bank.n_freqs, device=k.device)
    slopes = points_hz[None, :] - bins_hz[:, None]
    steps = points_hz.diff()
    down, up = -slopes[:, :-2] / steps[:-1], slopes[:, 2:] / steps[1:]
    filters = torch.minimum(down, up).clamp_min(0.0).masked_fill(bins_hz[:, None] > bank.f_max, 0.0)
    return filters * ((k + 1) / (bank.n_mels + 1))
