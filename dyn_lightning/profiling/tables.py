"""Tables that fit a terminal: one too wide is printed in parts below each other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

_BORDER = 3
"""Characters that a column takes beside its text: a space on either side and a line."""


def parts_that_fit(table: Table, console: Console, groups: Sequence[int]) -> list[Table]:
    """A table, or where a console is too narrow for it several, each with the first column and some of the others.

    Args:
        table: with rows.
        console: that it is for.
        groups: numbers of columns after the first that stay together, in order, such as a value and what is kept of it.

    Returns:
        The table itself if it fits; else its parts, each with as many groups as fit, and one at least.
    """
    widths = [
        _BORDER + max(console.measure(cell).maximum for cell in _cells(table, i)) for i in range(len(table.columns))
    ]
    if 1 + sum(widths) <= console.width:
        return [table]
    parts: list[list[int]] = []
    start = 1
    for size in groups:
        group = list(range(start, start + size))
        start += size
        if parts and 1 + widths[0] + sum(widths[i] for i in (*parts[-1], *group)) <= console.width:
            parts[-1] += group
        else:
            parts.append(group)
    return [_with_columns(table, [0, *part], with_title=n == 0) for n, part in enumerate(parts)]


def _cells(table: Table, column: int) -> list[str]:
    found = table.columns[column]
    lines = [line for cell in found.cells for line in str(cell).splitlines()]
    return [str(found.header), *([str(found.footer)] if table.show_footer else []), *lines]


def _with_columns(table: Table, columns: Sequence[int], *, with_title: bool) -> Table:
    part = Table(title=table.title if with_title else None, show_footer=table.show_footer)
    for i in columns:
        old = table.columns[i]
        part.add_column(old.header, footer=old.footer, justify=old.justify, overflow=old.overflow)
    cells = [list(table.columns[i].cells) for i in columns]
    for row in zip(*cells, strict=True):
        part.add_row(*row)
    return part
