"""Cells as they are shown, and elements."""

import pytest

from dyn_lightning.report.markup import Markup, decimals, shown, tag
from dyn_lightning.report.table import Column
from dyn_lightning.runs.statistics import Summary


@pytest.mark.parametrize(
    ("cell", "column", "text"),
    [
        (None, Column("a", "a", ".2f"), "–"),
        ("x", Column("a", "a"), "x"),
        (3, Column("a", "a", "d"), "3"),
        (80.0, Column("a", "a", "d"), "80"),
        (Summary(1, 6.284), Column("a", "a", ".2f", summary=True), "6.28"),
        (Summary(3, 6.284, 0.3, 5.5, 7.0), Column("a", "a", ".2f", summary=True), "6.28 ± 0.30"),
        (
            Summary(3, 6.284, 0.3, 5.54, 7.03),
            Column("a", "a", ".2f", summary=True, interval=True),
            "6.28 ± 0.30 <small>[5.54, 7.03]</small>",
        ),
        # a cost that is the same with every seed, but for rounding
        (Summary(3, 23.91e6, 4e-9, 23.91e6, 23.91e6), Column("a", "a", "4", 1e6, summary=True), "23.91"),
        (Summary(3, 8.277e6, 7720.0, 8.2e6, 8.3e6), Column("a", "a", "4", 1e6, summary=True), "8.277 ± 0.008"),
        (Summary(3, 1234567.0, 10.0, 0.0, 1.0), Column("a", "a", ",.0f", summary=True), "1,234,567 ± 10"),
    ],
)
def test_cells(cell, column, text):
    assert shown(cell, column) == text


def test_decimals_never_cut_before_the_point():
    assert [decimals(v, 3) for v in (0.01234, 1.234, 12.34, 1234.0, -0.5, 0.0)] == [4, 2, 1, 0, 3, 2]


def test_everything_but_markup_is_escaped():
    assert tag("a", "<&>", Markup("<b>x</b>"), href='"><x>', aria_label="l", class_="c") == (
        '<a href="&quot;&gt;&lt;x&gt;" aria-label="l" class="c">&lt;&amp;&gt;<b>x</b></a>'
    )
