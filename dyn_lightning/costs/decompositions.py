"""Cost of decompositions of matrices, and of equations solved with them: multiples of n³.

Counts are those of Golub and Van Loan, Matrix Computations, 4th edition (sections 3.1, 4.2, 5.2, 7.5, 8.3, 8.6); terms
of n² are left out, and what repeats until it converges counts as often as it usually has to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dyn_lightning.costs.base import OpCost, full_size, numel, prices_functions, size
from dyn_lightning.graph.polynomial import Polynomial

if TYPE_CHECKING:
    from dyn_lightning.graph import Op


def _matrices(op: Op, which: int = 0) -> tuple[Polynomial, Polynomial, Polynomial]:
    """How many matrices an input has, their longer side m and their shorter side n, by their full sizes."""
    x = op.inputs[which]
    rows, columns = x[-2:]
    m, n = (rows, columns) if full_size(rows) >= full_size(columns) else (columns, rows)
    return numel(x[:-2]), size(m), size(n)


def _right_hand_sides(op: Op, of: int, b: int) -> Polynomial:
    """Vectors to solve for: the columns of input ``b``, or one for each matrix where it has no dimension of columns."""
    vectors = len(op.inputs[b]) < len(op.inputs[of])
    return numel(op.inputs[of][:-2]) * (1 if vectors else size(op.inputs[b][-1]))


def _cubic(thirds: int) -> Callable[[Op], OpCost]:
    """So many thirds of n³ for each square matrix."""
    return lambda op: OpCost(thirds * numel(op.inputs[0]) * size(op.inputs[0][-1]) / 3)


# Square matrices: Cholesky n³/3; LU and what is read off it, and an inverse out of Cholesky's factor, 2n³/3; inverse
# 2n³; eigenvalues of symmetric matrices 4n³/3, with vectors 9n³; of others 10n³ and 25n³. Values that are complex for
# real matrices need no complex numbers until the end.
prices_functions("cholesky", "linalgcholesky", "linalgcholeskyex")(_cubic(1))
prices_functions(
    "linalglu", "linalglufactor", "linalglufactorex", "lu", "linalgdet", "det", "logdet", "slogdet", "linalgslogdet",
    "choleskyinverse",
)(_cubic(2))  # fmt: skip
prices_functions("linalgeigvalsh")(_cubic(4))
prices_functions("inverse", "linalginv", "linalginvex")(_cubic(6))
prices_functions("linalgeigh")(_cubic(27))
prices_functions("linalgeigvals")(_cubic(30))
prices_functions("linalgeig")(_cubic(75))


@prices_functions("linalgsolve", "linalgsolveex")
def _solve(op: Op) -> OpCost:
    """LU of A, 2n³/3, and 2n² for each right-hand side."""
    lu = _cubic(2)(op).flops_full
    n = size(op.inputs[0][-1])
    return OpCost(lu + 2 * n * n * _right_hand_sides(op, 0, 1))


@prices_functions("linalgsolvetriangular")
def _solve_triangular(op: Op) -> OpCost:
    n = size(op.inputs[0][-1])
    return OpCost(n * n * _right_hand_sides(op, 0, 1))


@prices_functions("triangularsolve", "choleskysolve")
def _solve_given_second(op: Op) -> OpCost:
    """Inputs: right-hand sides, and a triangle, which Cholesky's factor is twice."""
    n, times = size(op.inputs[1][-1]), 2 if op.kind == "cholesky_solve" else 1
    return OpCost(times * n * n * _right_hand_sides(op, 1, 0))


@prices_functions("linalglusolve", "lusolve")
def _lu_solve(op: Op) -> OpCost:
    """Two triangles for each right-hand side; ``torch.lu_solve`` takes these first."""
    of, b = (1, 0) if op.kind == "lu_solve" else (0, 2)
    n = size(op.inputs[of][-1])
    return OpCost(2 * n * n * _right_hand_sides(op, of, b))


def _triangle(m: Polynomial, n: Polynomial) -> Polynomial:
    """Reflections that bring a matrix of m × n into triangular form, 2n²(m − n/3)."""
    return 2 * m * n * n - 2 * n * n * n / 3


@prices_functions("linalgqr", "qr", "geqrf", "linalghouseholderproduct", "orgqr")
def _qr(op: Op) -> OpCost | None:
    """Reflections, and as much again for n columns of Q; all m columns of it are 4(m²n − mn² + n³/3)."""
    many, m, n = _matrices(op)
    if op.kind not in ("linalg_qr", "qr") or op.detail == "r":
        return OpCost(many * _triangle(m, n))
    if op.detail == "reduced":
        return OpCost(2 * many * _triangle(m, n))
    if op.detail == "complete":
        return OpCost(many * (_triangle(m, n) + 4 * m * m * n - 4 * m * n * n + 4 * n * n * n / 3))
    return None


def singular_values(op: Op) -> Polynomial:
    """Reflections from both sides: 4mn² − 4n³/3."""
    many, m, n = _matrices(op)
    return 2 * many * _triangle(m, n)


@prices_functions("linalgsvdvals", "linalgcond", "linalgmatrixrank", "nuclearnorm")
def _singular_values(op: Op) -> OpCost:
    return OpCost(singular_values(op))


@prices_functions("linalgmatrixnorm", "linalgnorm")
def _matrix_norm(op: Op) -> OpCost:
    """A product or comparison and a sum for each element, or singular values where the norm is one of those."""
    return OpCost(singular_values(op) if op.detail else 2 * numel(op.inputs[0]))


@prices_functions("linalgsvd", "svd")
def _svd(op: Op) -> OpCost | None:
    """With n columns of either side 14mn² + 8n³; with all m of the longer one 4m²n + 8mn² + 9n³."""
    many, m, n = _matrices(op)
    if op.detail == "values":
        return OpCost(singular_values(op))
    if op.detail == "reduced":
        return OpCost(many * (14 * m * n * n + 8 * n * n * n))
    return OpCost(many * (4 * m * m * n + 8 * m * n * n + 9 * n * n * n)) if op.detail == "complete" else None


@prices_functions("linalgpinv", "pinverse")
def _pseudo_inverse(op: Op) -> OpCost:
    """A singular value decomposition, V scaled, and its product with U."""
    many, m, n = _matrices(op)
    return OpCost(many * (14 * m * n * n + 8 * n * n * n + n * n + 2 * m * n * n))


@prices_functions("linalglstsq")
def _least_squares(op: Op) -> OpCost:
    """A triangle, and for each right-hand side its n reflections, 4mn − 2n², and the triangle solved, n²."""
    many, m, n = _matrices(op)
    return OpCost(many * _triangle(m, n) + (4 * m * n - n * n) * _right_hand_sides(op, 0, 1))
