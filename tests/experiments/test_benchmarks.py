"""The benchmarks run at all; what they measure is no test's business."""

import argparse

import pytest
import torch

from dyn_lightning import dynamize
from experiments.benchmarks import complexity, consolidated, step
from experiments.benchmarks import dynamize as dynamizing
from experiments.benchmarks.networks import NETWORKS, aim, networks

QUICK = argparse.Namespace(quick=True, only=None)


def test_a_choice_of_networks() -> None:
    assert networks(argparse.Namespace(quick=False, only=None)) == list(NETWORKS)
    (chosen,) = networks(argparse.Namespace(quick=False, only="resnet"))
    assert chosen.make is NETWORKS[0].make
    for quick, full in zip(networks(QUICK), NETWORKS, strict=True):
        assert quick.name == full.name
        parameters = [sum(p.numel() for p in n.make().parameters()) for n in (quick, full)]
        assert parameters[0] < parameters[1]
        assert quick.make()(quick.batch()).isfinite().all()


def test_inputs_are_of_the_stated_duration() -> None:
    resnet, vad, _ = NETWORKS
    assert resnet.batch().shape == (4, 1, 80, 122)
    assert vad.example().shape == (1, 16000)
    assert vad.batch().shape == (32, 32000)


@pytest.mark.parametrize("index", range(3))
def test_each_part_runs(index: int) -> None:
    network = networks(QUICK)[index]
    found = step.measure(network, 1)
    assert {name: limit for name, (_, limit) in found.items()} == {
        "plain": None,
        "dynamic, λ = 1, searching": 1.05,
        "dynamic, λ = 0.25, searching": 0.3,
    }
    assert all(seconds > 0 for seconds, _ in found.values())
    sizes, durations = dynamizing.measure(network)
    assert sizes > 0
    assert all(seconds > 0 for seconds in durations.values())
    step_s, rows = complexity.measure(network, 1)
    assert min(step_s, *rows.values()) > 0


@pytest.mark.parametrize("multiple_of", [1, 8, 16])
def test_a_share_of_the_flops(multiple_of: int) -> None:
    network = networks(QUICK)[0]
    dynamic = dynamize(network.make(), network.example(), duration_s=1.0)
    small, reached = consolidated.at_share(dynamic, 0.16, multiple_of)
    assert 0.05 < reached <= 0.16
    assert all(width.size % multiple_of == 0 for width in dynamic.widths.values())
    assert small(network.example()).shape == (1, 2)
    with pytest.raises(ValueError, match="cannot be reached"):
        consolidated.at_share(dynamic, 1e-6, multiple_of)


def test_aims() -> None:
    assert aim(1.0, 1.05).endswith("met")
    assert aim(1.1, 1.05).endswith("MISSED")
    assert aim(4.5, 4.0, least=True).endswith("met")
    assert torch.get_num_threads() >= 1
