"""shrink: a trained network made small under its budget, without labels; an interrupted run goes on where it was."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from dyn_lightning import shrink
from dyn_lightning.artifact import load_artifact
from dyn_lightning.errors import SettingError
from dyn_lightning.tasks import Imitation
from tests.trained import WaveNet, accuracy, shapes, trained


@pytest.fixture(scope="module")
def parent() -> nn.Module:
    return trained(WaveNet((32, 8, 12)), steps=120)


@pytest.fixture(scope="module")
def batches() -> list[torch.Tensor]:
    return list(shapes(256, 5)[0].split(64))


def task() -> Imitation:
    return Imitation(outputs="kl")


def test_it_keeps_what_the_parent_can(parent: nn.Module, batches: list[torch.Tensor]):
    before = copy.deepcopy(parent.state_dict())
    small, report = shrink(parent, batches, share=0.2, steps=40, lr=5e-3, task=task(), progress=False)
    assert type(small) is WaveNet
    assert report.share_of_learnable is not None
    assert 0.15 < report.share_of_learnable <= 0.2
    assert report.largest_relative_difference is not None
    assert report.largest_relative_difference < 1e-4
    assert accuracy(small) > accuracy(parent) - 0.12
    assert all(torch.equal(x, before[name]) for name, x in parent.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small.modules())


def test_what_is_written_and_that_it_goes_on(parent: nn.Module, batches: list[torch.Tensor], tmp_path: Path):
    options = {"share_of_all": 0.4, "lr": 1e-3, "out_dir": tmp_path, "progress": False}
    shrink(parent, batches, steps=8, task=task(), **options)  # type: ignore[arg-type]
    small, report = shrink(parent, batches, steps=12, task=task(), **options)  # type: ignore[arg-type]
    checkpoint = torch.load(max((tmp_path / "checkpoints").glob("*.ckpt"), key=lambda p: p.stat().st_mtime))
    assert checkpoint["global_step"] == 12
    assert (tmp_path / "widths.png").exists()
    loaded, _ = load_artifact(tmp_path / "artifact")
    x = batches[0]
    torch.testing.assert_close(loaded(x), small(x))
    assert report.share_of_all <= 0.4


def test_sizes_may_be_final_at_once(parent: nn.Module, batches: list[torch.Tensor]):
    _, report = shrink(parent, batches, share=0.5, steps=2, search=0.0, task=task(), progress=False)
    assert report.share_of_learnable is not None
    assert report.share_of_learnable <= 0.5


def test_what_cannot_be(parent: nn.Module, batches: list[torch.Tensor]):
    with pytest.raises(SettingError, match="give a budget as one of"):
        shrink(parent, batches)
    with pytest.raises(SettingError, match="there are no batches"):
        shrink(parent, [], share=0.5)
    with pytest.raises(SettingError, match="out of reach"):
        shrink(parent, batches, share_of_all=1e-6, task=task(), progress=False)
