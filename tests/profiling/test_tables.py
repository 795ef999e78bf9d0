"""A table that is too wide comes in parts: all cells are there, whole, under their layer."""

import io

from rich.console import Console
from rich.table import Table

from dyn_lightning.profiling.tables import parts_that_fit


def _table() -> Table:
    table = Table(title="network", show_footer=True)
    table.add_column("layer", footer="total")
    for i in range(6):
        table.add_column(f"column {i}", justify="right", footer=f"sum {i}")
    for layer in ("first.layer", "second.layer"):
        table.add_row(layer, *(f"{layer[0]}{i}{i}{i}{i}{i}{i}" for i in range(6)))
    return table


def _console(width: int) -> Console:
    return Console(width=width, file=io.StringIO())


def test_one_that_fits_stays_whole():
    table = _table()
    assert parts_that_fit(table, _console(200), (2, 2, 2)) == [table]


def test_groups_stay_together_and_nothing_is_cut():
    console = _console(50)
    parts = parts_that_fit(_table(), console, (2, 2, 2))
    assert [[c.header for c in p.columns] for p in parts] == [
        ["layer", f"column {i}", f"column {i + 1}"] for i in (0, 2, 4)
    ]
    assert [p.title for p in parts] == ["network", None, None]
    for part in parts:
        console.print(part)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 50
    assert "…" not in shown
    for cell in ("first.layer", "sum 5", *(f"{row}{str(i) * 6}" for row in "fs" for i in range(6))):
        assert cell in shown


def test_a_group_wider_than_the_console_stands_alone():
    assert len(parts_that_fit(_table(), _console(20), (2, 2, 2))) == 3
