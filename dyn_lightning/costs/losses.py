"""Cost of losses that a network's own code computes; those that treat elements alike are in :mod:`.prices`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, numel, prices_functions, size

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


@prices_functions("ctcloss")
def _ctc(op: Op) -> OpCost:
    """Forward variables (Graves et al., 2006) at each step of each item, for its S labels and S + 1 blanks.

    Each is the logarithm of a sum of three exponentials (largest 2, differences 3, exponentials 3, sums 2, logarithm
    and largest added 2) and a log-probability added: 13. At the end two of them are summed so: 8; that is negated,
    divided and averaged: 3. All items count with the longest input; targets that stand one after the other, with their
    own lengths.
    """
    log_probs, targets = op.inputs[:2]
    steps = size(log_probs[0])
    items = size(log_probs[1]) if len(log_probs) == 3 else 1
    return OpCost(steps * (2 * numel(targets) + items) * 13 + 11 * items)


@prices_functions("cosineembeddingloss")
def _cosine_embedding(op: Op) -> OpCost:
    """Three sums of products, 6 an element but for 3; each row: ε added twice, product, root and division; 1 − cos;
    cos − margin and 0 the least; either chosen by the target (two comparisons, two choices), their sum, the mean: 14.
    """
    x = op.inputs[0]
    return OpCost(6 * numel(x) + 11 * numel(x[:-1]))


@prices_functions("tripletmarginloss", "tripletmarginwithdistanceloss")
def _triplet(op: Op) -> OpCost | None:
    """Two distances (3 an element, as ``pairwise_distance``), and for each row their difference, the margin, 0 the
    least, and the mean. With ``swap`` a third distance, and the lesser one.
    """
    if op.detail is None:
        return None
    x, third = op.inputs[0], op.detail == "swap"
    return OpCost((9 if third else 6) * numel(x) + (5 if third else 4) * numel(x[:-1]))


@prices_functions("multimarginloss")
def _multi_margin(op: Op) -> OpCost:
    """Each class but the target: margin − x_y + x_j, 0 the least, summed: 4, but for a sum; a division, the mean: 2."""
    x = op.inputs[0]
    rows = numel(x[:-1])
    return OpCost(4 * (numel(x) - rows) + rows)


@prices_functions("multilabelsoftmarginloss")
def _soft_margin_of_labels(op: Op) -> OpCost:
    """Two LogSigmoids (4), one of −x; 1 − y, two products, a sum, its sign, the mean over labels; that over rows."""
    x = op.inputs[0]
    return OpCost(15 * numel(x) + numel(x[:-1]))


@prices_functions("multilabelmarginloss")
def _multi_label_margin(op: Op) -> OpCost:
    """1 − x_y + x_j, 0 the least, summed: 4 for each pair of a target and another class, C²/4 of C classes at most."""
    x = op.inputs[0]
    return OpCost(numel(x) * size(x[-1]) + 2 * numel(x[:-1]))
