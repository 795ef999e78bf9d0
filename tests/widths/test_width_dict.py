"""The learned sizes of a network by name: Widths and nothing else."""

import pickle

import pytest
from torch import nn

from dyn_lightning.widths.width import Width
from dyn_lightning.widths.width_dict import WidthDict


def test_it_holds_widths_under_the_keys_of_a_module_dict():
    one, other = Width(4), Width(6)
    widths = WidthDict({"one": one, "other": other})
    assert list(widths) == ["one", "other"]
    assert [w.full_size for w in widths.values()] == [4, 6]
    assert widths["one"] is one
    assert set(widths.state_dict()) == set(nn.ModuleDict({"one": one, "other": other}).state_dict())


def test_what_is_no_width_is_refused():
    with pytest.raises(TypeError, match="Linear is no Width"):
        WidthDict()["one"] = nn.Linear(2, 2)


def test_it_can_be_sent_to_another_process():
    assert pickle.loads(pickle.dumps(WidthDict({"one": Width(4)})))["one"].full_size == 4
