"""Methods besides forward, and parts of a network called by themselves."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError, UserError


class Encoder(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.linear, self.gain = nn.Linear(8, size), nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (torch.relu(self.linear(x)) * self.gain).view(-1, self.size)


class Net(nn.Module):
    """``stream`` alone reads how large its state is."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head, self.state_size = Encoder(16), nn.Linear(16, 4), 16
        self.scale = nn.Parameter(torch.linspace(1, 2, 16))

    def embed(self, x: Tensor) -> Tensor:
        return self.encoder(x) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))

    def stream(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = x.new_zeros(len(x), self.state_size) if state is None else state
        state = 0.5 * state + self.embed(x)
        return self.head(state), state

    def windows(self, x: Tensor) -> Any:
        for part in x.split(1):
            yield self.embed(part)


def cut(dynamic: Any, size: int = 9) -> Any:
    for width in dynamic.widths.values():
        width.freeze(size)
    return dynamic.eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 8)


def test_methods_and_parts_work_at_any_size(x: Tensor) -> None:
    torch.manual_seed(0)
    dynamic = cut(dynamize(Net(), x))
    small, _ = consolidate(dynamic, [x])
    for network in (dynamic, copy.deepcopy(dynamic), pickle.loads(pickle.dumps(dynamic))):
        for name in ("encoder", "embed"):
            torch.testing.assert_close(getattr(network, name)(x), getattr(small, name)(x))
        torch.testing.assert_close(list(network.windows(x)), list(small.windows(x)))
        assert network.encoder.size == network.encoder.gain.shape[0] == 16  # nothing is left in place
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small.modules())


def test_a_method_that_was_not_followed_is_named_where_it_fails(x: Tensor) -> None:
    dynamic = dynamize(Net(), x)
    assert dynamic.stream(x)[0].shape == (3, 4)
    with pytest.raises(UserError, match=r"stream\(\) fails where sizes are cut .* methods={'stream': input}"):
        cut(dynamic).stream(x)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        dynamic(torch.randn(3, 7))  # what forward is given wrong stays torch's own to say


def test_methods_that_are_followed(x: Tensor) -> None:
    for methods in (["forward", "stream"], {"stream": {"x": x}, "embed": x}):
        dynamic = cut(dynamize(Net(), x, methods=methods))
        small, _ = consolidate(dynamic, [x])
        (y, state), (expected, kept) = dynamic.stream(x), small.stream(x)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(dynamic.stream(x, state)[0], small.stream(x, kept)[0])
        assert state.shape == kept.shape == (3, 9)
    with pytest.raises(SettingError, match="Net has no method generate"):
        dynamize(Net(), x, methods=["generate"])


class OwnNames(nn.Module):
    """Layers with names that a dynamic network's own methods might have."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave, self.in_use = nn.Linear(8, 16), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.in_use(torch.relu(self.leave(torch.relu(self.enter(x)))))


def test_layers_keep_their_names(x: Tensor) -> None:
    assert set(dynamize(OwnNames(), x).widths) == {"enter", "leave"}
