"""Every notebook runs from start to end in a fresh kernel, and is committed without what it printed."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST_CELL_S = 600


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_are_three() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


def test_outputs_are_stripped(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for number, cell in enumerate(notebook.cells, start=1):
        left = cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None)
        assert not left, f"{path.name}, cell {number}: clear all outputs before you commit"


def test_links(path: Path) -> None:
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)\s#]+)", text) if not link.startswith("https://")]
    assert links
    missing = [link for link in links if not (FOLDER / link).exists()]
    assert not missing, f"linked, but absent: {missing}"


def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A notebook asserts of its own results what matters. It and its kernel write into this folder.
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    before = sorted(FOLDER.rglob("*"))
    NotebookClient(notebook, timeout=LONGEST_CELL_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))
    assert sorted(FOLDER.rglob("*")) == before, "left something behind in notebooks/"
