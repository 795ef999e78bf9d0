"""Checkpoints that cannot be of any run: refused by one line with their name, by whatever reads them."""

import math
from pathlib import Path

import pytest
import torch

from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch, WidthsCheckpoint
from dyn_lightning.errors import UserError
from dyn_lightning.module.artifact import load_checkpoint

SIZE = "network.widths.bands._frozen_size"


@pytest.fixture
def saved(make_module, make_trainer, data, tmp_path):
    """Content of a settled run's checkpoint, and a way to write it changed."""
    callback = WidthsCheckpoint(dirpath=str(tmp_path / "run"))
    make_trainer(PhaseSwitch(0, 1), LambdaClamp(), callback, max_epochs=2).fit(make_module(), data)
    content = torch.load(callback.last_model_path, weights_only=True)

    def write(change) -> str:
        changed = {**content, "state_dict": dict(content["state_dict"])}
        change(changed)
        torch.save(changed, tmp_path / "changed.ckpt")
        return str(tmp_path / "changed.ckpt")

    return write


def entry(name, value):
    return lambda content: content["state_dict"].__setitem__(name, torch.as_tensor(value))


def spoil(name, value):
    def change(content):
        content["state_dict"][name] = content["state_dict"][name].clone()
        content["state_dict"][name].view(-1)[0] = value

    return change


CHANGES = {
    "size 0": (entry(SIZE, 0), "1…16"),
    "size 99": (entry(SIZE, 99), "1…16"),
    "size -3": (entry(SIZE, -3), "1…16"),
    "size 3.5": (entry(SIZE, 3.5), "1…16"),
    "size nan": (entry(SIZE, math.nan), "1…16"),
    "two sizes": (entry(SIZE, [3, 99]), "1…16"),
    "samples 0": (entry("network.widths.bands._samples", 0), "1…16"),
    "phase 7": (entry("_phase", 7), "phase is 7"),
    "search -1": (entry("_search_steps", [-1, 4]), "search_steps"),
    "nan weights": (spoil("network.readout.weight", math.nan), "readout.weight holds NaN"),
    "inf weights": (spoil("network.bands.weight", math.inf), "bands.weight holds NaN or infinity"),
    "nan λ": (entry("network.widths.bands.theta", math.nan), "theta holds NaN"),
    "inf threshold": (entry("threshold", math.inf), "threshold is inf"),
    "units 0": (lambda content: content.update(widths={"bands": [0, 0.1]}), "multiple_of and lam_min of bands"),
    "lam_min nan": (lambda content: content.update(widths={"bands": [1, math.nan]}), "multiple_of and lam_min"),
    "units of text": (lambda content: content.update(widths={"bands": "ab"}), "multiple_of and lam_min"),
    "no state": (lambda content: content.pop("state_dict"), "no state_dict"),
}


def test_impossible_content_is_named(saved, make_module, make_trainer, data):
    for name, (change, told) in CHANGES.items():
        path = saved(change)
        with pytest.raises(UserError, match=rf"(?s)changed\.ckpt: .*{told}") as error:
            load_checkpoint(make_module(), path)
        assert "\n" not in str(error.value), name
    for name in ("size 99", "nan weights"):
        path = saved(CHANGES[name][0])
        with pytest.raises(UserError, match=rf"changed\.ckpt: .*{CHANGES[name][1]}"):
            make_trainer(PhaseSwitch(0, 1), max_epochs=3).fit(make_module(), data, ckpt_path=path)
        with pytest.raises(UserError, match=rf"changed\.ckpt: .*{CHANGES[name][1]}"):
            make_trainer().test(make_module(), data, ckpt_path=path)


def test_what_is_as_it_was_loads(saved, make_module):
    module = make_module()
    load_checkpoint(module, saved(lambda content: None))
    assert module.phase == "settle"
    assert Path(saved(lambda content: None)).is_file()
