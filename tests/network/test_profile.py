"""The profile: what is measured, what is left behind, and that it goes on where it was."""

import copy

import pytest
import torch
from torch import nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import FileError, SettingError
from dyn_lightning.network.compensate import gather
from dyn_lightning.network.profile import Profile, least_loss, measure_profile


@pytest.fixture
def setting():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(64, 4)
    dynamic = dynamize(net, x[:2])
    target = net(x).detach()
    return dynamic, x, lambda n: float((n(x) - target).square().mean())


def test_each_size_is_cut_alone_and_all_is_put_back(setting):
    dynamic, x, loss = setting
    dynamic.train()
    before = copy.deepcopy(dynamic.state_dict())
    profile = measure_profile(dynamic, loss, gather(dynamic, [x]), shares=(0.5, 0.25))
    assert profile.whole < 1e-12
    assert {n: [k for k, _ in points] for n, points in profile.curves.items()} == {"0": [8, 4, 2, 1], "2": [6, 3, 2, 1]}
    assert all(torch.equal(x, before[n]) for n, x in dynamic.state_dict().items())
    assert dynamic.training
    bare = measure_profile(dynamic, loss, shares=(0.5,)).curves["2"]
    dynamic.widths["2"].freeze(3)
    dynamic.widths["0"].set_learning(False)
    assert bare[1] == (3, pytest.approx(loss(dynamic)))
    assert profile.curves["2"][1][1] < bare[1][1]


def test_it_is_kept_and_goes_on(setting, tmp_path):
    dynamic, _, loss = setting
    path, calls, told = tmp_path / "profile.json", [], []

    def counted(n):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(n)

    with pytest.raises(KeyboardInterrupt):
        measure_profile(dynamic, counted, shares=(0.5,), path=path)
    assert not any(width.frozen for width in dynamic.widths.values())
    profile = measure_profile(dynamic, counted, shares=(0.5,), path=path, told=told.append)
    assert len(calls) == 5 + 2  # the second size alone
    assert told == ["profile: 2 of 2 sizes"]
    assert Profile.load(path) == profile
    assert measure_profile(dynamic, counted, path=path) == profile
    dynamic.widths["0"].freeze(4)
    with pytest.raises(FileError, match=r"profile\.json: is the profile of another network"):
        measure_profile(dynamic, loss, path=path)
    path.write_text("{}")
    with pytest.raises(FileError, match="is no profile of a network"):
        Profile.load(path)


def test_allocations_are_compared_with_all_sizes_cut(setting):
    dynamic, x, loss = setting
    best, losses = least_loss(dynamic, loss, {"few": {"0": 1, "2": 1}, "most": {"0": 8, "2": 5}}, gather(dynamic, [x]))
    assert best == "most"
    assert losses["most"] < losses["few"]
    cost = dynamic.complexity
    sizes = measure_profile(dynamic, loss).sizes_within(dynamic, 0.5 * cost.flops_full_size())
    assert cost.flops_at(sizes) <= 0.5 * cost.flops_full_size()


def test_shares_are_shares(setting):
    with pytest.raises(SettingError, match=r"shares of the profile must lie in \(0, 1\], got 2"):
        measure_profile(setting[0], setting[2], shares=(2,))
