"""Sizes under a budget, given what each size loses by itself.

W widths, T terms of the cost, S permitted sizes of one width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dyn_lightning.costs.allocation import least_size
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.errors import SettingError

Curve = Sequence[tuple[int, float]]
"""(size, loss) of one width while all others are whole."""
_STEPS = 30
_EXCHANGES = 200


def lower_hull(points: Curve) -> list[tuple[int, float]]:
    """The points below which none lies, by ascending size: the largest convex function under them.

    >>> lower_hull([(1, 3.0), (2, 2.5), (4, 0.0), (3, 2.0)])
    [(1, 3.0), (4, 0.0)]
    """
    hull: list[tuple[int, float]] = []
    for x, y in sorted(points):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0):
                break
            hull.pop()
        if hull and hull[-1][0] == x:
            continue
        hull.append((x, y))
    return hull


@dataclass
class _Choice:
    """What one width may be, ascending, and what it is expected to lose there."""

    sizes: Tensor
    losses: Tensor


def _choice(curve: Curve, least: int, full: int, multiple_of: int) -> _Choice:
    hull = lower_hull(curve)
    sizes = sorted({s for s in range(multiple_of, full, multiple_of) if s >= least} | {full})
    xs, ys = (
        torch.tensor([x for x, _ in hull], dtype=torch.float64),
        torch.tensor([y for _, y in hull], dtype=torch.float64),
    )
    at = torch.tensor(sizes, dtype=torch.float64)
    if len(hull) == 1:
        return _Choice(at, ys.expand(len(at)).clone())
    right = torch.searchsorted(xs, at).clamp(1, len(xs) - 1)
    slope = (ys[right] - ys[right - 1]) / (xs[right] - xs[right - 1])
    return _Choice(at, ys[right - 1] + slope * (at - xs[right - 1]))


def sizes_from_curves(
    complexity: Complexity, curves: Mapping[str, Curve], budget: float
) -> tuple[dict[str, int], float]:
    """Sizes that cost at most ``budget`` and are expected to lose least, and what they are expected to lose.

    Losses of widths are taken to add up. Each curve's lower convex hull stands for it, between its points a straight
    line. A multiplier prices the cost as it is, products of widths included: each width in turn takes the size of least
    loss plus price until none changes, and the multiplier is halved in on the budget, from full, middling and least
    sizes. What the budget leaves is filled where a FLOP gains most, and widths give way to each other while that helps.

    Args:
        complexity: of the network, with the widths that the curves name, all of them.
        curves: name of each width → its curve; sizes outside the points go on as the nearest piece does.
        budget: in the complexity's unit.

    Raises:
        SettingError: if the least sizes cost more than the budget, or a width has no curve.
    """
    widths = complexity.widths
    if missing := sorted(set(widths) ^ set(curves)):
        raise SettingError(f"curves must name every width once; missing or unknown: {', '.join(missing)}")
    choices = [_choice(curves[n], least_size(w), w.full_size, w.multiple_of) for n, w in widths.items()]
    terms = Terms(complexity)
    least = torch.zeros(len(choices), dtype=torch.int64)
    full = torch.tensor([len(c.sizes) - 1 for c in choices])
    if terms.cost(_sizes(choices, least)) > budget * (1 + 1e-9):
        raise SettingError(
            f"a budget of {budget:.4g} {complexity.unit.replace('_', ' ')} is out of reach: the least sizes cost "
            f"{terms.cost(_sizes(choices, least)):.4g}"
        )
    best = least
    middling = torch.tensor([len(c.sizes) // 2 for c in choices])
    for start in (full, middling, least):
        low, high = -30.0, 30.0  # log of the price of all that full size costs
        for _ in range(_STEPS):
            middle = (low + high) / 2
            at = _descend(choices, terms, start.clone(), float(torch.tensor(middle).exp()))
            if terms.cost(_sizes(choices, at)) <= budget:
                high = middle
                filled = _fill(choices, terms, at, budget)
                best = min(best, filled, key=lambda a: _loss(choices, a))
            else:
                low = middle
    best = _exchange(choices, terms, best, budget)
    names = list(widths)
    return {n: int(c.sizes[i]) for n, c, i in zip(names, choices, best.tolist(), strict=True)}, _loss(choices, best)


class Terms:
    """The cost as a sum of products of sizes: quick at many sizes of one width.

    Args:
        complexity: whose FLOPs these are.
    """

    def __init__(self, complexity: Complexity) -> None:
        self.exponents, self.coefficients = complexity.terms()  # (T, W), (T,)
        self.full = torch.tensor(list(complexity.full_sizes.values()), dtype=torch.float64)

    def cost(self, sizes: Tensor) -> float:
        """At sizes (W,)."""
        return float(((sizes / self.full) ** self.exponents).prod(1) @ self.coefficients)

    def along(self, sizes: Tensor, width: int, candidates: Tensor) -> Tensor:
        """At sizes (W,) with one width's replaced by each of the candidates (S,): (S,)."""
        powers = (sizes / self.full) ** self.exponents
        powers[:, width] = 1.0
        others = powers.prod(1) * self.coefficients
        return ((candidates[:, None] / self.full[width]) ** self.exponents[:, width]) @ others


def _sizes(choices: list[_Choice], at: Tensor) -> Tensor:
    return torch.stack([c.sizes[i] for c, i in zip(choices, at.tolist(), strict=True)])


def _loss(choices: list[_Choice], at: Tensor) -> float:
    return float(sum(c.losses[i] for c, i in zip(choices, at.tolist(), strict=True)))


def _descend(choices: list[_Choice], terms: Terms, at: Tensor, price: float) -> Tensor:
    """Each width in turn at its least loss plus price, until none changes."""
    total = terms.cost(terms.full)
    for _ in range(20):
        before = at.clone()
        for j, choice in enumerate(choices):
            costs = terms.along(_sizes(choices, at), j, choice.sizes) / total
            at[j] = (choice.losses + price * costs).argmin()
        if torch.equal(at, before):
            break
    return at


def _fill(choices: list[_Choice], terms: Terms, at: Tensor, budget: float) -> Tensor:
    """Grow while the budget lasts, each time where a FLOP gains most."""
    while True:
        sizes, now, steps = _sizes(choices, at), 0.0, []
        now = terms.cost(sizes)
        for j, choice in enumerate(choices):
            later = slice(int(at[j]) + 1, None)
            costs = terms.along(sizes, j, choice.sizes[later])
            fits = costs <= budget
            if bool(fits.any()):
                gains = (choice.losses[at[j]] - choice.losses[later]) / (costs - now).clamp_min(1e-12)
                gains = torch.where(fits, gains, -1.0)
                k = int(gains.argmax())
                steps.append((float(gains[k]), j, int(at[j]) + 1 + k))
        if not steps or max(steps)[0] <= 0.0:
            return at
        _, j, k = max(steps)
        at = at.clone()
        at[j] = k


def _exchange(choices: list[_Choice], terms: Terms, at: Tensor, budget: float) -> Tensor:
    """Shrink one width and let another have what that leaves, then whoever gains, while the loss falls."""
    best = _loss(choices, at)
    for _ in range(_EXCHANGES):
        found: tuple[float, Tensor] | None = None
        for j in range(len(choices)):
            for less in {1, 2, 4, max(1, int(at[j]) // 4)}:
                if less > at[j]:
                    continue
                smaller = at.clone()
                smaller[j] -= less
                sizes = _sizes(choices, smaller)
                for i, choice in enumerate(choices):
                    later = terms.along(sizes, i, choice.sizes[int(at[i]) + 1 :]) <= budget
                    if i == j or not bool(later.any()):
                        continue
                    trial = smaller.clone()
                    trial[i] += int(later.nonzero().max()) + 1
                    if (loss := _loss(choices, trial)) < (best if found is None else found[0]) - 1e-12:
                        found = loss, trial
        if found is None:
            break
        at = _fill(choices, terms, found[1], budget)
        best = _loss(choices, at)
    return at
