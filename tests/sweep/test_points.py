"""Finished runs of any source become the same points."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from wandb.sdk.wandb_run import Run

from dyn_lightning.cli import main
from dyn_lightning.cli.pareto import pareto
from dyn_lightning.runs import append_result, read_results
from dyn_lightning.sweep.points import differing, file_points, mean_over_seeds, read_points, wandb_points
from dyn_lightning.sweep.runner import run_all
from dyn_lightning.sweep.space import SweepError


def record(eer, flops, seed=0, configuration="c", **more):
    return {
        "metrics": {"val/eer": eer, "val/loss": 1.0},
        "flops_per_second": flops,
        "config": {"model": {"lr": 1e-3, "sizes": [1, 2]}},
        "config_hash": configuration,
        "seed": seed,
        "dataset": "d",
        **more,
    }


def test_results_of_fit(tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, record(0.1, 2e6, seed=7))
    append_result(path, record(None, 2e6))
    append_result(path, record(0.3, None, flops_per_call=5.0))
    first, second, third = file_points(path, "val/eer")
    assert (first.error, first.flops, first.unit, first.dataset) == (0.1, 2e6, "flops_per_second", "d")
    assert first.settings == {"model.lr": 1e-3, "model.sizes": [1, 2], "seed_everything": 7}
    assert first.runs == (f"{path}:1",)
    assert second is None
    assert (third.flops, third.unit) == (5.0, "flops_per_call")
    assert read_points([str(path)], "val/eer") == ([first, third], 1, 0)
    assert read_points([str(path)], "val/none") == ([], 3, 0)


def test_a_run_that_was_made_twice_counts_once(tmp_path, capsys):
    """A run that was killed after its record was written writes another when it goes on."""
    path, other = tmp_path / "results.jsonl", tmp_path / "copy.jsonl"
    for eer, seed in ((0.2024, 0), (0.2, 1), (0.2024, 0), (0.3, 1)):
        append_result(path, record(eer, 1e6, seed=seed))
    append_result(other, record(0.1, 1e6, seed=1, finished_utc="2026-01-01T00:00:00Z"))
    for sources in ([str(path), str(other)], [str(other), str(path)]):
        points, _, left_out = read_points(sources, "val/eer")
        assert sorted(point.error for point in points) == [0.1, 0.2024]  # of seed 1 that which says it is later
        assert left_out == 3
    (mean,) = mean_over_seeds(points)
    assert len(mean.runs) == 2
    assert pareto([str(path), "--out", str(tmp_path / "front.json")]) == 0
    assert "2 records are left out: of the same configuration and seed" in capsys.readouterr().out


def test_runs_with_random_seeds_are_all_runs(tmp_path):
    path = tmp_path / "results.jsonl"
    for seed in (None, False):
        for eer in (0.1, 0.2, 0.2):
            append_result(path, record(eer, 1e6, seed=seed))
    assert len(read_points([str(path)], "val/eer").points) == 4  # the very same record once


def test_journals_of_sweeps(make_runs, quiet, tmp_path):
    runs = make_runs(parameters={"a": {"values": [1, 2, 4]}, "act": {"values": ["work", "fail"]}})
    run_all(runs, "runs", jobs=2, console=quiet)
    points, without, _ = read_points(["runs"], "val/eer")
    assert without == 0
    assert sorted(p.error for p in points) == pytest.approx([0.01, 0.02, 0.04])
    assert all(p.flops == pytest.approx(1e4 / p.error) for p in points)
    assert read_points(["runs/journal.jsonl"], "val/eer").points[0].settings == points[0].settings
    # A run that was run again counts once, with what came last.
    append_result("runs/journal.jsonl", {"run": runs[0].key, "event": "finished", "record": record(0.5, 1.0)})
    assert sorted(p.error for p in read_points(["runs"], "val/eer")[0]) == pytest.approx([0.02, 0.04, 0.5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("metrics", "no JSON"),
        ('{"a": 1}', "line 1: has no metrics"),
        (None, "cannot be read"),
        ('{"metrics": [1]}', "line 1: metrics is no object"),
        ('{"metrics": {"val/eer": "low"}}', "line 1: metrics val/eer is 'low', no number"),
        ('{"metrics": {"val/eer": NaN}}', "line 1: metrics val/eer is nan, no number"),
        ('{"metrics": {}, "config": 3}', "line 1: config is no object"),
        ('{"metrics": {}, "config_hash": [3]}', r"line 1: config_hash is \[3\], no text"),
        ('{"metrics": {}, "flops_per_second": -1}', "line 1: flops_per_second is -1, no positive number"),
        ('{"run": [1], "event": "finished", "record": null}', "line 1: has no metrics"),
    ],
)
def test_files_that_hold_no_runs(tmp_path, content, message):
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_text(content + "\n")
    with pytest.raises(SweepError, match=rf"x\.jsonl.*{message}"):
        file_points(path, "val/eer")


def fake_run(name, state="finished", summary=None, **config):
    return SimpleNamespace(id=name, state=state, summary=summary or {}, config=config)


class FakeApi:
    """What W&B's public API gives of a project and of a sweep."""

    def __init__(self, *runs):
        self.given, self.asked = list(runs), []

    def runs(self, path):
        self.asked.append(("runs", path))
        return iter(self.given)

    def sweep(self, path):
        self.asked.append(("sweep", path))
        return SimpleNamespace(runs=self.given)


def test_runs_of_wandb():
    summary = {"val/eer": 0.08, "complexity/flops_per_second": 3e6, "complexity/flops_per_second_paper": 1.0}
    api = FakeApi(
        fake_run("a", summary=summary, model={"lr": 1e-3}, seed_everything=0),
        fake_run("b", summary=summary, model={"lr": 1e-3}, seed_everything=1),
        fake_run("c", summary=summary, model={"lr": 2e-3}, seed_everything=1),
        fake_run("d", "crashed", summary),
        fake_run("e", "running", summary),
        fake_run("f", summary={"val/eer": "NaN", "complexity/flops_per_second": 3e6}),
        fake_run("g", summary={"val/eer": 0.1}),
    )
    *points, f, g = wandb_points("me/speech", "val/eer", api)
    assert f is g is None
    assert [p.runs for p in points] == [(f"wandb:me/speech/{name}",) for name in "abc"]
    assert [(p.error, p.flops, p.unit) for p in points] == [(0.08, 3e6, "flops_per_second")] * 3
    assert points[0].settings == {"model.lr": 1e-3, "seed_everything": 0}
    assert points[0].configuration == points[1].configuration != points[2].configuration
    assert wandb_points("me/speech/abc123", "val/eer", api)[:3] == points
    assert api.asked == [("runs", "me/speech"), ("sweep", "me/speech/abc123")]


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def fit_offline(tmp_path, monkeypatch):
    """A small fit of the command line with W&B's logger, offline; gives what W&B's API gives of such a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])
    names = ("task/filter_bank", "dynamic/budget", "trainer/cpu", "logger/wandb")
    small = ["data.batch_size=8", "data.batches_per_epoch=2", "data.eval_batches=1", "trainer.max_epochs=3"]
    small += ["trainer.log_every_n_steps=1", "phases.warmup_epochs=1", "phases.search_epochs=1"]
    small += ["trainer.callbacks=[dyn_lightning.callbacks.ComplexityLogger]", "results=results.jsonl"]

    kept, finish = [], Run.finish

    def keep_and_finish(run, *args, **kwargs):
        assert run.settings._offline
        kept.append(fake_run(run.id, summary=dict(run.summary), **run.config.as_dict()))
        finish(run, *args, **kwargs)

    monkeypatch.setattr(Run, "finish", keep_and_finish)

    def fit(*given):
        files = [word for name in names for word in ("-c", str(CONFIGS / f"{name}.yaml"))]
        assert main(["fit", *files, *(f"--{word}" for word in (*small, *given))]) == 0
        return kept.pop()

    return fit


def test_budgets_of_a_project_stay_apart_and_seeds_come_together(fit_offline):
    share = "model.objective.init_args.share"
    runs = [fit_offline(f"{share}={s}", f"seed_everything={seed}") for s, seed in ((0.7, 0), (0.7, 1), (0.4, 0))]
    first, second, third = points = wandb_points("me/speech", "val/l1", FakeApi(*runs))
    records = read_results("results.jsonl")
    assert [p.configuration for p in points] == [r["config_hash"] for r in records]
    assert first.configuration == second.configuration != third.configuration
    assert first.error != second.error  # other training data, too
    assert {p.dataset for p in points} == {"FilterBankDataModule"}
    assert differing(points) == [{share: s, "seed_everything": seed} for s, seed in ((0.7, 0), (0.7, 1), (0.4, 0))]
    assert [len(p.runs) for p in mean_over_seeds(points)] == [2, 1]
    # the same points as of the records on this machine
    of_records = file_points("results.jsonl", "val/l1")
    assert [(p.configuration, p.settings, p.flops) for p in of_records] == [
        (p.configuration, p.settings, p.flops) for p in points
    ]
    assert [p.error for p in of_records] == pytest.approx([p.error for p in points])


def test_wandb_without_a_login_or_without_the_project(monkeypatch):
    def refuse():
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr(wandb, "Api", refuse)
    with pytest.raises(SweepError, match=r"wandb:me/speech: .*No API key.*wandb login"):
        read_points(["wandb:me/speech"], "val/eer")

    def absent(path):
        raise ValueError("Could not find project")

    with pytest.raises(SweepError, match="Could not find project"):
        wandb_points("me/speech", "val/eer", SimpleNamespace(runs=absent))
    for path in ("me", "me/speech/a/b", "me//x"):
        with pytest.raises(SweepError, match="must be wandb:ENTITY/PROJECT"):
            wandb_points(path, "val/eer", FakeApi())


def test_means_over_seeds(tmp_path):
    path = tmp_path / "results.jsonl"
    for seed, eer in enumerate((0.1, 0.2, 0.6)):
        append_result(path, record(eer, 1e6 * (seed + 1), seed))
    append_result(path, record(0.4, 7e6, configuration="other"))
    append_result(path, record(0.4, 7e6, dataset="another"))
    one, other, another = mean_over_seeds(read_points([str(path)], "val/eer")[0])
    assert (one.error, one.flops, len(one.runs)) == (pytest.approx(0.3), pytest.approx(2e6), 3)
    assert "seed_everything" not in one.settings
    assert (other.error, other.runs) == (0.4, (f"{path}:4",))
    assert another.dataset == "another"


def test_differing_settings(tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, record(0.1, 1.0, config={"a": 1, "b": {"c": [1], "d": 3}}))
    append_result(path, record(0.1, 1.0, config={"a": 1, "b": {"c": [2]}}))
    assert differing(read_points([str(path)], "val/eer")[0]) == [{"b.c": [1], "b.d": 3}, {"b.c": [2]}]
