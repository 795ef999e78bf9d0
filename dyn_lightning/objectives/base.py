"""What every objective answers, and says when the search ends."""

from __future__ import annotations

from torch import Tensor, nn

from dyn_lightning.costs.budgets import told_above
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.network.dynamic import DynamicNetwork


class Objective(nn.Module):
    """Base of the objectives: no penalty, never finished, freezes at the kept sizes ⌊K⌋."""

    @property
    def finished(self) -> bool:
        """Whether the search may end now."""
        return False

    def check(self, dynamic: DynamicNetwork) -> None:
        """Raise SettingError where the goal cannot be met by this network."""

    def budget(self, complexity: Complexity) -> float | None:
        """The FLOPs that the final sizes may cost, all included, in the complexity's unit; None: there is no limit."""
        return None

    allow_uncounted: tuple[str, ...] = ()
    """Patterns of calls whose FLOPs may be left out of a budget."""

    def above(self, complexity: Complexity) -> str | None:
        """How far the sizes as they are now exceed the budget, in words; None where they do not."""
        return told_above(self.budget(complexity), complexity)

    @property
    def asked(self) -> dict[str, float]:
        """The budget as it was stated, name → number, as ``Limit.asked``; empty without one."""
        return {}

    def observe(self, task_loss: Tensor) -> None:
        """See the task loss (0-d, detached) of every step before the sizes are final, warm-up included.

        A loss that is no finite number is to change nothing, here as in ``forward``.
        """

    def final_sizes(self, dynamic: DynamicNetwork) -> dict[str, int]:
        """Elements that each Width is frozen at when the search ends."""
        return {name: width.size for name, width in dynamic.widths.items()}

    def forward(self, dynamic: DynamicNetwork, task_loss: Tensor, progress: float) -> Tensor:
        """The penalty, 0-d, with λ's gradient.

        Args:
            dynamic: the dynamic network.
            task_loss: value of the task loss, 0-d, detached.
            progress: share of the search that is done, in [0, 1].
        """
        raise NotImplementedError

    def after_step(self, dynamic: DynamicNetwork, progress: float) -> None:
        """Change λ after the optimiser's step in the search; ``progress`` is that after the step."""
