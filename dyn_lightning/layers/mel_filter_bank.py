"""A mel filter bank whose number of bands is learned (the voice-activity case of arXiv 2601.13704), and what stands
around it: a spectrogram, and scalings of its bands.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, numel, size
from dyn_lightning.costs.front_end import fft_flops
from dyn_lightning.features.spectral import FixedScaling as PlainFixedScaling
from dyn_lightning.features.spectral import LogCompression as PlainLogCompression
from dyn_lightning.features.spectral import MelFilterBank as PlainMelFilterBank
from dyn_lightning.features.spectral import Spectrogram
from dyn_lightning.graph import Op, fix_sizes
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.layers import opaque
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layers.declare import declare
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


class MelFilterBank(DynamicLayer, PlainMelFilterBank):
    """features.MelFilterBank with a learned number of bands.

    Its width may be resampled: K bands then always divide up the whole frequency range, and layers behind the bank take
    their weights for K bands as if the bands were interpolated back to all N. While searching, the banks of both whole
    sizes next to K are computed, (bins, ⌈K⌉ + ⌈K⌉ − 1), and layers behind weigh what is interpolated from each by how
    near K is to it, so that the loss goes from one size to the next without a detour: bands whose spacing followed K
    would push the highest one into the roll-off below the Nyquist frequency within every unit, and λ's gradient would
    be that of its level. Otherwise the bands stay what they are and the last are given up: the least
    important ones once they have been reordered (:mod:`dyn_lightning.network.reorder`), and the highest without that.

    ``quiet``: a LogCompression or FixedScaling behind the bank makes the boundary noise in this bank's place.

    Shapes: (batch, bins, frames) → (batch, bands, frames).
    """

    plain_class = PlainMelFilterBank
    sizes = {"n_mels": "out_width"}

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        x = c.inputs[0]
        fix_sizes(x[-2], f"{c.name} expects all frequency bins")
        bound = c.bind(out_width=c.bound["out_width"] if c.bound else c.make("out_width", c.module.n_mels))
        return [(*x[:-2], bound["out_width"], x[-1])]

    @staticmethod
    def price(op: Op) -> OpCost:
        """Power (…, bins, frames) → (…, bands, frames), as the dense product that it is run as."""
        return OpCost(2 * numel(op.outputs[0]) * size(op.inputs[0][-2]))

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {"fb": (None, self.out_width)}

    @property
    def width(self) -> Width | None:
        return None if self.out_width is None else self.out_width.simple

    def forward(self, power: Tensor) -> Tensor:
        bands = torch.matmul(self._filters().T.to(power.dtype), power)
        return self.noise(bands, 1)

    def _filters(self) -> Tensor:
        """The filters in use, (bins, bands)."""
        width = self.width
        if width is None or not width.resampled:
            return self.cut("fb")
        if width.noisy:
            return torch.cat([self._respaced(size) for size, _ in width.neighbours], 1)
        return self._respaced(width.current)

    def _respaced(self, n_mels: int) -> Tensor:
        return self.fb if n_mels == self.n_mels else respaced_filters(self, n_mels).to(self.fb.dtype)

    def plain_tensors(self) -> dict[str, Tensor]:
        width = self.width
        if width is None or not width.resampled:
            return super().plain_tensors()
        return {"fb": self._respaced(width.size)}

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

    made = ()
    more = ("in_width",)
    described = False
    features = "each"

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        if len(c.inputs[0]) > 1:
            c.bind(in_width=c.inputs[0][1])
        return [c.inputs[0]]

    @staticmethod
    def price(op: Op) -> OpCost:
        """Of each element a sum and a logarithm, or a subtraction and a division."""
        return OpCost(2 * numel(op.outputs[0]))

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


def respaced_filters(bank: PlainMelFilterBank, n_mels: int) -> Tensor:
    """Triangular mel filters of fewer bands over a bank's range, as torchaudio's ``melscale_fbanks``: (bins, n_mels).

    Wider bands are lower in proportion, (n_mels + 1) / (N + 1), so that the level of a band does not depend on their
    number.
    """
    points_mel = torch.linspace(bank.mel_min, bank.mel_max, n_mels + 2, device=bank.fb.device)
    points_hz = 700.0 * (10.0 ** (points_mel / 2595.0) - 1.0)
    bins_hz = torch.linspace(0, bank.sample_rate // 2, bank.n_freqs, device=bank.fb.device)
    slopes = points_hz[None, :] - bins_hz[:, None]
    steps = points_hz.diff()
    down, up = -slopes[:, :-2] / steps[:-1], slopes[:, 2:] / steps[1:]
    return torch.minimum(down, up).clamp_min(0.0) * ((n_mels + 1) / (bank.n_mels + 1))


def spectrogram_price(op: Op) -> OpCost:
    """For each frame a window (1 a sample), an FFT, and 3 a bin (power 1: 4; neither 1 nor 2: 5)."""
    module: Any = op.module
    bins = module.n_fft // 2 + 1
    per_bin = 3 + (module.power != 2) + (module.power not in (1, 2))
    return OpCost(numel(op.outputs[0]) / bins * (module.n_fft + fft_flops(module.n_fft) + per_bin * bins))


declare(Spectrogram, trace=opaque, price=spectrogram_price)
