"""Front ends as plain modules: they stand inside the backbone, so that what ships takes audio."""

from dyn_lightning.features.augmentation import SpecAugment
from dyn_lightning.features.cepstral import CosineTransform, Deltas, LinearFilterBank
from dyn_lightning.features.front_ends import FrontEnd, Normalisation, make_front_end, make_normalisation
from dyn_lightning.features.normalisation import RunningNorm, UtteranceNorm
from dyn_lightning.features.sinc import SincFilterBank
from dyn_lightning.features.spectral import FixedScaling, LogCompression, MelFilterBank, Spectrogram

__all__ = [
    "CosineTransform", "Deltas", "FixedScaling", "FrontEnd", "LinearFilterBank", "LogCompression", "MelFilterBank",
    "Normalisation", "RunningNorm", "SincFilterBank", "SpecAugment", "Spectrogram", "UtteranceNorm", "make_front_end",
    "make_normalisation",
]  # fmt: skip
