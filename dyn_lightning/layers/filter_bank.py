"""A mel filter bank whose number of bands is learned (the voice-activity case of arXiv 2601.13704)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.features.spectral import LogCompression as PlainLogCompression
from dyn_lightning.features.spectral import MelFilterBank as PlainMelFilterBank
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.width import Layout, Width, as_layout


class MelFilterBank(DynamicLayer, PlainMelFilterBank):
    """features.MelFilterBank with a learned number of bands.

    ``spacing="respaced"``: K bands always span the whole frequency range, and their spacing is a continuous
    function of the real-valued K while searching, so that no band jumps when one leaves.
    ``spacing="dropped"``: the bands stay where they are and the highest are given up.

    ``quiet``: a LogCompression behind the bank makes the boundary noise in this bank's place.

    Shapes: (batch, bins, frames) → (batch, bands, frames).
    """

    plain_class = PlainMelFilterBank
    spacing: str
    quiet: bool

    def __init__(
        self, *args: Any, out_width: Width | None = None, spacing: str = "respaced", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width, spacing=spacing)

    def bind(self, **widths: Any) -> None:
        spacing = widths.pop("spacing", "respaced")
        if spacing not in ("respaced", "dropped"):
            raise ValueError(f"spacing must be respaced or dropped, got {spacing}")
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
        if width is None or self.spacing == "dropped" or (width.current == self.n_mels and not width.noisy):
            return self.cut("fb")
        if not width.noisy:
            return self._bank(width.current)
        return respaced_filters(self, width.k.detach(), width.active)

    def _bank(self, n_mels: int) -> Tensor:
        return self.resized(n_mels).fb.to(self.fb.device, self.fb.dtype)

    def to_plain(self) -> nn.Module:
        if self.out_width is None or self.spacing == "dropped":
            return super().to_plain()
        return self.resized(self.out_width.size).to(self.fb.device, self.fb.dtype).train(self.training)


class LogCompression(DynamicLayer, PlainLogCompression):
    """features.LogCompression behind a learned filter bank: the boundary band's noise lies on its logarithm.

    On the power itself noise of the same variance would be negative every other time, and have no logarithm.

    Shapes: (batch, bands, frames), unchanged.
    """

    plain_class = PlainLogCompression

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {}

    def plain_sizes(self) -> dict[str, Any]:
        return {}

    def forward(self, power: Tensor) -> Tensor:
        y = super().forward(power)
        layout = self.in_width
        return y if layout is None else layout.widths[0].noise(y, 1)


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
