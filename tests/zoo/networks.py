"""All networks of the zoo that were written for it, in plain torch."""

from tests.zoo import own_attention, own_convolution, own_image, own_sequence, own_speech, own_transformer, own_waveform
from tests.zoo.registry import OWN

__all__ = [
    "OWN",
    "own_attention",
    "own_convolution",
    "own_image",
    "own_sequence",
    "own_speech",
    "own_transformer",
    "own_waveform",
]
