"""Prices of decompositions: beside textbook algorithms on numbers that count, but for terms of n²."""

import pytest
import torch

from tests.costs.counting import Number, counted, flops, r, total

N, M = 16, 24
SQUARE = torch.randn(N, N, generator=torch.Generator().manual_seed(0))
TALL = torch.randn(M, N, generator=torch.Generator().manual_seed(1))
POSITIVE = SQUARE @ SQUARE.T + N * torch.eye(N)


def dot(a, b):
    return total([x * y for x, y in zip(a, b, strict=True)])


def cholesky(a):
    lower = [[Number(0)] * len(a) for _ in a]
    for i in range(len(a)):
        for j in range(i + 1):
            rest = a[i][j] - dot(lower[i][:j], lower[j][:j]) if j else a[i][j]
            lower[i][j] = rest.sqrt() if i == j else rest / lower[j][j]
    return lower


def lu(a):
    for k in range(len(a)):
        for i in range(k + 1, len(a)):
            a[i][k] = factor = a[i][k] / a[k][k]
            for j in range(k + 1, len(a)):
                a[i][j] = a[i][j] - factor * a[k][j]
    return a


def solve_lower(a, b):
    x = []
    for i, row in enumerate(a):
        x.append((b[i] - dot(row[:i], x) if i else b[i]) / row[i])
    return x


def reflector(x):
    """Householder's v and β, that x − β·v·(v·x) has its first entry alone."""
    length = dot(x, x).sqrt()
    v = [x[0] + length if x[0].value > 0 else x[0] - length, *x[1:]]
    return v, Number(2.0) / dot(v, v)


def reflect_rows(a, v, beta, rows, columns):
    for j in columns:
        s = beta * dot(v, [a[i][j] for i in rows])
        for i, vi in zip(rows, v, strict=True):
            a[i][j] = a[i][j] - s * vi


def reflect_columns(a, v, beta, rows, columns):
    for i in rows:
        s = beta * dot(v, [a[i][j] for j in columns])
        for j, vj in zip(columns, v, strict=True):
            a[i][j] = a[i][j] - s * vj


def triangle(a):
    kept = []
    for k in range(len(a[0])):
        v, beta = reflector([a[i][k] for i in range(k, len(a))])
        reflect_rows(a, v, beta, range(k, len(a)), range(k, len(a[0])))
        kept.append((v, beta))
    return kept


def columns_of_q(kept, rows, columns):
    q = [[Number(i == j) for j in range(columns)] for i in range(rows)]
    for k, (v, beta) in reversed(list(enumerate(kept))):
        reflect_rows(q, v, beta, range(k, rows), range(k, columns))
    return q


def qr(columns):
    return lambda a: columns_of_q(triangle(a), len(a), columns)


def bidiagonal(a):
    m, n = len(a), len(a[0])
    for k in range(n):
        v, beta = reflector([a[i][k] for i in range(k, m)])
        reflect_rows(a, v, beta, range(k, m), range(k, n))
        if k < n - 2:
            v, beta = reflector(a[k][k + 1 :])
            reflect_columns(a, v, beta, range(k, m), range(k + 1, n))


def tridiagonal(a):
    """Of a symmetric matrix: one half of it is worked out (Golub and Van Loan, 8.3.1)."""
    n = len(a)
    for k in range(n - 2):
        v, beta = reflector([a[i][k] for i in range(k + 1, n)])
        rest = range(k + 1, n)
        p = [beta * dot([a[i][j] for j in rest], v) for i in rest]
        half = beta * dot(p, v) / 2
        w = [x - half * y for x, y in zip(p, v, strict=True)]
        for i in range(len(v)):
            for j in range(i + 1):
                a[k + 1 + i][k + 1 + j] = a[k + 1 + i][k + 1 + j] - (v[i] * w[j] + w[i] * v[j])
                a[k + 1 + j][k + 1 + i] = a[k + 1 + i][k + 1 + j]


COUNTED = {
    "cholesky": (torch.linalg.cholesky, cholesky, POSITIVE),
    "lu": (torch.linalg.lu, lu, SQUARE),
    "det": (torch.linalg.det, lu, SQUARE),
    "triangle alone": (lambda a: torch.linalg.qr(a, "r").R, triangle, TALL),
    "qr": (torch.linalg.qr, qr(N), TALL),
    "qr of a wide one": (lambda a: torch.linalg.qr(a.mT), qr(N), TALL),
    "complete qr": (lambda a: torch.linalg.qr(a, mode="complete"), qr(M), TALL),
    "torch.qr": (lambda a: torch.qr(a, some=False), qr(M), TALL),
    "svdvals": (torch.linalg.svdvals, bidiagonal, TALL),
    "nuclear norm": (lambda a: torch.linalg.matrix_norm(a, "nuc"), bidiagonal, TALL),
    "spectral norm": (lambda a: torch.linalg.norm(a, 2), bidiagonal, TALL),
    "rank": (torch.linalg.matrix_rank, bidiagonal, TALL),
    "cond": (torch.linalg.cond, bidiagonal, SQUARE),
    "eigvalsh": (torch.linalg.eigvalsh, tridiagonal, POSITIVE),
}


@pytest.mark.filterwarnings("ignore:torch.qr")
@pytest.mark.parametrize("name", COUNTED)
def test_beside_the_algorithm(name):
    function, algorithm, given = COUNTED[name]
    _, done = counted(algorithm, given)
    assert flops(function, given) == pytest.approx(done, abs=8 * N * M)  # and thousands of n³


def test_right_hand_sides():
    b, one = torch.randn(N, 5), torch.randn(N)
    _, one_triangle = counted(solve_lower, POSITIVE, one)  # n² to the last operation
    assert one_triangle == N * N
    half, cubes = POSITIVE.tril(), N**3
    assert flops(lambda a, b: torch.linalg.solve_triangular(a, b, upper=False), half, b) == 5 * N * N
    assert flops(lambda a, b: torch.triangular_solve(b, a, upper=False).solution, half, b) == 5 * N * N
    assert flops(lambda a, b: torch.cholesky_solve(b, a), half, b) == 2 * 5 * N * N
    assert flops(torch.cholesky_inverse, half) == pytest.approx(2 * cubes / 3)
    assert flops(torch.linalg.solve, POSITIVE, b) == pytest.approx(2 * cubes / 3 + 2 * 5 * N * N)
    assert flops(torch.linalg.solve, POSITIVE, one) == pytest.approx(2 * cubes / 3 + 2 * N * N)
    pivots = torch.arange(1, N + 1, dtype=torch.int32)
    assert flops(lambda a, b: torch.linalg.lu_solve(a, pivots, b), SQUARE, b) == 2 * 5 * N * N
    assert flops(lambda a, b: torch.lu_solve(b, a, pivots), SQUARE, b) == 2 * 5 * N * N
    # Reflections of each right-hand side: 4 for each entry below the diagonal and on it; then a triangle.
    below = sum(M - k for k in range(N))
    _, made = counted(triangle, TALL)
    expected = made + 5 * (4 * below + N * N)
    found = flops(lambda a, b: torch.linalg.lstsq(a, b).solution, TALL, r(M, 5))
    assert found == pytest.approx(expected, abs=6 * N * M)


def test_what_repeats_until_it_converges():
    """Two steps for each value, on what is left of the matrix: n²/2 places on average, n³/3 squares."""
    cubes, places = N**3, N * N  # two steps × n²/2
    # Symmetric: 4n³/3 to three diagonals, 4n³/3 for the vectors so far, a rotation (6 a row) at each place.
    assert flops(torch.linalg.eigh, POSITIVE) == pytest.approx(8 * cubes / 3 + 6 * N * places, rel=0.05)
    # Others: 10n³/3 to Hessenberg's form, double steps of 10k² on k rows that are left.
    assert flops(torch.linalg.eigvals, SQUARE) == pytest.approx(10 * cubes / 3 + 2 * 10 * cubes / 3, rel=0.05)
    # With vectors 4n³/3 more, and 10 a row at each place, of the matrix and of the vectors.
    assert flops(torch.linalg.eig, SQUARE) == pytest.approx(14 * cubes / 3 + 2 * 10 * N * places, rel=0.05)
    # Singular values: two diagonals, both sides' vectors so far, a rotation of each side at each place. The book
    # counts more steps: a quarter or less in all.
    two_diagonals, right = 4 * M * N * N - 4 * cubes / 3, 4 * cubes / 3
    for full in (False, True):
        left = 4 * (M * M * N - M * N * N + cubes / 3) if full else 2 * M * N * N - 2 * cubes / 3
        expected = two_diagonals + right + left + 6 * (M + N) * places
        found = flops(lambda a: torch.linalg.svd(a, full_matrices=full)[0], TALL)  # noqa: B023
        assert expected < found < 1.3 * expected
        assert flops(lambda a: torch.svd(a, some=not full)[0], TALL) == found  # noqa: B023
    assert flops(lambda a: torch.svd(a, compute_uv=False)[1], TALL) == pytest.approx(two_diagonals)
    thin = flops(lambda a: torch.linalg.svd(a, full_matrices=False)[0], TALL)
    assert flops(torch.linalg.pinv, TALL) == thin + N * N + 2 * M * N * N


def test_a_batch_costs_as_many_times():
    many = torch.randn(3, 2, M, N)
    assert flops(torch.linalg.qr, many) == pytest.approx(6 * flops(torch.linalg.qr, TALL))
    assert flops(torch.linalg.svdvals, many) == pytest.approx(6 * flops(torch.linalg.svdvals, TALL))
