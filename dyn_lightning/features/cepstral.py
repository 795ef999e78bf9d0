"""Linear-frequency cepstral coefficients in small modules: linear filter bank, cosine transform, deltas."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import create_dct, linear_fbanks

from dyn_lightning.errors import SettingError
from dyn_lightning.features.spectral import FilterBank, check_filters


class LinearFilterBank(FilterBank):
    """Triangular filters spaced equally in Hz, not trainable.

    ``fb`` (n_freqs, n_filters) is a buffer, made by torchaudio's ``linear_fbanks``.

    Shapes: power (batch, n_freqs, frames) → (batch, n_filters, frames).

    Raises:
        SettingError: as :class:`FilterBank`, or if a filter holds no frequency bin.
    """

    count_name = "n_filters"

    def __init__(
        self,
        n_freqs: int = 513,
        n_filters: int = 20,
        sample_rate: int = 16000,
        f_min: float = 0.0,
        f_max: float | None = None,
    ) -> None:
        super().__init__(n_freqs, n_filters, sample_rate, f_min, f_max)
        fb = linear_fbanks(n_freqs, self.f_min, self.f_max, n_filters, sample_rate)
        check_filters(fb, "n_filters")
        self.register_buffer("fb", fb)


class CosineTransform(nn.Module):
    """The first coefficients of the orthonormal DCT-II over bands, as a product with a matrix.

    ``dct`` (n_bands, n_coefficients) is a buffer, made by torchaudio's ``create_dct``.

    Shapes: (batch, n_bands, frames) → (batch, n_coefficients, frames).

    Raises:
        SettingError: if there are more coefficients than bands.
    """

    dct: Tensor

    def __init__(self, n_bands: int = 20, n_coefficients: int = 20) -> None:
        super().__init__()
        if n_coefficients > n_bands:
            raise SettingError(f"n_coefficients={n_coefficients} must not be above n_bands={n_bands}")
        self.n_bands = n_bands
        self.n_coefficients = n_coefficients
        self.register_buffer("dct", create_dct(n_coefficients, n_bands, norm="ortho"))

    def forward(self, bands: Tensor) -> Tensor:
        # Frames as rows: a second product from the left, after the filters', ties an export to its batch.
        return torch.matmul(bands.transpose(1, 2), self.dct.to(bands.dtype)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"n_bands={self.n_bands}, n_coefficients={self.n_coefficients}"


class Deltas(nn.Module):
    """Coefficients, their slopes over time, and the slopes of these ("double deltas").

    A slope is the least-squares line's through ``win_length`` frames, the first and last frame repeated at the
    ends, as in torchaudio's ``compute_deltas``; here as one convolution with a kernel for all rows, which
    traces with any batch.

    Shapes: (batch, rows, frames) → (batch, 3·rows, frames).

    Raises:
        SettingError: if ``win_length`` is even or below 3.
    """

    kernel: Tensor

    def __init__(self, win_length: int = 5) -> None:
        super().__init__()
        if win_length < 3 or win_length % 2 == 0:
            raise SettingError(f"win_length must be odd and at least 3, got {win_length}")
        self.win_length = win_length
        steps = torch.arange(win_length) - win_length // 2
        self.register_buffer("kernel", (steps / steps.square().sum()).reshape(1, 1, 1, -1), persistent=False)

    def slopes(self, x: Tensor) -> Tensor:
        """Slope per frame of each row: (batch, rows, frames) → the same shape."""
        n = self.win_length // 2
        padded = F.pad(x, (n, n), mode="replicate")
        return F.conv2d(padded.unsqueeze(1), self.kernel.to(x.dtype)).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.slopes(x)
        return torch.cat((x, first, self.slopes(first)), dim=1)

    def extra_repr(self) -> str:
        return f"win_length={self.win_length}"
