"""A table: rows of values with the same keys, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dyn_lightning.files import csv_cell
from dyn_lightning.runs.statistics import Summary

Cell = str | int | float | Summary | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: of the cells, and in CSV.
        title: at its head.
        spec: how numbers are shown, e.g. ".2f", or "4" for four digits of the mean; empty for text.
        scale: by which they are divided for that; CSV has them as they are.
        summary: whether cells are means over seeds: CSV then has ``<key>_sd``, ``_low``, ``_high`` and ``_n`` too.
        interval: whether the page shows the interval.
    """

    key: str
    title: str
    spec: str = ""
    scale: float = 1.0
    summary: bool = False
    interval: bool = False


@dataclass(frozen=True)
class Table:
    """Rows with the same keys.

    Attributes:
        name: of the CSV file.
        caption: what it is of.
        columns: in order.
        rows: key → cell.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Cell]] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.rows)

    def csv(self) -> str:
        """Full precision; empty where nothing was measured."""
        heads: list[str] = []
        for column in self.columns:
            parts = ("", "_sd", "_low", "_high", "_n") if column.summary else ("",)
            heads += [column.key + part for part in parts]
        text = io.StringIO()
        writer = csv.DictWriter(text, heads, lineterminator="\n")
        writer.writerow({head: csv_cell(head) for head in heads})
        for row in self.rows:
            cells: dict[str, object] = {}
            for column in self.columns:
                cell = row.get(column.key)
                if isinstance(cell, Summary):
                    own = {"": cell.mean, "_sd": cell.sd, "_low": cell.low, "_high": cell.high, "_n": cell.n}
                    cells |= {column.key + part: value for part, value in own.items()}
                else:
                    cells[column.key] = cell
            writer.writerow({key: csv_cell(value) for key, value in cells.items()})
        return text.getvalue()


def of_columns_used(table: Table) -> Table:
    """Without columns in which no row has anything."""
    used = [c for c in table.columns if any(row.get(c.key) is not None for row in table.rows)]
    return replace(table, columns=used)
