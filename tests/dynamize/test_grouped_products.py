"""Products in groups (mixtures of experts): torch takes rows of whole 16 bytes, so sizes go in steps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning import dynamize
from dyn_lightning.consolidate import consolidate
from dyn_lightning.errors import SettingError
from dyn_lightning.profiling.latency import width_latencies_s
from dyn_lightning.widths.width import Width
from experiments.peers.gates import HardConcreteGates


class Experts(nn.Module):
    """Tokens in equal groups, a two-layer network with a gate for each group."""

    def __init__(self, features: int, inner: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.a, self.h = nn.Linear(5, features, dtype=dtype), nn.Linear(features, 3, dtype=dtype)
        self.up = nn.Parameter(torch.randn(2, 2 * inner, features, dtype=dtype) / features**0.5)
        self.down = nn.Parameter(torch.randn(2, features, inner, dtype=dtype) / inner**0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        ends = torch.tensor([len(x) // 2, len(x)], dtype=torch.int32)
        gate, up = F.grouped_mm(y, self.up.transpose(1, 2), offs=ends).chunk(2, -1)
        return self.h(y + F.grouped_mm(torch.sigmoid(gate) * up, self.down.transpose(1, 2), offs=ends))


@pytest.mark.parametrize(("dtype", "unit"), [(torch.float32, 4), (torch.bfloat16, 8)])
def test_sizes_are_learned_in_steps_of_16_bytes(dtype: torch.dtype, unit: int) -> None:
    x = torch.randn(6, 5, dtype=dtype)
    dynamic = dynamize(Experts(32, 48, dtype), x)
    assert {name: (w.full_size, w.multiple_of) for name, w in dynamic.widths.items()} == {
        "a": (32, unit), "up-1": (48, unit)
    }  # fmt: skip
    for name in ("up-0", "down-0"):
        assert "are named by numbers (test_grouped_products.py:" in dynamic.fixed_reasons[name]
    for width in dynamic.widths.values():
        width.set_lam(0.7)
        assert width.size % unit == 0
    dynamic.train()
    dynamic(x).float().sum().backward()
    assert all(width.theta.grad is not None for width in dynamic.widths.values())
    sizes = {name: width.size for name, width in dynamic.widths.items()}
    assert sizes == {"a": 20 if unit == 4 else 16, "up-1": 32}
    small, _ = consolidate(dynamic, [x])
    assert tuple(small.up.shape) == (2, 2 * sizes["up-1"], sizes["a"])


@pytest.mark.parametrize("kind", [Width, HardConcreteGates])
def test_other_steps_are_refused(kind: type[Width]) -> None:
    x = torch.randn(6, 5)
    width = dynamize(Experts(32, 48, torch.float32), x, width_class=kind).widths["a"]
    width.limit(multiple_of=8)
    with pytest.raises(SettingError, match="multiple_of=6 must be a multiple of 4"):
        width.limit(multiple_of=6)


def test_a_size_with_room_for_one_step_is_fixed() -> None:
    dynamic = dynamize(Experts(32, 4, torch.float32), torch.randn(6, 5))
    assert set(dynamic.widths) == {"a"}
    assert "multiples of 4 alone" in dynamic.fixed_reasons["up-1"]


def test_latencies_are_of_sizes_that_it_can_have() -> None:
    x = torch.randn(6, 5)
    dynamic = dynamize(Experts(32, 48, torch.float32), x)
    assert list(width_latencies_s(dynamic, x, {"a": [5, 16]}, repeats=1)["a"]) == [8, 16]
