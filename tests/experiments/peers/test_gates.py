"""Gates: their distributions, what they multiply, and which units they leave."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.cli import main
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.module.artifact import load_checkpoint
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.widths.width import held
from experiments.peers.gates import GatedWidth, GaussianGates, HardConcreteGates

Kind = type[GatedWidth]
CONFIGS = Path(__file__).parents[3] / "configs"
KINDS = pytest.mark.parametrize("kind", [GaussianGates, HardConcreteGates])


def made(kind: Kind, full_size: int, theta: list[float] | None = None, **options: int) -> GatedWidth:
    width = kind(full_size, **options)
    if theta is not None:
        width.theta.data[: len(theta)] = torch.tensor(theta)
    return width


@KINDS
def test_probability_is_the_share_of_draws_that_are_open(kind: Kind) -> None:
    torch.manual_seed(0)
    width = made(kind, 5, [-1.5, -0.4, 0.0, 0.3, 2.0])
    draws = torch.stack([width.draw() for _ in range(20000)]).detach()
    assert draws.min() == 0.0
    assert draws.max() == 1.0
    torch.testing.assert_close((draws > 0).float().mean(0), width.open_probability().detach(), atol=0.012, rtol=0)
    assert width.k.item() == pytest.approx(width.open_probability().sum().item())


@KINDS
def test_gradient_of_the_size_is_that_of_finite_differences(kind: Kind) -> None:
    width = made(kind, 4, [-0.5, 0.1, 0.4, 1.0]).double()
    assert torch.autograd.gradcheck(lambda _: width.k, (width.theta,))


@KINDS
def test_one_draw_serves_all_layers_of_a_pass(kind: Kind) -> None:
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
def test_likeliest_units_are_kept_wherever_they_stand(kind: Kind) -> None:
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
def test_lam_opens_the_first_gates(kind: Kind) -> None:
    width = made(kind, 10)
    for n in range(1, 11):
        width.set_lam(n / 10)
        assert width.size == n
    with pytest.raises(ValueError, match="must lie in"):
        width.set_lam(0.0)


def searched(kind: Kind, network: nn.Module, x: Tensor, steps: int = 60) -> tuple[nn.Module, FlopsBudget]:
    dynamic, budget = dynamize(network, x, width_class=kind), FlopsBudget(share=0.4)
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
def test_a_search_under_a_budget_leaves_a_network_that_consolidates(kind: Kind, name: str) -> None:
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
def test_gates_have_the_gradient_of_what_they_multiply(kind: Kind) -> None:
    torch.manual_seed(0)
    width = made(kind, 3, [0.0, 0.2, -0.2])
    x = torch.randn(5, 3)
    with held([width]):
        y = width.noise(x, 1)
        gates = (y / x)[0]
    (gradient,) = torch.autograd.grad(y.sum(), width.theta)
    inside = (gates > 0) & (gates < 1)
    slope = torch.ones(3) if kind is GaussianGates else None
    assert ((gradient != 0) == inside).all()
    if slope is not None:
        torch.testing.assert_close(gradient, x.sum(0) * slope * inside)


def test_gates_kept_are_as_many_as_the_size(make_module, tmp_path):
    module = make_module(width_class=HardConcreteGates)
    module.widths["bands"].freeze(5)
    module.network.widths["bands"]._kept[:] = True
    torch.save({"state_dict": module.state_dict()}, tmp_path / "gates.ckpt")
    with pytest.raises(UserError, match="keeps 16 elements, its size is 5"):
        load_checkpoint(make_module(width_class=HardConcreteGates), str(tmp_path / "gates.ckpt"))


def test_gates_have_no_boundary_and_a_kind_is_a_class_of_widths():
    net, x = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), torch.randn(1, 3)
    with pytest.raises(SettingError, match="gates have no boundary unit"):
        dynamize(net, x, width_class=HardConcreteGates, boundary="paper")
    with pytest.raises(SettingError, match=r"give a subclass of dyn_lightning\.Width"):
        dynamize(net, x, width_class=nn.Linear)
    for old, kind in (("gaussian_gates", GaussianGates), ("hard_concrete", HardConcreteGates)):
        with pytest.raises(SettingError, match=f"write width_class: {kind.__module__}.{kind.__name__}$"):
            dynamize(net, x, boundary=old)


def test_bands_of_a_mel_bank_have_gates_and_are_ranked():
    dynamic = dynamize(CRNNVAD(n_mels=16, channels=10, hidden_size=12), torch.randn(2, 4000), width_class=GaussianGates)
    assert all(isinstance(w, GaussianGates) and not w.resampled for w in dynamic.widths.values())


def test_a_kind_is_named_by_its_class_path_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = ("task/filter_bank", "dynamic/budget", "trainer/cpu")
    config = [argument for name in names for argument in ("-c", str(CONFIGS / f"{name}.yaml"))]
    short = ["--trainer.max_epochs=3", "--phases.warmup_epochs=1", "--phases.search_epochs=1"]
    short += ["--data.init_args.batches_per_epoch=2", "--data.init_args.eval_batches=1"]
    kind = f"--model.width_class={HardConcreteGates.__module__}.HardConcreteGates"
    assert main(["fit", *config, *short, kind]) == 0
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert content["state_dict"]["network.widths.bands._kept"].sum() < 64
    with pytest.raises(SystemExit, match=r"names experiments\.peers\.gates\.HardConcreteGates, which is not"):
        main(["consolidate", "--ckpt_path", str(checkpoint)])
    assert main(["consolidate", "--ckpt_path", str(checkpoint), "--trusted"]) == 0
    assert (tmp_path / "artifact" / "model.safetensors").is_file()
