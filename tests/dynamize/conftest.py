"""What must hold for every dynamic network, and a network made of a function."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.graph import axis_size, read_graph
from dyn_lightning.inputs import tensors_in
from dyn_lightning.network.dynamic import DynamicNetwork, run_in_eval


class _Net(nn.Module):
    """Named layers and a function that runs them."""

    def __init__(self, run: Any, **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def _plain_parts(network: nn.Module) -> None:
    for module in network.modules():
        home = type(module).__module__
        assert not home.startswith(("dyn_lightning.layers", "dyn_lightning.widths", "dyn_lightning.dynamize")), home
        for name, value in vars(module).items():
            home = type(value).__module__
            assert not home.startswith(("dyn_lightning.layers", "dyn_lightning.widths")), name
    assert not isinstance(network, DynamicNetwork)
    assert "widths" not in dict(network.named_children())


def _check(backbone: nn.Module, example: Any, expected: set[str] | None = None, **options: Any) -> Any:
    """Everything that holds for a dynamic network: full size, any size, checkpoints, consolidation, costs."""
    torch.manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    dynamic = dynamize(backbone, example, **options)
    assert isinstance(dynamic, type(backbone))
    if expected is not None:
        assert set(dynamic.widths) == expected, dynamic.fixed_reasons
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())

    # a plain checkpoint loads, strictly but for the widths
    missing, unexpected = dynamic.load_state_dict(before, strict=False)
    assert all(name.startswith("widths.") for name in missing)
    assert unexpected == []
    assert [n for n in dynamic.state_dict() if not n.startswith("widths.")] == list(before)

    reference = run_in_eval(backbone, example)
    for a, b in zip(run_in_eval(dynamic, example), reference, strict=True):
        assert (a - b).abs().max() <= 1e-6 * max(1e-3, b.abs().max().item())

    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for width in dynamic.widths.values():
            width.set_lam(max(width.lam_min, torch.rand((), generator=generator).item()))
        state = {k: v.clone() for k, v in dynamic.state_dict().items()}
        small, report = consolidate(dynamic, [example])
        assert report.largest_relative_difference is not None
        assert report.largest_relative_difference < 1e-5
        assert all(torch.equal(v, state[k]) for k, v in dynamic.state_dict().items())
        assert type(small) is type(backbone)
        _plain_parts(small)
        for a, b in zip(run_in_eval(small, example), reference, strict=True):
            assert a.shape == b.shape
        assert report.flops == pytest.approx(_full_cost(small, example, options), rel=1e-9)
        assert report.parameters == sum(p.numel() for p in small.parameters()) == dynamic.complexity.parameters_now()

    # training: noise reaches every λ that is left with a boundary
    dynamic.train()
    for width in dynamic.widths.values():
        width.set_lam(max(width.lam_min, (0.8 * width.units + 0.5) / width.units * 0.75))
    args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
    out = dynamic(*(args if isinstance(args, tuple) else (args,)), **kwargs)
    loss = sum(t.square().sum() for t in tensors_in(out) if t.is_floating_point())
    if any(p.requires_grad for p in dynamic.parameters()):
        loss.backward()
    assert all(w.theta.grad is None or torch.isfinite(w.theta.grad) for w in dynamic.widths.values())
    assert any(w.theta.grad is not None for w in dynamic.widths.values())
    return dynamic


def _full_cost(small: nn.Module, example: Any, options: dict[str, Any]) -> float:
    """FLOPs of a plain network as its own trace counts them, with every size a plain number."""

    def sizes(axes: Any) -> Any:
        return tuple((axis_size(axis),) for axis in axes)

    def sizes_of(tensors: Any) -> Any:
        return tuple(map(sizes, tensors))

    ops = [
        replace(o, inputs=sizes_of(o.inputs), outputs=sizes_of(o.outputs), hidden=sizes(o.hidden), shared=())
        for o in read_graph(small, example).ops
    ]
    return Complexity(ops, {}, options.get("duration_s")).flops_at({})


_HEAD = {"a": nn.Linear(4, 8), "out": nn.Linear(8, 2), "free": nn.Linear(4, 6), "end": nn.Linear(6, 2)}


def _reasons(function: Any, **more: nn.Module) -> dict[str, str]:
    """Reasons, where ``function`` stands between two layers; a free layer beside it stays learnable."""

    def run(net, x):
        return net.out(function(net, net.a(x))) + net.end(net.free(x))

    net = _Net(run, **copy.deepcopy(_HEAD), **more)
    return _check(net, torch.randn(3, 4), {"free"}).fixed_reasons


@pytest.fixture(name="Net")
def net_class() -> type[nn.Module]:
    return _Net


@pytest.fixture
def check() -> Callable[..., Any]:
    return _check


@pytest.fixture
def fixed_reasons_of() -> Callable[..., dict[str, str]]:
    return _reasons
