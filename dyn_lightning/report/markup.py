"""Pieces of the page: text that is escaped, tables, figures."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

from dyn_lightning.report.charts import Chart
from dyn_lightning.report.svg import svg_of
from dyn_lightning.report.table import Cell, Column, Table
from dyn_lightning.runs.statistics import Summary


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, *children: str | Markup, **attributes: str) -> Markup:
    """An element; children and attributes are escaped unless they are :class:`Markup`.

    ``class_`` is the attribute ``class``; other underscores are hyphens.

    >>> tag("p", "a < b", tag("b", "c"), class_="x")
    '<p class="x">a &lt; b<b>c</b></p>'
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    inner = "".join(child if isinstance(child, Markup) else html.escape(child) for child in children)
    return Markup(f"<{name}{given}>{inner}</{name}>")


def joined(pieces: Iterable[Markup]) -> Markup:
    """Pieces one after the other, a line each."""
    return Markup("\n".join(pieces))


def shown(cell: Cell, column: Column) -> str | Markup:
    """A cell's text; a dash where there is nothing."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    mean = (cell.mean if isinstance(cell, Summary) else cell) / column.scale
    spec = f",.{decimals(mean, int(column.spec))}f" if column.spec.isdecimal() else column.spec
    text = f"{int(mean) if spec.endswith('d') else mean:{spec}}"
    if not isinstance(cell, Summary) or cell.sd is None or cell.low is None or cell.high is None:
        return text
    low, high, spread = (f"{value / column.scale:{spec}}" for value in (cell.low, cell.high, cell.sd))
    if column.interval:
        return Markup(f"{html.escape(f'{text} ± {spread}')} {tag('small', f'[{low}, {high}]')}")
    return text if not spread.strip("0.") else f"{text} ± {spread}"


def decimals(value: float, digits: int) -> int:
    """Decimals that show a number with some digits: none above the decimal point are cut.

    >>> [decimals(v, 4) for v in (0.5, 8.25, 85.3, 12345.0, 0.0)]
    [4, 3, 2, 0, 3]
    """
    return max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))


def table_markup(table: Table, csv_name: str) -> Markup:
    """A table in a container of its own, which scrolls where it is too narrow, with the link to its CSV."""
    head = tag("tr", *(tag("th", c.title, scope="col", class_=_kind(c)) for c in table.columns))
    first, *others = table.columns
    body = joined(
        tag(
            "tr",
            tag("th", shown(row.get(first.key), first), scope="row", class_=_kind(first)),
            *(tag("td", shown(row.get(c.key), c), class_=_kind(c)) for c in others),
        )
        for row in table.rows
    )
    caption = tag("p", table.caption, " ", tag("a", "CSV", href=csv_name, download=""), class_="caption")
    content = tag("table", tag("thead", head), tag("tbody", body))
    scroller = tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=table.caption)
    return tag("div", caption, scroller, class_="table")


def _kind(column: Column) -> str:
    return "n" if column.spec else "t"


def chart_markup(chart: Chart, number: int) -> Markup:
    """A figure with its caption."""
    drawing = Markup(svg_of(chart.figure, number, chart.title, chart.caption, chart.tips))
    caption = tag("figcaption", tag("b", f"Figure {number}."), " ", chart.caption)
    return tag("figure", drawing, caption, class_="chart")


def details(summary: str, *children: str | Markup, opened: bool = False) -> Markup:
    """What is folded away under a line."""
    attributes = {"open": ""} if opened else {}
    return tag("details", tag("summary", summary), *children, **attributes)


def section(title: str, anchor: str, *children: Markup, level: int = 2) -> Markup:
    """A part of the page with its heading."""
    return tag("section", tag(f"h{level}", title, id=anchor), joined(children))
