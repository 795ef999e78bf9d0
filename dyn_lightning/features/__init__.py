"""Front ends as plain modules: they stand inside the backbone, so that what ships takes audio."""

from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank, Spectrogram

__all__ = ["FixedScaling", "LogCompression", "MelFilterBank", "Spectrogram"]
