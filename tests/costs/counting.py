"""Our count of a function's FLOPs, and numbers that count what is done with them, to write an algorithm down with."""

from __future__ import annotations

import math

import torch
from torch import nn

from dyn_lightning.network.plain import plain_complexity


class Calls(nn.Module):
    """A network that is one function of its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def flops(function, *inputs):
    """FLOPs of a function by our count; nothing may be left out."""
    complexity = plain_complexity(Calls(function), inputs, None)
    assert complexity.uncounted == ()
    return complexity.flops_full_size()


def r(*shape):
    return torch.randn(*shape)


def c(*shape):
    return torch.randn(*shape, dtype=torch.cfloat)


class Number:
    """A number; each operation on one adds 1 to ``Number.done``."""

    done = 0

    def __init__(self, value):
        self.value = float(value)

    @classmethod
    def of(cls, x):
        """A tensor as nested lists of numbers."""
        return [cls.of(row) for row in x] if x.dim() else cls(x)

    def _with(self, other, function):
        Number.done += 1
        return Number(function(self.value, other.value if isinstance(other, Number) else other))

    def __add__(self, other):
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other):
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other):
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other):
        return self._with(other, lambda a, b: a / b)

    def __neg__(self):
        return self._with(None, lambda a, _: -a)

    def most(self, other):
        return self._with(other, max)

    def least(self, other):
        return self._with(other, min)

    def chosen(self, condition):
        """It where the condition holds, which is a comparison and a choice, else 0."""
        Number.done += 1
        return self._with(None, lambda a, _: a if condition else 0.0)

    def __getattr__(self, name):
        function = getattr(math, name)
        return lambda: self._with(None, lambda a, _: function(a))

    __radd__, __rmul__ = __add__, __mul__


def total(numbers):
    """Their sum: a sum less than there are numbers."""
    first, *others = numbers
    for x in others:
        first = first + x
    return first


def mean(numbers):
    return total(numbers) / len(numbers)


def counted(algorithm, *inputs):
    """What an algorithm gives for numbers, and how many operations that took."""
    given = [Number.of(x) if isinstance(x, torch.Tensor) else x for x in inputs]
    before = Number.done
    result = algorithm(*given)
    return result, Number.done - before
