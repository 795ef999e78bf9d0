"""Means over seeds, with Student's t interval, and the best of several trade-offs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Some seeds' values of one thing.

    Attributes:
        n: number of values.
        mean: arithmetic mean.
        sd: standard deviation with n - 1 degrees of freedom; None for a single value.
        low, high: Student's t interval of the mean; None for a single value.
    """

    n: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def summarise(values: Iterable[float | None], confidence: float = CONFIDENCE) -> Summary | None:
    """Mean, standard deviation and t interval of the values that are there; None where there are none.

    >>> found = summarise([1.0, 2.0, 3.0, None])
    >>> found.n, found.mean, found.sd, round(found.high, 3)
    (3, 2.0, 1.0, 4.484)
    """
    known = [float(value) for value in values if value is not None]
    n = len(known)
    if not n:
        return None
    mean = math.fsum(known) / n
    if n == 1:
        return Summary(1, mean)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    half = t_quantile(confidence, n - 1) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def t_quantile(confidence: float, degrees: int) -> float:
    """The t with P(|T| <= t) = confidence, for T of Student's distribution with some degrees of freedom.

    Raises:
        ValueError: unless 0 < confidence < 1 and there is a degree of freedom.
    """
    if not 0.0 < confidence < 1.0 or degrees < 1:
        raise ValueError(f"confidence {confidence} must lie in (0, 1) and degrees {degrees} be 1 or more")
    # over the angle atan(t/√ν), which is bounded
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, degrees) < confidence else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(degrees)


def _central_probability(angle: float, degrees: int) -> float:
    """P(|T| <= √ν tan(angle)): Abramowitz and Stegun, 26.7.3 (ν odd) and 26.7.4 (ν even)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def pareto_set(values: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the pairs that no other pair dominates, in order of the second value, then of the first.

    A pair dominates another if neither of its values is larger, and one is smaller. Equal pairs do not dominate each
    other: all of them are kept.
    """
    front: list[int] = []
    for index in sorted(range(len(values)), key=lambda i: (values[i][1], values[i][0])):
        if not front or values[index][0] < values[front[-1]][0] or values[index] == values[front[-1]]:
            front.append(index)
    return front
