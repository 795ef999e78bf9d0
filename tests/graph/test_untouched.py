import random

import numpy as np
import torch
from torch import Tensor, nn

from dyn_lightning.graph.untouched import copies, fresh, put_back, untouched


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(2))
        self.register_buffer("state", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.state = x
        return x.add_(torch.rand(1))


def test_buffers_and_random_generators_are_put_back() -> None:
    net = Counts()
    calls = net.calls
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = [torch.rand(1).item(), np.random.rand(), random.random()]  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    with untouched(net):
        net(torch.zeros(3))
        np.random.rand()  # noqa: NPY002
        random.random()
        assert calls.tolist() == [1, 1]
    assert net.calls is calls
    assert calls.tolist() == [0, 0]
    assert net.state is None
    assert [torch.rand(1).item(), np.random.rand(), random.random()] == expected  # noqa: NPY002


def test_put_back_answers_what_had_changed_also_in_its_shape() -> None:
    kept, written, other = torch.arange(3.0), torch.arange(3.0), torch.arange(3.0)
    contents = copies([kept, written, other, written, None])
    assert len(contents) == 3
    written[0] = float("nan")
    other.data = torch.ones(5)
    assert [x is y for x, y in zip((written, other), (x for x, _ in put_back(contents)), strict=True)] == [True, True]
    for x in (kept, written, other):
        assert x.tolist() == [0, 1, 2]


def test_a_fresh_example_is_a_copy_in_which_what_was_one_stays_one() -> None:
    x, grad = torch.zeros(2), torch.zeros(2, requires_grad=True)
    ((a, b), options) = fresh(((x, x), {"y": grad, "n": 3}))
    assert a is b
    assert a is not x
    a += 1
    assert x.tolist() == [0, 0]
    assert options["n"] == 3
    assert options["y"].requires_grad
