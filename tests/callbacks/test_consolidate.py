"""Consolidate: what ships is what was chosen, and computes the same."""

import json
from pathlib import Path

import torch

from dyn_lightning.artifact import load_artifact
from dyn_lightning.callbacks import ComplexityLogger, Consolidate, LambdaClamp, PhaseSwitch, WidthsCheckpoint
from dyn_lightning.module.artifact import load_checkpoint, summary


def test_writes_the_best_checkpoint_and_its_report(make_module, make_trainer, data, tmp_path):
    module, consolidate = make_module(), Consolidate(str(tmp_path / "ship"))
    checkpoint = WidthsCheckpoint(monitor="val/loss", mode="max")  # the worst: never the last weights by chance
    trainer = make_trainer(PhaseSwitch(1, 1), LambdaClamp(), ComplexityLogger(), checkpoint, consolidate, max_epochs=5)
    trainer.fit(module, data)
    network, _ = load_artifact(tmp_path / "ship")
    best = make_module()
    load_checkpoint(best, checkpoint.best_model_path)
    x = torch.rand(4, 65)
    torch.testing.assert_close(network(x), best.eval()(x))
    assert not torch.allclose(network(x), module.eval()(x))
    kept = module.complexity.sizes_now["bands"]
    assert network.bands.out_features == kept < 16
    report = json.loads((tmp_path / "ship" / "report.json").read_text())
    assert report["parameters"] == 65 * kept + kept * 8
    assert report["batches"] == 2
    assert report["largest_relative_difference"] < 1e-5
    figure = (tmp_path / "ship.widths.png").read_bytes()
    assert figure.startswith(b"\x89PNG")


def test_folder_defaults_to_the_loggers(make_module, make_trainer, data):
    trainer = make_trainer(PhaseSwitch(0), Consolidate(), max_epochs=1)
    trainer.fit(make_module(), data)
    assert (Path(trainer.log_dir) / "artifact" / "model.safetensors").is_file()


def test_the_module_is_left_as_it_was(make_module, make_trainer, data, tmp_path):
    module = make_module()
    make_trainer(PhaseSwitch(0, 1), Consolidate(str(tmp_path / "a")), max_epochs=2).fit(module, data)
    assert "widths" in dict(module.network.named_children())
    assert module.trainer.current_epoch == 2


def test_a_baseline_is_written_as_it_is(make_module, make_trainer, data, tmp_path):
    module, callback = make_module(dynamic=[]), Consolidate(str(tmp_path / "a"))
    make_trainer(callback, max_epochs=1).fit(module, data)
    x = torch.rand(2, 65)
    assert torch.equal(callback.small.eval()(x), module.network.eval()(x))
    report = callback.report
    assert report.sizes == {}
    assert report.flops == report.flops_before == module.complexity.flops_full_size() > 0
    assert report.parameters == report.parameters_before == sum(p.numel() for p in module.network.parameters())
    assert summary(report, tmp_path).splitlines()[0].startswith("no sizes to learn: ")
    again, _ = load_artifact(tmp_path / "a", backbone=make_module(dynamic=[]).network)
    assert torch.equal(again(x), module.network(x))
