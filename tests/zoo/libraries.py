"""All networks of libraries by others: random weights, reduced sizes, imported only when made."""

from tests.zoo import library_speech, library_transformers, library_vision
from tests.zoo.registry import LARGE, LIBRARIES

__all__ = ["LARGE", "LIBRARIES", "library_speech", "library_transformers", "library_vision"]
