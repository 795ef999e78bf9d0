"""The uniformly narrower network of a given cost: what learned sizes are compared with.

Of a network whose constructor takes its sizes. Which arguments those are is found by trying: a smaller one gives a
network with the same learnable sizes, none of them larger and one at least smaller, and an output of the same shape.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dyn_lightning.costs.budgets import budget_in_flops
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.network.plain import plain_complexity

Make = Callable[..., nn.Module]
STEPS = 1024
"""Of the factor by which all sizes are narrower."""
_GRANULARITIES = (1, 2, 4, 8, 16, 32, 64)


class Uniform:
    """A network's sizes by the arguments of its constructor, and what it costs with all of them narrower.

    Args:
        make: the network's class, or a function that gives it.
        arguments: that it is called with; those that are left out have its defaults.
        example_of: the input on which a network is counted.
        duration_s: seconds of audio in it; None: costs per call.

    Attributes:
        full: the arguments that are sizes, each a number or a sequence of numbers.
        complexity: of the full-size network.

    Raises:
        SettingError: where no argument is a size, or no network can be made between.
    """

    def __init__(
        self,
        make: Make,
        arguments: Mapping[str, Any],
        example_of: Callable[[nn.Module], Tensor],
        duration_s: float | None,
    ) -> None:
        self._make, self._arguments = make, dict(arguments)
        self._example_of, self._duration_s = example_of, duration_s
        self.complexity, self._shapes = self._dynamic({})
        candidates = _whole_numbers(make, arguments)
        self.full = {name: value for name, value in candidates.items() if self._is_size(name, value)}
        if not self.full:
            tried = f" Tried were {', '.join(candidates)}." if candidates else ""
            raise SettingError(
                f"{_name(make)}: no argument of its constructor is a size that could be narrower.{tried} Give sizes to "
                "the constructor, as whole numbers or lists of them"
            )
        self._unit = self._granularity()

    def at(self, step: int) -> dict[str, object]:
        """The arguments that are sizes, at ``step`` of ``STEPS`` of their full size."""
        return {name: _scaled(value, step / STEPS, self._unit) for name, value in self.full.items()}

    def flops_at(self, step: int) -> float:
        """Cost of the whole network at a step, in the unit of :attr:`complexity`."""
        network = self._network(self.at(step))
        return float(plain_complexity(network, self._example_of(network), self._duration_s).flops_full_size())

    def within(self, budget: float) -> tuple[dict[str, Any], float]:
        """Sizes of the widest network that costs no more than ``budget``, and its cost.

        Raises:
            SettingError: where the narrowest one costs more.
        """
        low, high = 0, STEPS  # a step that is too small for the constructor is below every budget
        while low < high:
            middle = (low + high + 1) // 2
            within = not self._runs(middle) or self.flops_at(middle) <= budget
            low, high = (middle, high) if within else (low, middle - 1)
        if not low or not self._runs(low):
            least = self.flops_at(low + 1)
            raise SettingError(
                f"{_name(self._make)}: its narrowest uniform network costs {least:.4g}, above the {budget:.4g} that "
                "were asked for"
            )
        return self.at(low), self.flops_at(low)

    def _network(self, changed: Mapping[str, object]) -> nn.Module:
        with torch.random.fork_rng():
            return self._make(**{**self._arguments, **changed}).eval()

    def _dynamic(self, changed: Mapping[str, object]) -> tuple[Complexity, list[torch.Size]]:
        network = self._network(changed)
        example = self._example_of(network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            complexity: Complexity = dynamize(network, example, duration_s=self._duration_s).complexity
        with torch.no_grad():
            answer = pytree.tree_leaves(network(example))
        return complexity, [x.shape for x in answer if isinstance(x, Tensor)]

    def _is_size(self, name: str, value: Any) -> bool:
        full = self.complexity.full_sizes
        for factor in (0.5, 0.75, 0.25):
            smaller = _scaled(value, factor, 1)
            if smaller == value:
                continue
            try:
                complexity, shapes = self._dynamic({name: smaller})
            except Exception:  # whatever a constructor raises at a value that it does not take
                continue
            now = complexity.full_sizes
            if shapes == self._shapes and now.keys() == full.keys():
                return now != full and all(now[size] <= full[size] for size in full)
        return False

    def _granularity(self) -> int:
        """The least unit in whose multiples all sizes together make a network that runs."""
        for self._unit in _GRANULARITIES:
            if all(self._runs(STEPS - STEPS * k // 24) for k in range(1, 9)):
                return self._unit
        raise SettingError(f"{_name(self._make)}: no network can be made with {', '.join(self.full)} narrower")

    def _runs(self, step: int) -> bool:
        try:
            network = self._network(self.at(step))
            with torch.no_grad():
                network(self._example_of(network))
        except Exception:  # as above
            return False
        return True


def uniform_arguments(
    make: Make,
    arguments: Mapping[str, Any],
    example_of: Callable[[nn.Module], Tensor],
    duration_s: float | None,
    *,
    share: float | None = None,
    flops: float | None = None,
) -> tuple[dict[str, object], float, float]:
    """Arguments of the widest network, narrower by one factor, that costs no more than a budget.

    Args:
        make, arguments, example_of, duration_s: see :class:`Uniform`.
        share: budget as a share of the FLOPs that the sizes govern; what is fixed comes on top.
        flops: budget in all, per second of audio (per call without a duration).

    Returns:
        The arguments that change, the network's cost, and the budget in the same unit.

    Raises:
        SettingError: as :class:`Uniform`, and for a budget that cannot be, or is out of reach.
    """
    sizes = Uniform(make, arguments, example_of, duration_s)
    budget = budget_in_flops(sizes.complexity, share=share, flops_per_second=flops)
    found, cost = sizes.within(budget)
    return found, cost, budget


def _whole_numbers(make: Make, arguments: Mapping[str, Any]) -> dict[str, object]:
    """Arguments with their defaults that are whole numbers above 1, or sequences of them."""
    given = {
        name: arguments.get(name, parameter.default)
        for name, parameter in inspect.signature(make).parameters.items()
        if name in arguments or parameter.default is not parameter.empty
    }
    return {name: value for name, value in given.items() if _is_whole(value)}


def _is_whole(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(type(n) is int and n > 0 for n in value) and max(value) > 1
    return type(value) is int and value > 1


def _scaled(value: Any, factor: float, unit: int) -> Any:
    """Numbers times a factor, in multiples of a unit, never above what they were."""
    if isinstance(value, (list, tuple)):
        return type(value)(_scaled(n, factor, unit) for n in value)
    return min(value, max(unit, round(value * factor / unit) * unit))


def _name(make: Make) -> str:
    return getattr(make, "__name__", type(make).__name__)
