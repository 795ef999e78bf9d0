"""Cost of functions that multiply tensors by one another: matrix products of all kinds, einsum, distances, powers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, full_size, numel, prices_functions, size
from dyn_lightning.graph.equations import einsum_terms
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Axis, Op


@prices_functions("matmul", "bmm", "mm", "mv", "dot", "vdot", "inner", "linalgmatmul", "rmatmul")
def _matmul(op: Op) -> OpCost:
    """For each output a sum of as many products as the first tensor's last dimension has elements."""
    x = op.inputs[0]
    return OpCost(sum(op.product_and_sum) * numel(op.outputs[0]) * (size(x[-1]) if x else 1))


@prices_functions("linalgvecdot")
def _vecdot(op: Op) -> OpCost:
    return OpCost(sum(op.product_and_sum) * _broadcast(op))


@prices_functions("addmm", "addmv", "baddbmm")
def _addmm(op: Op) -> OpCost:
    """input + a · b, with a of (…, rows, sums)."""
    product, plus = op.product_and_sum
    return OpCost(numel(op.outputs[0]) * ((product + plus) * size(op.inputs[1][-1]) + plus))


@prices_functions("addbmm")
def _addbmm(op: Op) -> OpCost:
    """input + Σ a · b over the batch: every product is added to something."""
    product, plus = op.product_and_sum
    batch, _, sums = map(size, op.inputs[1])
    return OpCost(numel(op.outputs[0]) * (product + plus) * batch * sums + numel(op.outputs[0]) * plus)


@prices_functions("addr")
def _addr(op: Op) -> OpCost:
    return OpCost(numel(op.outputs[0]) * sum(op.product_and_sum))


@prices_functions("outer", "ger", "kron")
def _outer(op: Op) -> OpCost:
    return OpCost(numel(op.outputs[0]) * op.product_and_sum[0])


@prices_functions("addcmul", "addcdiv")
def _addcmul(op: Op) -> OpCost:
    """input + value · a · b, where a value is given."""
    product, plus = op.product_and_sum
    return OpCost(numel(op.outputs[0]) * (product + plus + bool(op.detail)))


@prices_functions("tensordot")
def _tensordot(op: Op) -> OpCost | None:
    """Inputs a and b, of which the dimensions of a in ``detail`` are summed over."""
    if op.detail is None:
        return None
    summed = numel([op.inputs[0][d] for d in op.detail])
    return OpCost(sum(op.product_and_sum) * numel(op.outputs[0]) * summed)


@prices_functions("groupedmm", "functionalgroupedmm", "groupedmmfallback")
def _grouped_mm(op: Op) -> OpCost:
    """Every row of the first tensor with its own group's matrix; two matrices: blocks of what both sum over."""
    a, b = op.inputs[:2]
    if len(a) == len(b) == 2:
        return OpCost(2 * numel(a) * size(b[-1]))
    return OpCost(2 * numel(op.outputs[0]) * size(a[-1]))


@prices_functions("linalgmultidot", "chainmatmul")
def _multi_dot(op: Op) -> OpCost:
    """In the order that needs the fewest products at full size, which is the one that torch takes."""
    shapes = list(op.inputs)
    first = shapes[0] if len(shapes[0]) == 2 else ((1,), *shapes[0])
    last = shapes[-1] if len(shapes[-1]) == 2 else (*shapes[-1], (1,))
    between: list[Axis] = [first[0], first[1], *(x[1] for x in shapes[1:-1])]
    between += [last[1]] if len(shapes) > 1 else []
    full = [full_size(axis) for axis in between]
    n = len(shapes)
    best = {(i, i): 0 for i in range(n)}
    cut: dict[tuple[int, int], int] = {}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length - 1
            costs = {k: best[i, k] + best[k + 1, j] + full[i] * full[k + 1] * full[j + 1] for k in range(i, j)}
            cut[i, j] = min(costs, key=lambda k: costs[k])
            best[i, j] = costs[cut[i, j]]

    def products(i: int, j: int) -> Polynomial:
        if i == j:
            return Polynomial({})
        k = cut[i, j]
        return products(i, k) + products(k + 1, j) + numel([between[i], between[k + 1], between[j + 1]])

    return OpCost(sum(op.product_and_sum) * products(0, n - 1))


@prices_functions("einsum")
def _einsum(op: Op) -> OpCost | None:
    """Two tensors at a time, from the left, as torch does without the package opt_einsum.

    A letter is summed over as soon as nothing further on has it. A pair costs a product for each combination of its
    letters, and a sum where one of them goes; what one tensor alone has is summed over before.
    """
    found = einsum_terms(op.detail, [len(x) for x in op.inputs]) if isinstance(op.detail, str) else None
    if found is None:
        return None
    terms, right = found
    sizes: dict[str, Polynomial] = {}
    widest: dict[str, int] = {}
    for term, x in zip(terms, op.inputs, strict=True):
        for letter, axis in zip(term, x, strict=True):
            if full_size(axis) >= widest.get(letter, 0):
                sizes[letter], widest[letter] = size(axis), full_size(axis)

    def combinations(letters: set[str]) -> Polynomial:
        return math.prod((sizes[letter] for letter in sorted(letters)), start=Polynomial.constant(1))

    product, plus = op.product_and_sum
    total, left = Polynomial({}), set(terms[0])
    for position, term in enumerate(terms[1:], 1):
        later = set(right).union(*terms[position + 1 :])
        both = left | set(term)
        total = total + combinations(both) * (product + plus * bool(both - later))
        left = both & later
    if len(terms) == 1 and left - set(right):
        total = combinations(left) * plus
    return OpCost(total)


@prices_functions("bilinear")
def _bilinear(op: Op) -> OpCost:
    """Inputs: x, y, the weight (out, in x, in y) and, maybe, a bias."""
    weight = op.inputs[2]
    return OpCost(bilinear_flops(op, size(weight[1]), size(weight[2]), len(op.inputs) > 3))


def bilinear_flops(op: Op, in1: Polynomial, in2: Polynomial, bias: bool) -> Polynomial:
    """For each output a sum of products with y for each of x's features, and one of x with these sums."""
    product, plus = op.product_and_sum
    return numel(op.outputs[0]) * ((product + plus) * (in1 * in2 + in1) + plus * bias)


@prices_functions("cdist")
def _cdist(op: Op) -> OpCost:
    """For each pair of rows a difference, a power and a sum an element, and a root: 3 an element in all.

    The sum has one term less than there are elements, which is the root's.
    """
    return OpCost(3 * numel(op.outputs[0]) * size(op.inputs[0][-1]))


@prices_functions("pairwisedistance", "dist")
def _pairwise(op: Op) -> OpCost:
    return OpCost(3 * _broadcast(op))


@prices_functions("pdist")
def _pdist(op: Op) -> OpCost:
    return OpCost(3 * numel(op.outputs[0]) * size(op.inputs[0][-1]))


@prices_functions("cosinesimilarity")
def _cosine(op: Op) -> OpCost:
    """Three sums of products an element (x·y, x·x, y·y); two roots, a product, and a division for each output."""
    return OpCost(6 * _broadcast(op) + 4 * numel(op.outputs[0]))


def _broadcast(op: Op) -> Polynomial:
    """Elements of what two tensors make together, before anything is summed."""
    a, b = op.inputs[:2]
    n = max(len(a), len(b))
    a, b = ((1,),) * (n - len(a)) + tuple(a), ((1,),) * (n - len(b)) + tuple(b)
    return numel([p if full_size(p) >= full_size(q) else q for p, q in zip(a, b, strict=True)])


@prices_functions("matrixpower", "linalgmatrixpower")
def _matrix_power(op: Op) -> OpCost | None:
    """By squares: a product for each bit of the exponent but the first, and one for each further bit that is set."""
    exponent = op.detail
    if exponent is None:
        return None
    count = max(0, exponent.bit_length() - 1) + max(0, bin(exponent).count("1") - 1)
    return OpCost(count * sum(op.product_and_sum) * numel(op.outputs[0]) * size(op.inputs[0][-1]))


@prices_functions("linalgvander")
def _vander(op: Op) -> OpCost:
    """Each power is the one before times the value."""
    columns = size(op.outputs[0][-1])
    return OpCost(numel(op.inputs[0]) * (columns - 1) * op.product_and_sum[0])
