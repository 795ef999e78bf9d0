"""A package of an extra that is missing ends in one line; none calls home."""

import builtins
import re
import sys
from pathlib import Path

import pytest

from dyn_lightning.errors import in_one_line
from dyn_lightning.optional import EXTRAS, missing, require

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript", "huggingface_hub"])
def test_a_missing_package_names_its_extra(package, monkeypatch):
    without(monkeypatch, package)
    with pytest.raises(SystemExit, match=rf"^{package} is not installed\. .* pip install 'dyn_lightning\[\w+\]'$"):
        in_one_line(lambda: require(package))


def test_an_export_without_the_extra_is_one_line(tmp_path, monkeypatch):
    import torch

    from dyn_lightning.exports.export import ExportError, export_onnx

    without(monkeypatch, "onnxruntime")
    with pytest.raises(ExportError, match=re.escape("pip install 'dyn_lightning[export]'")):
        export_onnx(torch.nn.Linear(2, 2), torch.zeros(1, 2), tmp_path / "x.onnx")


def test_every_package_is_in_the_extra_that_is_named():
    text = PYPROJECT.read_text()
    for package, extra in EXTRAS.items():
        found = re.search(rf"^{extra} = \[(.*?)\]\n", text, re.M | re.S)[1]
        distribution = {"sklearn": "scikit-learn"}.get(package, package.replace("_", "[-_]"))
        assert re.search(rf'"{distribution}\b', found), package


def test_other_missing_modules_are_no_extras():
    with pytest.raises(ModuleNotFoundError) as caught:
        builtins.__import__("a_module_of_nobody")
    assert missing(caught.value) is None
    with pytest.raises(ModuleNotFoundError):
        require("a_module_of_nobody")
