"""A mel filter bank whose number of bands is learned (the voice-activity case of arXiv 2601.13704)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.features.spectral import FixedScaling as PlainFixedScaling
from dyn_lightning.features.spectral import LogCompression as PlainLogCompression
from dyn_lightning.features.spectral import MelFilterBank as PlainMelFilterBank
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.width import Layout, Width, as_layout

SPACINGS = ("thinned", "respaced", "dropped")


class MelFilterBank(DynamicLayer, PlainMelFilterBank):
    """features.MelFilterBank with a learned number of bands.

    ``spacing="thinned"``: the bands stay what they are, and those that are given up lie spread over the whole
    frequency range (its width has the order of :func:`spread_order`). ``spacing="respaced"``: K bands always
    divide up the whole range; their spacing is a continuous function of the real-valued K while searching,
    but every band moves whenever K does. ``spacing="dropped"``: the highest bands are given up.

    ``quiet``: a LogCompression or FixedScaling behind the bank makes the boundary noise in this bank's place.

    Shapes: (batch, bins, frames) → (batch, bands, frames).
    """

    plain_class = PlainMelFilterBank
    spacing: str
    quiet: bool

    def __init__(
        self, *args: Any, out_width: Width | None = None, spacing: str = "thinned", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width, spacing=spacing)

    def bind(self, **widths: Any) -> None:
        spacing = widths.pop("spacing", "thinned")
        if spacing not in SPACINGS:
            raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing}")
        self.quiet = widths.pop("quiet", False)
        super().bind(**widths)
        self.spacing = spacing

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {"fb": (None, None if self.out_width is None else as_layout(self.out_width))}

    def plain_sizes(self) -> dict[str, Any]:
        return {"n_mels": self.n_mels if self.out_width is None else self.out_width.size}

    def forward(self, power: Tensor) -> Tensor:
        bands = torch.matmul(self._filters().T.to(power.dtype), power)
        return bands if self.quiet else self.noise(bands, 1)

    def _filters(self) -> Tensor:
        """The filters in use, (bins, bands)."""
        width = self.out_width
        if width is None or self.spacing != "respaced" or (width.current == self.n_mels and not width.noisy):
            return self.cut("fb")
        if not width.noisy:
            return self._bank(width.current)
        return respaced_filters(self, width.k.detach(), width.active)

    def _bank(self, n_mels: int) -> Tensor:
        return self.resized(n_mels).fb.to(self.fb.device, self.fb.dtype)

    def to_plain(self) -> nn.Module:
        if self.out_width is None or self.spacing != "respaced":
            return super().to_plain()
        return self.resized(self.out_width.size).to(self.fb.device, self.fb.dtype).train(self.training)


class _BehindFilterBank(DynamicLayer):
    """An elementwise layer behind a learned filter bank that makes the boundary noise in the bank's place.

    Power has no zero mean and its noise has no logarithm; the boundary band must pass away where features stand at
    unit scale around zero, or its mean goes with it, and that costs more than the band is worth.
    """

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {}

    def plain_sizes(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        layout = self.in_width
        return y if layout is None else layout.widths[0].noise(y, 1)


class LogCompression(_BehindFilterBank, PlainLogCompression):
    """features.LogCompression behind a learned filter bank. Shapes: (batch, bands, frames), unchanged."""

    plain_class = PlainLogCompression


class FixedScaling(_BehindFilterBank, PlainFixedScaling):
    """features.FixedScaling behind a learned filter bank. Shapes: (batch, bands, frames), unchanged."""

    plain_class = PlainFixedScaling


def spread_order(n: int) -> list[int]:
    """Positions 0…n−1 so that any first few lie spread over all: bits reversed, the last position last."""
    bits = max(1, (n - 2).bit_length())
    reverse = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)]
    return [i for i in reverse if i < n - 1] + [n - 1]


def respaced_filters(bank: PlainMelFilterBank, k: Tensor, n_mels: int) -> Tensor:
    """Triangular mel filters for a real-valued number of bands K: (bins, n_mels).

    Band i rises from the i-th to the (i+1)-th and falls to the (i+2)-th of K + 2 points spaced equally in
    mel; at an integer K these are torchaudio's ``melscale_fbanks`` of K bands. Of a fraction of a band, the
    highest, what lies above ``f_max`` is cut off.
    """
    points_mel = bank.mel_min + (bank.mel_max - bank.mel_min) / (k + 1) * torch.arange(
        n_mels + 2, device=k.device, dtype=torch.float32
    )
    points_hz = 700.0 * (10.0 ** (points_mel / 2595.0) - 1.0)
    bins_hz = torch.linspace(0, bank.sample_rate // 2, bank.n_freqs, device=k.device)
    slopes = points_hz[None, :] - bins_hz[:, None]
    steps = points_hz.diff()
    down, up = -slopes[:, :-2] / steps[:-1], slopes[:, 2:] / steps[1:]
    return torch.minimum(down, up).clamp_min(0.0).masked_fill(bins_hz[:, None] > bank.f_max, 0.0)
