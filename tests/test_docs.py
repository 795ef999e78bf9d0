"""What the Markdown files promise is there: snippets compile, imports resolve, targets and files exist."""

import ast
import doctest
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("experiments/**/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]


PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def python_blocks() -> list:
    return [
        pytest.param(block, id=f"{document.relative_to(ROOT)}-{number}")
        for document in DOCUMENTS
        for number, block in enumerate(PYTHON_BLOCK.findall(document.read_text()))
    ]


@pytest.mark.parametrize("block", python_blocks())
def test_python_block(block: str) -> None:
    if ">>>" in block:
        test = doctest.DocTestParser().get_doctest(block, {}, "block", None, 0)
        assert doctest.DocTestRunner().run(test).failed == 0
        return
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {missing}"


def test_the_quickstart_meets_its_budget() -> None:
    found: dict = {}
    exec(PYTHON_BLOCK.findall((ROOT / "README.md").read_text())[0], found)
    budget, report, complexity = found["budget"], found["report"], found["dynamic"].complexity
    assert 0.9 * budget.budget(complexity) < report.flops <= budget.budget(complexity)
    assert report.largest_difference < 1e-4
    assert found["loss"] < 0.1  # eight items by heart


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_promises(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    code = "\n".join(re.findall(r"`[^`\n]+`|^```[a-z]*\n.*?^```", text, re.M | re.S))
    named = {word for words in re.findall(r"\bmake((?: [a-z][a-z-]*)+)", code) for word in words.split()}
    assert named <= targets, f"no such make target: {sorted(named - targets)}"

    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [link for link in links if not link.startswith(("http://", "https://", "mailto:"))]
    missing = [link for link in local if not (document.parent / link).exists()]
    assert not missing, f"linked, but absent: {missing}"

    runs_own = {"config.yaml", "runs/csv/version_0/config.yaml"}
    yamls = set(re.findall(r"[\w./-]+\.ya?ml\b", text)) - runs_own
    places = (ROOT, ROOT / "configs", document.parent)
    absent = [name for name in yamls if not any((place / name).exists() for place in places)]
    assert not absent, f"named, but absent: {absent}"

    modules = re.findall(r"python -m ((?:dyn_lightning|experiments)[\w.]*)", text)
    unknown = [name for name in modules if importlib.util.find_spec(name) is None]
    assert not unknown, f"no such module: {unknown}"


def test_every_target_is_in_the_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split())
    assert phony == set(re.findall(r"^([a-z][a-z-]*):.*## \S", makefile, re.M))
