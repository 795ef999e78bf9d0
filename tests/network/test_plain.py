"""A backbone as it is: its example input and its cost."""

import pytest
from torch import nn

from dyn_lightning.errors import SettingError
from dyn_lightning.network.plain import example_input


def test_example_input():
    class Backbone(nn.Linear):
        sample_rate = 8000

    assert example_input(Backbone(2, 2), 0.5, None).shape == (1, 4000)
    assert example_input(Backbone(2, 2), 0.5, [3, 5]).shape == (3, 5)
    for backbone, duration_s in ((nn.Linear(2, 2), 1.0), (Backbone(2, 2), None)):
        with pytest.raises(ValueError, match="example_shape"):
            example_input(backbone, duration_s, None)


def test_an_example_that_no_memory_holds_is_refused_at_once():
    class Backbone(nn.Linear):
        sample_rate = 8000

    for duration_s, shape, name in ((1e9, None, "example_duration_s"), (1.0, [1, 10**12], "example_shape")):
        with pytest.raises(SettingError, match=f"{name} makes an example of"):
            example_input(Backbone(2, 2), duration_s, shape)


def test_a_baseline_counts_what_the_dynamic_network_counts_at_full_size(make_module):
    plain, dynamic = make_module(dynamic=[]), make_module()
    for convention in ("full", "paper"):
        assert plain.complexity.flops_now(convention) == dynamic.complexity.flops_full_size(convention)
    assert plain.complexity.parameters_now() == sum(p.numel() for p in plain.network.parameters())
