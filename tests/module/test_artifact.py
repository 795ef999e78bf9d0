"""From a module to its artifact: what is not the network that was trained is not written."""

import pytest
import torch
from torch import nn

from dyn_lightning.artifact import load_artifact
from dyn_lightning.dynamize import dynamize
from dyn_lightning.errors import UserError
from dyn_lightning.module import DynamicModule
from dyn_lightning.module.artifact import load_checkpoint, write_artifact
from dyn_lightning.objectives import LambdaSquared
from dyn_lightning.tasks import Regression


def test_a_search_in_progress_freezes_first(make_module, tmp_path):
    module = make_module()
    module.widths["bands"].set_lam(0.4)
    small, report = write_artifact(module.eval(), tmp_path / "a", [torch.rand(2, 65)])
    assert small.bands.out_features == 6
    assert report.sizes == {"bands": (6, 16)}


def test_a_network_that_does_not_compute_the_same_is_refused(make_module, tmp_path):
    module = make_module().eval()
    module.network.bands.register_forward_hook(
        lambda layer, _inputs, output: output * 2 if hasattr(layer, "out_width") else output
    )
    module.widths["bands"].set_lam(0.5)
    with pytest.raises(RuntimeError, match="tolerance"):
        write_artifact(module, tmp_path / "a", [torch.rand(2, 65)])
    assert not (tmp_path / "a").exists()


def test_checkpoint_of_another_network_is_named(make_module, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt"):
        load_checkpoint(make_module(), str(tmp_path / "other.ckpt"))
    with pytest.raises(ValueError, match="no such file"):
        load_checkpoint(make_module(), str(tmp_path / "absent.ckpt"))


def test_weights_that_are_no_numbers_are_not_written(make_module, tmp_path):
    module = make_module()
    with torch.no_grad():
        module.network.readout.weight[0, 0] = float("inf")
    with pytest.raises(UserError, match=r"readout\.weight holds NaN or infinity"):
        write_artifact(module, tmp_path / "a", [])
    assert not (tmp_path / "a").exists()


class _Named(nn.Module):
    """A network whose one argument is a dict."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, given):
        return self.down(self.up(given["x"] * given["gain"]).relu())


def test_a_dict_is_the_network_s_one_argument_as_in_training(tmp_path):
    given = {"x": torch.randn(3, 4), "gain": torch.ones(3, 1)}
    module = DynamicModule(dynamize(_Named(), (given,)), Regression(), LambdaSquared(beta=1.0))
    module.widths["up"].set_lam(0.25)
    module.set_phase("settle")
    small, report = write_artifact(module, tmp_path / "a", [given])
    assert report.batches == 1
    assert report.largest_difference <= 1e-6
    torch.testing.assert_close(load_artifact(tmp_path / "a", backbone=_Named())[0](given), small.eval()(given))
