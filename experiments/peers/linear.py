"""λ as it stands in the paper, learned itself and not its logarithm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dyn_lightning.widths import Amplitude
from dyn_lightning.widths.width import Width


class LinearWidth(Width):
    """A width whose parameter is λ."""

    def _parse(self, values: Sequence[float]) -> tuple[float, int, bool, int]:
        return values[0] * self.units, int(values[1]), bool(values[2]), int(values[3])

    @property
    def lam(self) -> Tensor:
        frozen = self._read()[1]
        return self.theta * 1.0 if frozen < 0 else self.theta * 0.0 + frozen / self.full_size

    @torch.no_grad()
    def set_lam(self, lam: float) -> None:
        if not 0.0 < lam <= 1.0:
            raise ValueError(f"λ must lie in (0, 1], got {lam}")
        self.theta.fill_(lam)

    @torch.no_grad()
    def clamp_(self) -> None:
        self.theta.clamp_(self.lam_min, 1.0)

    @property
    def amplitudes(self) -> tuple[Amplitude, Amplitude]:
        lam = self._read()[0] / self.units
        a, b = (Amplitude(x.value, x.slope / lam) for x in super().amplitudes)  # dα/dλ = dα/dlog λ / λ
        return a, b


def make_linear(widths: Iterable[Width]) -> None:
    """Let all of these learn λ itself, from where they stand."""
    for width in widths:
        lam = float(width.lam.detach())
        width.__class__ = LinearWidth
        width.set_lam(lam)
