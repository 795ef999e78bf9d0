import torch
from torch import nn


def _x(*shape: int) -> torch.Tensor:
    return 2.0 * torch.randn(*shape) + torch.arange(shape[1])[(None, ...) + (None,) * (len(shape) - 2)]


def test_prelu(contract) -> None:
    contract(nn.PReLU(8), lambda a: {"in_width": a}, [8], lambda a: (_x(3, a, 5) - 4,)).check()
    contract(nn.PReLU(8), lambda a: {"in_width": a}, [8], lambda a: (_x(3, a) - 4,)).check()
