"""The network of the synthetic study: a linear map that imitates a mel filter bank."""

from __future__ import annotations

from torch import Tensor, nn

from dyn_lightning.errors import SettingError


class FilterBankNet(nn.Module):
    """A linear layer with more outputs than the filter bank that it approximates (arXiv 2601.13704, case
    study 1).

    How 64 outputs meet 32 targets is not published; both readings are here. Without ``readout`` the outputs
    are the estimate, and the targets are padded with zeros to ``n_bands``; with it a second linear layer maps
    them to ``n_targets``. Neither layer has a bias: a filter bank has none.

    Shapes: (batch, n_freqs) → (batch, n_targets) with ``readout``, (batch, n_bands) without.

    Raises:
        SettingError: if there are fewer bands than targets.
    """

    def __init__(self, n_freqs: int = 257, n_bands: int = 64, n_targets: int = 32, readout: bool = True) -> None:
        super().__init__()
        if n_bands < n_targets:
            raise SettingError(f"n_bands ({n_bands}) must be at least n_targets ({n_targets})")
        self.bands = nn.Linear(n_freqs, n_bands, bias=False)
        self.readout = nn.Linear(n_bands, n_targets, bias=False) if readout else None

    def forward(self, spectrum: Tensor) -> Tensor:
        bands: Tensor = self.bands(spectrum)
        return bands if self.readout is None else self.readout(bands)
