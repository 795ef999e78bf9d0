"""What docs/extend.md shows runs as it stands, from outside the package."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from dyn_lightning import consolidate, dynamize
from dyn_lightning.artifact import load_artifact, save_artifact
from dyn_lightning.costs.base import MODULES
from dyn_lightning.errors import SettingError
from dyn_lightning.graph.declared import LAYERS
from dyn_lightning.layers import DYNAMIC_LAYERS, DynamicLayer
from dyn_lightning.modules.kinds import KINDS, build_layer, describe_layer

DOC = Path(__file__).parents[1] / "docs/extend.md"


def example(title: str) -> str:
    """The first Python block of a section."""
    section = DOC.read_text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    return section.split("```python\n", 1)[1].split("```", 1)[0]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The example as a user's file, imported once: a layer is declared once. It is forgotten behind these tests."""
    tables: list[Any] = [LAYERS, MODULES, DYNAMIC_LAYERS, KINDS]
    before = [(dict(table._entries), dict(table._by)) for table in tables]
    path = tmp_path_factory.mktemp("own") / "own_layer.py"
    path.write_text(example("A layer"))
    spec = importlib.util.spec_from_file_location("own_layer", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["own_layer"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["own_layer"]
    for table, (entries, by) in zip(tables, before, strict=True):
        table._entries, table._by = entries, by


class Net(nn.Module):
    def __init__(self, gated: Any) -> None:
        super().__init__()
        self.first, self.norm, self.middle, self.last = nn.Linear(3, 10), nn.LayerNorm(10), gated, nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.norm(self.first(x))))


def test_the_layer_takes_forty_lines_at_most(own: ModuleType) -> None:
    lines = [line for line in example("A layer").splitlines() if line.strip()]
    assert len(lines) <= 40


def test_a_layer_from_outside_is_learned_counted_and_consolidated(own: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Net(own.Gated(10, 8)).eval(), torch.randn(5, 3)
    dynamic = dynamize(net, x)
    assert {name: w.full_size for name, w in dynamic.widths.items()} == {"first": 10, "middle": 8}
    torch.testing.assert_close(dynamic.eval()(x), net(x), rtol=0, atol=1e-6)
    row = next(row for row in dynamic.complexity.rows if row.name == "middle")
    sizes = {"first": 6, "middle": 5}
    # For each of 5 rows and each output two sums of n products, a sigmoid (3) and a product.
    assert row.kind == "Gated"
    assert row.role == "DCL+ACL"
    assert row.flops["full"].at(sizes) == 5 * 5 * (2 * 2 * 6 + 3 + 1)
    assert row.params.at(sizes) == 2 * 6 * 5
    dynamic.train()
    for width in dynamic.widths.values():
        width.set_lam(0.55)
    dynamic(x).square().sum().backward()
    assert all(w.theta.grad is not None and w.theta.grad != 0 for w in dynamic.widths.values())
    small, report = consolidate(dynamic.eval(), [x])
    layer: Any = small.middle
    assert type(layer) is own.Gated
    assert (layer.in_size, layer.out_size) == (dynamic.widths["first"].size, dynamic.widths["middle"].size) != (10, 8)
    assert layer.value.shape == layer.gate.shape == (layer.out_size, layer.in_size)
    assert report.largest_difference is not None
    assert report.largest_difference < 1e-6
    assert report.parameters == sum(p.numel() for p in small.parameters())
    again = build_layer(json.loads(json.dumps(describe_layer(layer))))
    assert type(again) is own.Gated
    folder = save_artifact(small, tmp_path / "small", metadata={})
    loaded, _ = load_artifact(folder, backbone=Net(own.Gated(10, 8)))
    assert torch.equal(loaded(x), small.eval()(x))


def test_a_layer_is_declared_once(own: ModuleType) -> None:
    with pytest.raises(SettingError, match=r"Gated has a rule already, by own_layer\.DynamicGated: it cannot have two"):
        type("Other", (DynamicLayer, own.Gated), {"plain_class": own.Gated})
    assert DYNAMIC_LAYERS[own.Gated] is own.DynamicGated


def test_what_is_not_declared_is_named(own: ModuleType) -> None:
    with pytest.raises(SettingError, match="Gated has no size width: its sizes are in_width, out_width"):
        own.DynamicGated.from_plain(own.Gated(3, 4), width=None)
    with pytest.raises(SettingError, match="Dropout has no dynamic form"):
        DYNAMIC_LAYERS[nn.Dropout]


WRONG = {
    "an attribute": ({"sizes": {"depth": "in_width"}}, "Wrong.sizes: there is no attribute depth"),
    "a size": ({"trace": staticmethod(lambda c: c.bind(inside=c.inputs[0][-1]))}, "Wrong has no size inside"),
    "not bound": ({"trace": staticmethod(lambda c: [c.bind()])}, "Wrong.trace has to bind in_width"),
    "dimensions": ({"tensors": {"value": ("out_width",)}}, "Wrong.tensors: value has 2 dimensions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_an_error_not_a_size_kept_whole(own: ModuleType, name: str) -> None:
    plain = type("Wrong", (own.Gated,), {})
    given, message = WRONG[name]
    type("DynamicWrong", (own.DynamicGated,), {"plain_class": plain, "described": False, **given})
    with pytest.raises(SettingError, match=message):
        dynamize(Net(plain(10, 8)), torch.randn(5, 3))
