"""Collections are rare inside, and as they were before outside."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from dyn_lightning import dynamize
from dyn_lightning.network.garbage import OBJECTS, rare_collections


@pytest.mark.parametrize("before", [(700, 10, 10), (0, 10, 10), (50_000, 5, 5)])
def test_thresholds_are_put_back(before: tuple[int, int, int]) -> None:
    own = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        with rare_collections():
            inside = gc.get_threshold()
        assert gc.get_threshold() == before
        assert inside == ((max(before[0], OBJECTS) if before[0] else 0), *before[1:])
    finally:
        gc.set_threshold(*own)


def test_dynamize_collects_rarely() -> None:
    net = nn.Sequential(*(layer for _ in range(60) for layer in (nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4))))
    seen = []
    own = gc.get_threshold()
    gc.callbacks.append(lambda phase, info: seen.append(phase))
    try:
        dynamize(net, torch.randn(2, 4, 3))
    finally:
        gc.callbacks.pop()
    assert gc.get_threshold() == own
    assert len(seen) / 2 < 40  # about 110 by Python's own thresholds
