"""Every table that is committed is that of the runs beside it."""

import shutil
from importlib import import_module
from pathlib import Path

import pytest

import experiments
from experiments.filter_bank import estimators

HERE = Path(experiments.__path__[0])
STUDIES = sorted(path.parent.name for path in HERE.glob("*/results.jsonl"))


@pytest.mark.parametrize("study", STUDIES)
def test_committed_tables_are_those_of_the_committed_runs(study: str, tmp_path: Path) -> None:
    for beside in (HERE / study).glob("*.json"):
        shutil.copy(beside, tmp_path)
    import_module(f"experiments.{study}.table").write_tables(HERE / study / "results.jsonl", tmp_path)
    assert (tmp_path / "results.md").read_text() == (HERE / study / "results.md").read_text(), "give make tables"


def test_the_table_of_estimators_needs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("gradients.jsonl", "estimators.jsonl", "estimators.md"):
        shutil.copy(HERE / "filter_bank" / file, tmp_path)
    before = (tmp_path / "estimators.md").read_text()
    (tmp_path / "estimators.md").unlink()
    monkeypatch.setattr(estimators, "HERE", tmp_path)
    estimators.main(["--tables_only"])
    assert (tmp_path / "estimators.md").read_text() == before
