import pytest

from dyn_lightning.costs.base import OpCost, prices_functions
from dyn_lightning.errors import SettingError
from dyn_lightning.graph.rules import FUNCTION_RULES
from dyn_lightning.registry import Registry


def test_each_entry_once_and_unknown_keys_by_name() -> None:
    table: Registry[str, int] = Registry("price")
    table.add("linear", 3)
    assert (table["linear"], len(table), list(table), "linear" in table) == (3, 1, ["linear"], True)
    assert table.get("conv") is None
    with pytest.raises(SettingError, match="conv has no price: only linear"):
        table["conv"]
    with pytest.raises(SettingError, match="linear has a price already: it cannot have two"):
        table.add("linear", 4)
    assert table["linear"] == 3


def test_a_notebooks_cell_may_run_again() -> None:
    table: Registry[str, int] = Registry("price")
    first, second, other = (type(name, (), {"__module__": "__main__"}) for name in ("Mine", "Mine", "Other"))
    table.add("linear", 1, by=first)
    table.add("linear", 2, by=second)
    assert table["linear"] == 2
    with pytest.raises(SettingError, match=r"by __main__\.Mine"):
        table.add("linear", 3, by=other)


def test_functions_have_one_price_and_one_rule() -> None:
    with pytest.raises(SettingError, match=r"linear has a price already, by dyn_lightning\.costs\.weighted"):
        prices_functions("linear")(lambda op: OpCost())
    with pytest.raises(SettingError, match="matmul has a rule already"):
        FUNCTION_RULES.add("matmul", lambda c: None)
