"""A checkpoint of any phase at its own sizes, at a budget's, and its curve."""

import json

import pytest
import torch

from dyn_lightning.artifact import load_artifact
from dyn_lightning.cli.consolidate import consolidate_checkpoint
from dyn_lightning.exports.check import ExportError
from dyn_lightning.module.evaluation import evaluate
from dyn_lightning.objectives import FlopsBudget


@pytest.mark.parametrize("phase", ["warmup", "search", "settle"])
def test_a_budget_at_any_phase(phase, make_module, data, tmp_path, capsys):
    module = make_module()
    module.set_phase(phase)
    complexity = module.complexity
    budget = 0.3 * complexity.flops_full_size()
    small, report = consolidate_checkpoint(
        module, tmp_path / "a", data, flops_per_second=budget, curve_points=3, exports=["int8"]
    )
    assert report.sizes == {"bands": (4, 16)}  # a band is 6.25 %
    assert report.flops <= budget < report.flops * 5 / 4
    loaded, _ = load_artifact(tmp_path / "a")
    data.setup("validate")
    batches = list(data.val_dataloader())
    written = json.loads((tmp_path / "a" / "report.json").read_text())
    assert written["metrics"]["val/l1"] == pytest.approx(evaluate(loaded, module.task, batches)["l1"], rel=1e-5)
    curve = json.loads((tmp_path / "a.curve.json").read_text())
    assert curve[0]["flops_per_call"] == complexity.flops_full_size()
    assert len(curve) == 3
    assert (tmp_path / "a.curve.png").is_file()
    printed = capsys.readouterr().out
    assert "MFLOPs/call" in printed
    assert "consolidated:" in printed
    assert "int8:" in printed
    int8, _ = load_artifact(tmp_path / "a", int8=True)
    x = batches[0]["input"]
    torch.testing.assert_close(int8(x), small(x), rtol=0.1, atol=0.1 * float(small(x).detach().abs().max()))


def test_without_data_the_checkpoints_own_sizes_are_written(make_module, tmp_path):
    module = make_module()
    module.widths["bands"].set_lam(0.5)
    _, report = consolidate_checkpoint(module, tmp_path / "a")
    assert report.sizes == {"bands": (8, 16)}
    assert report.batches == 1
    assert "metrics" not in json.loads((tmp_path / "a" / "report.json").read_text())
    with pytest.raises(ValueError, match="wants data"):
        consolidate_checkpoint(make_module(), tmp_path / "b", curve_points=3)
    with pytest.raises(ValueError, match=r"a budget of 1 flops per call is out of reach: the least sizes cost \d+$"):
        consolidate_checkpoint(make_module(), tmp_path / "b", flops_per_second=1.0)
    assert not (tmp_path / "b").exists()


def test_a_run_without_learned_sizes_has_one_cost(make_module, data, tmp_path, capsys):
    module = make_module(dynamic=[])
    small, report = consolidate_checkpoint(module, tmp_path / "a", data, exports=["int8"])
    x = torch.rand(2, 65)
    assert torch.equal(small(x), module.network(x))
    assert report.sizes == {}
    assert "metrics" in json.loads((tmp_path / "a" / "report.json").read_text())
    assert "no sizes to learn" in capsys.readouterr().out
    for asked in ({"share": 0.5}, {"flops_per_second": 1.0}, {"curve_points": 3}):
        with pytest.raises(ValueError, match="leave out budget and curve"):
            consolidate_checkpoint(module, tmp_path / "b", data, **asked)


def test_the_warm_up_is_written_whole_only_if_asked(make_module, tmp_path):
    module = make_module()
    module.set_phase("warmup")
    with pytest.raises(ValueError, match=r"not learned yet.*--share 0\.25"):
        consolidate_checkpoint(module, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    _, report = consolidate_checkpoint(module, tmp_path / "a", share=1.0)
    assert report.sizes == {"bands": (16, 16)}
    assert not report.sizes_final
    assert "ended in the warm-up" in report.remarks[0]


def settled(make_module, size):
    module = make_module(objective=FlopsBudget(share=0.5))
    module.set_phase("settle")
    module.widths["bands"].freeze(size)
    module.threshold.fill_(0.5)
    module.threshold_is_measured()
    return module


def test_a_budget_that_gives_nothing_up_says_so(make_module, tmp_path, capsys):
    _, report = consolidate_checkpoint(settled(make_module, 4), tmp_path / "a", share=0.9)
    assert report.sizes == {"bands": (4, 16)}
    assert report.sizes_final
    assert report.budget_asked == "share=0.9"
    assert (report.share_of_all, report.share_of_learnable) == (0.25, 0.25)
    printed = capsys.readouterr().out
    assert "25 % of all, 25 % of the learnable, budget" in printed
    assert "No size was given up" in printed
    assert load_artifact(tmp_path / "a")[1]["threshold_measured"] is True


@pytest.mark.parametrize("share", [{"share": 0.25}, {"share_of_all": 0.25}, {"flops_per_second": 600.0}])
def test_a_threshold_of_other_sizes_is_not_passed_off_as_its_own(make_module, tmp_path, share):
    _, report = consolidate_checkpoint(settled(make_module, 8), tmp_path / "a", **share)
    assert report.sizes == {"bands": (4, 16)}
    assert load_artifact(tmp_path / "a")[1]["threshold_measured"] is False
    assert any("threshold was measured on another network" in remark for remark in report.remarks)
    assert "not measured on this network" in (tmp_path / "a" / "README.md").read_text()


def test_negative_points_are_refused(make_module, tmp_path):
    with pytest.raises(ValueError, match="curve must be"):
        consolidate_checkpoint(make_module(), tmp_path / "a", curve_points=-1)


def test_an_export_that_fails_is_told_after_the_rest(make_module, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dyn_lightning.artifact.exported.save_program", lambda *rest: 1 / 0)
    with pytest.raises(
        ExportError, match=r"the artifact is written, but no model\.pt2: ZeroDivisionError: division by zero"
    ):
        consolidate_checkpoint(make_module(), tmp_path / "a", exports=["pt2", "int8"])
    printed = capsys.readouterr().out
    assert "consolidated:" in printed
    assert "int8:" in printed
    assert load_artifact(tmp_path / "a")[1]["task"]


def test_a_budget_refuses_what_has_no_price(make_module, tmp_path):
    module = make_module()
    module.complexity.uncounted = ("bands.matrix_exp (matrix_exp)",)
    with pytest.raises(ValueError, match=r"no price.*allow_uncounted: \[matrix_exp\]"):
        consolidate_checkpoint(module, tmp_path / "a", share=0.5)
    consolidate_checkpoint(module, tmp_path / "a", share=0.5, allow_uncounted=["matrix_exp"])
    consolidate_checkpoint(module, tmp_path / "whole")  # nothing is promised
    module = make_module(objective=FlopsBudget(share=0.9, allow_uncounted=["bands.*"]))
    module.complexity.uncounted = ("bands.matrix_exp (matrix_exp)",)
    consolidate_checkpoint(module, tmp_path / "b", share=0.5)
