"""The work of dynamize and consolidate grows as the number of layers does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.graph.axes import Size
from experiments.benchmarks.deep import KINDS, deep


def calls(action: Callable[..., Any], *args: Any) -> int:
    """How many functions are called, Python's and C's: a measure of work that no other process disturbs."""
    count = 0

    def see(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        action(*args)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_work_grows_as_depth_does(kind: str) -> None:
    work = []
    for layers in (4, 8, 16):
        network, shape = deep(kind, layers)
        example = torch.randn(shape)
        dynamic = dynamize(network.eval(), example)
        made = calls(dynamize, network, example), calls(consolidate, dynamic, [example]), calls(repr, dynamic)
        work.append(made)
    for few, more, most in zip(*work, strict=True):
        # 8 more layers cost twice what 4 more did. Were one term quadratic, that would be four times.
        assert most - more <= 2.02 * (more - few)


def test_a_long_chain_of_ties_is_walked_without_recursion() -> None:
    sizes = [Size(f"size {i}", 4) for i in range(1500)]
    for one, other in zip(sizes[-2::-1], sizes[:0:-1], strict=True):  # each to one made before it
        one.tie(other)
    assert all(size.root is sizes[0] for size in sizes)
    assert sizes[-1].root.names == [f"size {i}" for i in range(1500)]
