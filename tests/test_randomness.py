"""Random states: what is drawn after a restore is what was drawn before."""

import random

import numpy as np
import torch

from dyn_lightning.randomness import gather_random_states, random_state, set_random_state


def draw() -> tuple[list[float], list[float], list[float]]:
    numbers = np.random.standard_normal(3)  # noqa: NPY002 - the global generator is what is tested
    return torch.randn(3).tolist(), numbers.tolist(), [random.gauss(0, 1) for _ in range(3)]


def test_restored_generators_repeat(tmp_path):
    draw()  # leaves a cached gaussian behind in NumPy and Python
    torch.save(random_state(), tmp_path / "state.pt")
    first = draw()
    assert draw() != first
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == first


def test_one_process_has_one_state():
    assert len(gather_random_states()) == 1
