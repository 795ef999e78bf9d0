"""A zoo of backbones: what people really have. ``NETWORKS[name]()`` gives (network, example input).

An example input is a tensor, a tuple (positional arguments) or a dict (keyword arguments). Weights are random; call
``torch.manual_seed`` first to have the same ones again. Sizes are small, and differ from one another where they may,
so that a wrong tie shows.
"""

from tests.zoo import libraries, networks
from tests.zoo.registry import LARGE, LIBRARIES, LIBRARY_OF, OWN, Maker

NETWORKS: dict[str, Maker] = {**OWN, **LIBRARIES}

__all__ = ["LARGE", "LIBRARIES", "LIBRARY_OF", "NETWORKS", "OWN", "Maker", "libraries", "networks"]
