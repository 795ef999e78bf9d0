"""The search that begins at a profile's allocation: where λ stand, what pulls them, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import SettingError
from dyn_lightning.network.profile import Profile
from dyn_lightning.objectives import FlopsBudget, ProfiledBudget

SIZES = {"0": 12, "2": 4}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return dynamize(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)),
                    torch.randn(2, 4)).train()  # fmt: skip


def test_the_first_step_goes_to_the_allocation_and_cohesion_holds_to_it(net):
    objective = ProfiledBudget(share=0.3, sizes=SIZES, proportional=0.0, integral=0.0)
    penalty = objective(net, torch.tensor(2.0), progress=0.0)
    assert {name: width.size for name, width in net.widths.items()} == SIZES
    assert float(penalty.detach()) == pytest.approx(0.0, abs=1e-9)
    net.widths["2"].set_lam(0.5)
    pulled = objective(net, torch.tensor(2.0), progress=0.5)
    logs = torch.tensor([0.75, 0.5]).log() - torch.tensor([12 / 16, 4 / 16]).log()
    weights = net.complexity.elasticities()
    weights = weights / weights.mean()
    expected = 2.0 * (weights * (logs - (weights * logs).mean()).square()).sum()
    torch.testing.assert_close(pulled.detach(), expected)
    pulled.backward()
    assert net.widths["2"].theta.grad > 0  # back towards a third of the other
    assert net.widths["0"].theta.grad < 0


def test_it_stays_at_the_budget_from_the_first_step_on(net):
    objective = ProfiledBudget(share=0.3, sizes=SIZES)
    cost = net.complexity
    optimizer = torch.optim.Adam([w.theta for w in net.widths.values()], lr=0.05)
    for step in range(20):
        wish = sum((w.lam - 1.0).square() for w in net.widths.values())  # all would rather grow
        loss = wish + objective(net, torch.tensor(0.1), progress=step / 20)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for width in net.widths.values():
            width.clamp_()
        objective.after_step(net, (step + 1) / 20)
        learnable = float(cost.flops_per_second()) - cost.fixed_flops()
        assert learnable < 1.65 * 0.3 * cost.learnable_flops()  # the leash
    assert cost.flops_at(objective.final_sizes(net)) <= objective.budget(cost)


def test_from_a_profile_on_disk(net, tmp_path: Path):
    curves = {"0": [(16, 0.0), (8, 0.0), (1, 9.0)], "2": [(16, 0.0), (8, 5.0), (1, 9.0)]}
    Profile(0.0, curves).save(tmp_path / "profile.json")
    objective = ProfiledBudget(share=0.6, profile=str(tmp_path / "profile.json"))
    found = objective.allocation(net)
    assert found["0"] < found["2"]
    assert net.complexity.flops_at(found) <= objective.budget(net.complexity)


def test_without_anchors_it_is_the_common_budget(net):
    assert FlopsBudget(share=0.3).anchors(net) == 0.0


def test_what_cannot_be(net):
    with pytest.raises(SettingError, match="begins at one allocation: give profile, a file, or sizes"):
        ProfiledBudget(share=0.3)
    with pytest.raises(SettingError, match="missing or unknown: 2"):
        ProfiledBudget(share=0.3, sizes={"0": 4}).check(net)
    with pytest.raises(SettingError, match="0 has 1…16 elements, not 17"):
        ProfiledBudget(share=0.3, sizes={"0": 17, "2": 4}).check(net)
