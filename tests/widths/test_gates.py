"""Gates: their distributions, what they multiply, and which units they leave."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.widths.gates import GATES, GatedWidth
from dyn_lightning.widths.width import held

KINDS = pytest.mark.parametrize("kind", GATES)


def made(kind: str, full_size: int, theta: list[float] | None = None, **options: int) -> GatedWidth:
    width = GATES[kind](full_size, **options)
    if theta is not None:
        width.theta.data[: len(theta)] = torch.tensor(theta)
    return width


@KINDS
def test_probability_is_the_share_of_draws_that_are_open(kind: str) -> None:
    torch.manual_seed(0)
    width = made(kind, 5, [-1.5, -0.4, 0.0, 0.3, 2.0])
    draws = torch.stack([width.draw() for _ in range(20000)]).detach()
    assert draws.min() == 0.0
    assert draws.max() == 1.0
    torch.testing.assert_close((draws > 0).float().mean(0), width.open_probability().detach(), atol=0.012, rtol=0)
    assert width.k.item() == pytest.approx(width.open_probability().sum().item())


@KINDS
def test_gradient_of_the_size_is_that_of_finite_differences(kind: str) -> None:
    width = made(kind, 4, [-0.5, 0.1, 0.4, 1.0]).double()
    assert torch.autograd.gradcheck(lambda _: width.k, (width.theta,))


@KINDS
def test_one_draw_serves_all_layers_of_a_pass(kind: str) -> None:
    torch.manual_seed(0)
    width, x = made(kind, 6, [0.0] * 6), torch.ones(3, 6, 4)
    with held([width]):
        first, second = width.noise(x, 1), width.noise(x.transpose(1, 2), 2).transpose(1, 2)
    assert torch.equal(first, second)
    assert torch.equal(first, first[:1, :, :1].expand(3, 6, 4))
    with held([width]):
        assert not torch.equal(width.noise(x, 1), first)
    assert width.eval().noise(x, 1) is x


@KINDS
def test_likeliest_units_are_kept_wherever_they_stand(kind: str) -> None:
    width = made(kind, 8, [0.9, -3.0, 2.0, 1.5], multiple_of=2)
    assert (width.units, width.size, width.active) == (4, 6, 8)
    assert width.positions(6).tolist() == [0, 1, 4, 5, 6, 7]
    width.freeze(4)
    assert width.size == width.active == 4
    assert width.positions(4).tolist() == [4, 5, 6, 7]
    again = made(kind, 8, multiple_of=2)
    again.load_state_dict(width.state_dict())
    assert again.positions(again.size).tolist() == [4, 5, 6, 7]


@KINDS
def test_lam_opens_the_first_gates(kind: str) -> None:
    width = made(kind, 10)
    for n in range(1, 11):
        width.set_lam(n / 10)
        assert width.size == n
    with pytest.raises(ValueError, match="must lie in"):
        width.set_lam(0.0)


def searched(kind: str, network: nn.Module, x: Tensor, steps: int = 60) -> tuple[nn.Module, FlopsBudget]:
    dynamic, budget = dynamize(network, x, boundary=kind), FlopsBudget(share=0.4)
    dynamic.train()
    optimizer = torch.optim.Adam([w.theta for w in dynamic.widths.values()], lr=0.15)
    for step in range(steps):
        loss = dynamic(x).square().mean()
        optimizer.zero_grad()
        (loss + budget(dynamic, loss.detach(), step / steps)).backward()
        optimizer.step()
    return dynamic, budget


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "norm": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 12, 3), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 10, 3), nn.Conv1d(10, 2, 1)
        ),
        (4, 3, 20),
    ),
    "recurrent": (lambda: CRNNVAD(n_mels=16, channels=10, hidden_size=12), (2, 4000)),
    "attention": (lambda: nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True), (2, 5, 16)),
}


@KINDS
@pytest.mark.parametrize("name", NETWORKS)
def test_a_search_under_a_budget_leaves_a_network_that_consolidates(kind: str, name: str) -> None:
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    network, x = make(), torch.randn(shape)
    dynamic, budget = searched(kind, network, x)
    chosen = [w.positions(w.size).tolist() for w in dynamic.widths.values()]
    assert any(kept != list(range(len(kept))) for kept in chosen)
    for at_the_end in (False, True):
        if at_the_end:
            for size_name, size in budget.final_sizes(dynamic).items():
                dynamic.widths[size_name].freeze(size)
            assert dynamic.complexity.flops_now() <= budget.budget(dynamic.complexity)
        small, report = consolidate(dynamic.eval())
        torch.testing.assert_close(small(x), dynamic(x), rtol=1e-5, atol=1e-6)
        assert report.flops == dynamic.complexity.flops_now()
    dynamic.train()(x).sum().backward()  # settles: gates are out of the way
    copy.deepcopy(dynamic)


@KINDS
def test_gates_have_the_gradient_of_what_they_multiply(kind: str) -> None:
    torch.manual_seed(0)
    width = made(kind, 3, [0.0, 0.2, -0.2])
    x = torch.randn(5, 3)
    with held([width]):
        y = width.noise(x, 1)
        gates = (y / x)[0]
    (gradient,) = torch.autograd.grad(y.sum(), width.theta)
    inside = (gates > 0) & (gates < 1)
    slope = torch.ones(3) if kind == "gaussian_gates" else None
    assert ((gradient != 0) == inside).all()
    if slope is not None:
        torch.testing.assert_close(gradient, x.sum(0) * slope * inside)
