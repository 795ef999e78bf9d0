"""Augmentation of features on the device, in training alone."""

from __future__ import annotations

from torch import Tensor, nn
from torchaudio.functional import mask_along_axis_iid

from dyn_lightning.errors import SettingError


class SpecAugment(nn.Module):
    """SpecAugment's masks (arXiv 1904.08779): of each utterance a run of rows and a run of frames become 0.

    The lengths are uniform in [0, freq_mask) rows and [0, time_mask) frames, by torchaudio's
    ``mask_along_axis_iid``. Zero is the mean of features that are normalised. In evaluation nothing is done.

    Args:
        freq_mask: rows to mask at most; 0 masks none.
        time_mask: frames to mask at most; 0 masks none.
        n_masks: of each kind.

    Shapes: (batch, rows, frames) → the same.

    Raises:
        SettingError: if an argument is negative.
    """

    def __init__(self, freq_mask: int = 12, time_mask: int = 20, n_masks: int = 1) -> None:
        super().__init__()
        if min(freq_mask, time_mask, n_masks) < 0:
            raise SettingError(f"negative: freq_mask={freq_mask}, time_mask={time_mask}, n_masks={n_masks}")
        self.freq_mask = freq_mask
        self.time_mask = time_mask
        self.n_masks = n_masks

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        for _ in range(self.n_masks):
            x = mask_along_axis_iid(x, self.freq_mask, 0.0, axis=1)
            x = mask_along_axis_iid(x, self.time_mask, 0.0, axis=2)
        return x

    def extra_repr(self) -> str:
        return f"freq_mask={self.freq_mask}, time_mask={self.time_mask}, n_masks={self.n_masks}"
