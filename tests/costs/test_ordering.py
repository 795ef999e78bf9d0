"""Prices of what sorts, searches and counts: each beside what it costs by hand."""

import math

import pytest
import torch

from tests.costs.counting import counted, flops, r

CASES = {
    # 3 rows of 8: log2(8) comparisons and one with NaN for each value; 7 for each of 3 results
    "quantile": (lambda x: torch.quantile(x, 0.5, dim=-1), [r(3, 8)], 24 * (3 + 1) + 7 * 3),
    "quantiles of all": (lambda x: torch.quantile(x, torch.tensor([0.1, 0.9])), [r(2, 4)], 8 * (3 + 1) + 7 * 2),
    "nanquantile": (lambda x: torch.nanquantile(x, 0.5, dim=0), [r(8, 3)], 24 * (3 + 1) + 7 * 3),
    # 16 values: 4 comparisons each to sort them, one with the value before
    "unique": (torch.unique, [r(2, 8)], 16 * (4 + 1)),
    # 4 columns of 3 values, sorted by comparing whole columns: 2 for each
    "unique columns": (lambda x: torch.unique(x, dim=1), [r(3, 4)], 12 * (2 + 1)),
    "unique beside the last": (torch.unique_consecutive, [r(8)], 8),
    "is in few": (torch.isin, [r(6), r(3)], 6 * 3),
    # 4 values in 60: all 64 are sorted, and each is compared with the next
    "is in many": (torch.isin, [r(4), r(60)], 64 * (6 + 1)),
    "histogram": (lambda x: torch.histogram(x, 5).hist, [r(12)], 12 * (3 + 1)),
    # 7 edges: three halvings tell the 8 places apart
    "histogram by edges": (lambda x, e: torch.histogram(x, e).hist, [r(12), torch.arange(7.0)], 12 * (3 + 1)),
    "msort": (torch.msort, [r(8, 3)], 24 * 3),
    "segments": (lambda x: torch.segment_reduce(x, "sum", lengths=torch.tensor([1, 2])), [r(3, 4)], 12),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name):
    function, inputs, expected = CASES[name]
    assert flops(function, *inputs) == expected


def covariance(rows, correlation=False):
    means = []
    for row in rows:
        total = row[0]
        for x in row[1:]:
            total = total + x
        means.append(total / len(row))
    centred = [[x - mean for x in row] for row, mean in zip(rows, means, strict=True)]
    table = []
    for a in centred:
        table.append([])
        for b in centred:
            products = [x * y for x, y in zip(a, b, strict=True)]
            total = products[0]
            for product in products[1:]:
                total = total + product
            table[-1].append(total / (len(a) - 1))
    if correlation:
        deviations = [table[i][i].sqrt() for i in range(len(table))]
        table = [[x / deviations[i] / deviations[j] for j, x in enumerate(row)] for i, row in enumerate(table)]
    return table


@pytest.mark.parametrize("correlation", [False, True])
def test_covariance(correlation):
    x = r(3, 8)
    table, done = counted(covariance, x, correlation)
    function = torch.corrcoef if correlation else torch.cov
    torch.testing.assert_close(torch.tensor([[v.value for v in row] for row in table]), function(x))
    sums = 9  # of m products there are m − 1 sums; the price says m
    assert flops(function, x) == done + sums


def test_sorting_is_counted_by_comparisons():
    """Merging runs of 1, 2, 4, … values: each value takes part in one comparison of each round at most."""
    values, compared = torch.randperm(64).tolist(), 0
    runs = [[v] for v in values]
    while len(runs) > 1:
        merged = []
        for a, b in zip(runs[::2], runs[1::2], strict=True):
            run = []
            while a and b:
                compared += 1
                run.append((a if a[0] < b[0] else b).pop(0))
            merged.append(run + a + b)
        runs = merged
    price = flops(lambda x: x.sort().values, torch.tensor(values, dtype=torch.float))
    assert price == 64 * math.log2(64)
    assert 0.7 * price < compared <= price
