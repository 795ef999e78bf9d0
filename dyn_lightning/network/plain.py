"""A backbone as it is: an input to count it on, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import dyn_lightning.layers  # noqa: F401 - what is read and counted
from dyn_lightning.checks import positive
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.costs.uncounted import warn_uncounted
from dyn_lightning.errors import SettingError
from dyn_lightning.graph import axis_size, read_graph

_LARGEST_EXAMPLE = 2**28  # 1 GiB


def example_input(backbone: nn.Module, duration_s: float | None, shape: Sequence[int] | None) -> Tensor:
    """Zeros for a backbone to be counted on: of ``shape``, or (1, duration_s · backbone.sample_rate).

    Raises:
        SettingError: where neither says how large it is.
    """
    positive(example_duration_s=duration_s)
    if shape is not None and not (shape and all(type(n) is int and n >= 1 for n in shape)):
        raise SettingError(f"example_shape must be whole numbers, 1 or more, batch dimension first, got {list(shape)}")
    parameter = next(iter(backbone.parameters()), torch.zeros(0))
    if shape is not None:
        _check_size("example_shape", math.prod(shape))
        return torch.zeros(*shape, device=parameter.device)
    sample_rate = getattr(backbone, "sample_rate", None)
    if duration_s is None or sample_rate is None:
        raise SettingError(
            f"the example input of {type(backbone).__name__} is unknown: give example_shape (batch dimension "
            "first), or example_duration_s and a backbone with a sample_rate attribute"
        )
    _check_size("example_duration_s", duration_s * sample_rate)
    return torch.zeros(1, round(duration_s * sample_rate), device=parameter.device)


def _check_size(name: str, numbers: float) -> None:
    if numbers > _LARGEST_EXAMPLE:
        raise SettingError(f"{name} makes an example of {numbers:.3g} numbers: at most {_LARGEST_EXAMPLE} are allowed")


def plain_complexity(backbone: nn.Module, example: object, duration_s: float | None) -> Complexity:
    """What a backbone costs in which nothing is learned. A warning names the calls that have no price."""

    ops = [op.with_sizes(lambda axis: (axis_size(axis),), op.module) for op in read_graph(backbone, example).ops]
    cost = Complexity(ops, {}, duration_s, parameters=sum(p.numel() for p in backbone.parameters()))
    warn_uncounted("FLOPs", cost.uncounted)
    return cost
