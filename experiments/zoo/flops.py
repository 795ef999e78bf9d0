"""One counter for every result, whoever made it."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dyn_lightning.inputs import call_arguments


def counted_flops(network: nn.Module, example: Any) -> int:
    """FLOPs of one call in torch's own counter: matrix products and convolutions, a multiply-add being two.

    Recurrent layers and attention are run step by step, so that the counter sees their products too.
    """
    args, kwargs = call_arguments(example)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    network.eval()
    learned = [p for p in network.parameters() if p.requires_grad]
    for p in learned:
        p.requires_grad_(False)  # the counter's hooks trip over views of parameters
    try:
        with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            counter = FlopCounterMode(display=False)
            with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter:
                network(*args, **kwargs)
    finally:
        for p in learned:
            p.requires_grad_(True)
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in network.parameters())
