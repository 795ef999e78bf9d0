"""From a module to its artifact: what is not the network that was trained is not written."""

import pytest
import torch

from dyn_lightning.artifact.from_module import load_checkpoint, write_artifact
from dyn_lightning.errors import UserError


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
