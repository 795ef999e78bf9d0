"""One table: its CSV and its columns."""

import csv
import io

import pytest

from dyn_lightning.report.table import Column, Table, of_columns_used
from dyn_lightning.runs.statistics import summarise


def test_csv_has_full_precision_and_the_parts_of_summaries():
    columns = [Column("name", "a name"), Column("eer", "EER (%)", ".1f", scale=10, summary=True)]
    table = Table("t", "caption", columns, [{"name": 'a "b", c', "eer": summarise([1.0, 2.5])}, {"name": "d"}])
    first, second = csv.DictReader(io.StringIO(table.csv()))
    assert list(first) == ["name", "eer", "eer_sd", "eer_low", "eer_high", "eer_n"]
    assert first["name"] == 'a "b", c'
    assert [float(first[k]) for k in ("eer", "eer_n")] == [1.75, 2]
    assert float(first["eer_sd"]) == pytest.approx(1.5 / 2**0.5)
    assert second == {"name": "d", **dict.fromkeys(list(first)[1:], "")}


@pytest.mark.parametrize("cell", ["=1+1", "+1 x", "-x", "@SUM(A1)", "\tx"])
def test_no_cell_and_no_head_is_a_formula(cell):
    table = Table("t", "caption", [Column("name", "a name"), Column(cell, "b")], [{"name": cell, cell: -1.5}])
    head, row = csv.reader(io.StringIO(table.csv()))
    assert (head, row) == (["name", f"'{cell}"], [f"'{cell}", "-1.5"])


def test_a_table_is_as_true_as_it_has_rows():
    columns = [Column("a", "A"), Column("b", "B")]
    assert not Table("t", "caption", columns)
    assert Table("t", "caption", columns, [{"a": 0}])


def test_columns_without_cells_are_left_out():
    columns = [Column("a", "A"), Column("b", "B"), Column("c", "C")]
    table = of_columns_used(Table("t", "caption", columns, [{"a": None, "b": 0}, {"b": None, "c": "x"}]))
    assert [column.key for column in table.columns] == ["b", "c"]
