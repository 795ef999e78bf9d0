from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.graph import read_graph
from dyn_lightning.graph.axes import Size, Sum
from dyn_lightning.graph.verify import find_mismatch, size_at


class Net(nn.Module):
    def __init__(self, width: int, run: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, width), nn.Linear(width, 2)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def mismatch(run: Any, *, small: int = 5, small_run: Any = None) -> Any:
    """Between a network of eight hidden features and a smaller one."""
    x = torch.randn(4, 3)
    graph = read_graph(Net(8, run), x)
    size = graph.sizes[0].root
    found = find_mismatch(Net(small, small_run or run), graph.passes[0], {size: small})
    if found is not None:
        assert found.sizes == (size,)
    return found


def test_a_network_that_follows_agrees() -> None:
    assert mismatch(lambda n, x: n.b(torch.relu(n.a(x)) * 2)) is None
    assert mismatch(lambda n, x: n.b(n.a(x).view(-1, 1, n.a(x).shape[-1]).squeeze(1))) is None


def test_code_that_goes_another_way() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        return n.b(torch.tanh(y) if y.shape[-1] > 6 else torch.relu(y))

    found = mismatch(run)
    assert found.reason.startswith("the code of the network does something else at another size (test_verify.py:")


def test_code_that_calls_more_or_less() -> None:
    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        for _ in range(y.shape[-1] // 4):
            y = torch.relu(y)
        return n.b(y)

    assert "something else" in mismatch(run).reason


def test_a_size_that_the_code_gives() -> None:
    def pooled(size: int) -> Any:
        return lambda n, x: n.b(n.a(x)) + nn.functional.adaptive_avg_pool1d(n.a(x)[:, None], size).sum()

    found = mismatch(pooled(3), small_run=pooled(4))
    assert found.reason.startswith("the code of the network gives it a size of its own (adaptive_avg_pool1d) (test_")


def test_an_error_tells_where() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] < 8:
                raise ValueError("eight or none\nmore")
            return x

    class Outer(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.a, self.inner, self.b = nn.Linear(3, width), Inner(), nn.Linear(width, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.inner(self.a(x)))

    x = torch.randn(4, 3)
    graph = read_graph(Outer(8), x)
    size = graph.sizes[0].root
    found = find_mismatch(Outer(5), graph.passes[0], {size: 5})
    assert found is not None
    assert found.sizes == (size,)
    assert "needs it at full size (eight or none)" in found.reason


def test_other_errors_are_not_swallowed() -> None:
    class Stop(Exception):
        pass

    def run(n: Any, x: Tensor) -> Tensor:
        y = n.a(x)
        if y.shape[-1] < 8:
            raise Stop
        return n.b(y)

    with pytest.raises(Stop):
        mismatch(run)


def test_the_sizes_blamed_are_those_at_hand() -> None:
    class Two(nn.Module):
        def __init__(self, one: int, other: int) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, one), nn.Linear(3, other)
            self.c, self.d = nn.Linear(one, 2), nn.Linear(other, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.c(self.a(x))
            z = self.b(x)
            return y + self.d(torch.tanh(z) if z.shape[-1] == 6 else z)

    x = torch.randn(4, 3)
    graph = read_graph(Two(8, 6), x)
    a, b = (s for s in graph.roots() if s.reason is None)
    assert find_mismatch(Two(5, 6), graph.passes[0], {a: 5, b: 6}) is None
    found = find_mismatch(Two(5, 4), graph.passes[0], {a: 5, b: 4})
    assert found is not None
    assert found.sizes == (b,)


def test_size_at() -> None:
    a, b = Size("a", 4), Size("b", 6)
    assert size_at((2, a, Sum(((b,), (a, 3)))), {a: 3}) == 2 * 3 * (6 + 9)
    assert size_at((2, a, Sum(((b,), (a, 3)))), {a: 3, b: 1}) == 2 * 3 * (1 + 9)
    assert size_at((7,), {}) == 7
