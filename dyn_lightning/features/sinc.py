"""Band-pass filters on the waveform."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.features.spectral import check_min_samples, hz_to_mel


class SincFilterBank(nn.Module):
    """Windowed-sinc band-pass filters on adjacent bands equally wide on the mel scale, not trainable.

    The front end of RawNet2 (arXiv 2011.01108) and AASIST (arXiv 2110.01200), with cut-off frequencies that stay.
    ``filters`` (n_filters, 1, kernel_size) is a buffer; the window is Hamming's. Filter i passes
    [edges_hz[i], edges_hz[i + 1]], and all together from 0 to half the sample rate.

    Shapes: audio (batch, samples) → (batch, n_filters, samples − kernel_size + 1).

    Raises:
        SettingError: if ``kernel_size`` is even (its filters would have no centre), or the audio is shorter.
    """

    filters: Tensor
    edges_hz: Tensor

    def __init__(self, n_filters: int = 70, kernel_size: int = 129, sample_rate: int = 16000) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise SettingError(f"kernel_size must be odd, got {kernel_size}")
        self.n_filters = n_filters
        self.kernel_size = kernel_size
        self.sample_rate = sample_rate
        mel = torch.linspace(0.0, hz_to_mel(sample_rate / 2), n_filters + 1, dtype=torch.float64)
        edges_hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
        n = torch.arange(kernel_size, dtype=torch.float64) - kernel_size // 2
        cut_off = 2.0 * edges_hz[:, None] / sample_rate  # of Nyquist's frequency
        low_pass = cut_off * torch.sinc(cut_off * n)
        window = torch.hamming_window(kernel_size, periodic=False, dtype=torch.float64)
        filters = low_pass.diff(dim=0) * window
        self.register_buffer("filters", filters.float().unsqueeze(1))
        self.register_buffer("edges_hz", edges_hz.float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        check_min_samples(audio, self.kernel_size)
        return F.conv1d(audio.unsqueeze(1), self.filters.to(audio.dtype))

    def extra_repr(self) -> str:
        return f"n_filters={self.n_filters}, kernel_size={self.kernel_size}, sample_rate={self.sample_rate}"
