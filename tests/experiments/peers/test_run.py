"""Every method from its plan to its record, on a network and data that take a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.runs import append_result
from dyn_lightning.sweep.file import read_sweep, runs_of
from dyn_lightning.tasks import FrameDetection
from dyn_lightning.widths import BOUNDARIES
from experiments.peers import benches, table
from experiments.peers import run as peers
from experiments.peers.benches import BENCHES, Bench, complexity_of, vad_bench
from experiments.peers.gates import GaussianGates, HardConcreteGates
from experiments.peers.methods import LR_GROWTH, METHODS, Given, system_name
from experiments.vad import systems as vad_systems

SAMPLE_RATE, N_SAMPLES = 8000, 2000
LABEL = "25"


def small() -> CRNNVAD:
    return CRNNVAD(8, 8, 16, sample_rate=SAMPLE_RATE, n_fft=256, hop_length=64)


class Tones(lightning.LightningDataModule):
    """Noise with a tone in its second half."""

    def _loader(self, items: int) -> DataLoader[Any]:
        torch.manual_seed(0)
        frames = 1 + (N_SAMPLES - 256) // 64
        target = torch.zeros(items, frames)
        target[:, frames // 2 :] = 1
        time = torch.arange(N_SAMPLES) / SAMPLE_RATE
        audio = 0.1 * torch.randn(items, N_SAMPLES) + (time > 0.125) * torch.sin(2000 * time)
        data = [{"audio": a, "target": t} for a, t in zip(audio, target, strict=True)]
        return DataLoader(data, batch_size=4)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(8)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(4)

    test_dataloader = val_dataloader


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Bench:
    made = Bench(
        name="vad",
        config={"epochs": 8, "lr": 1e-3},
        epochs=8,
        lr=1e-3,
        search_share=0.25,
        beta=0.5,
        backbone=small,
        narrower=lambda share: CRNNVAD(4, 4, 8, sample_rate=SAMPLE_RATE, n_fft=256, hop_length=64),
        task=FrameDetection,
        data=lambda root, seed, workers: Tones(),
        data_name=lambda root: "tones",
        test="test/eer",
        all_flops=False,
        duration_s=N_SAMPLES / SAMPLE_RATE,
    )
    monkeypatch.setitem(BENCHES, "vad", lambda: made)
    for other in ("vad_transformer", "antispoofing"):  # put back in their order
        monkeypatch.delitem(BENCHES, other)
    return made


def job(method: str, tmp_path: Any, **options: Any) -> peers.Job:
    args = peers.parse(["--runs", str(tmp_path / "runs"), "--benches", "vad", "--jobs", "2"])
    return peers.Job("vad", method, LABEL, 0, options.get("trial", 0), args)


def finished_run(system: str, seed: int, lr: float, eer: float) -> dict[str, Any]:
    return {
        "config": {"system": system, "epochs": 8, "lr": lr},
        "bench": "vad",
        "seed": seed,
        "dataset": "tones",
        "metrics": {"val/eer": eer, "test/eer": eer},
        "flops_per_second": 1e6,
        "wall_time_s": 1.0,
    }


@pytest.mark.parametrize("method", [m for m in METHODS if m != "torch-pruning"])
def test_every_method_comes_to_its_budget(method: str, bench: Bench, tmp_path: Any) -> None:
    if METHODS[method].has_teacher:
        peers.train(job("full", tmp_path))
    record = peers.train(job(method, tmp_path))
    assert record["config"]["system"].startswith(system_name(method, LABEL))
    assert record["method"] == method
    assert 0 <= record["metrics"]["test/eer"] <= 1
    if method not in ("full", "uniform", "distilled", "paper"):
        cost = complexity_of(bench)
        share = (record["flops_per_second"] - cost.fixed_flops()) / cost.learnable_flops()
        assert 0.15 < share < 0.26
    if "largest_relative_difference" in record:
        assert record["largest_relative_difference"] < 1e-5


def test_the_taught_network_wants_its_teacher_first(bench: Bench, tmp_path: Any) -> None:
    taught = job("distilled", tmp_path)
    with pytest.raises(FileNotFoundError, match="no full network of seed 0 to learn from: run it first"):
        peers.train(taught)
    peers.train(job("full", tmp_path))
    assert peers.train(taught)["metrics"]["test/eer"] <= 1
    last = taught.teacher.folder() / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    torch.save({**checkpoint, "epoch": checkpoint["epoch"] - 1}, last)  # as if it were still being trained
    assert peers.finished_folder(taught.teacher) is None


def test_a_teacher_that_is_not_on_this_machine_is_trained_first(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.jsonl"
    append_result(results, finished_run("full", 0, 1e-3, 0.2))
    append_result(results, finished_run("full", 0, 3e-3, 0.1))
    stages: list[list[tuple[str, float]]] = []

    def run_jobs(run: Any, jobs: list[peers.Job], *_: Any) -> None:
        stages.append([(j.system, j.made_bench.lr) for j in jobs])

    monkeypatch.setattr(peers, "run_jobs", run_jobs)
    monkeypatch.setattr(peers, "write_tables", lambda *_: None)
    runs = ["--runs", str(tmp_path / "runs"), "--results", str(results), "--benches", "vad"]
    peers.main(["--methods", "full", "distilled", "--budgets", "25", "--seeds", "0", *runs])
    assert [("full", 3e-3)] in stages  # at the rate that validation prefers
    assert stages[-1] == [("distilled 25 %", 1e-3)]


def test_a_taught_method_is_tuned_with_the_teacher_that_it_will_have(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results.jsonl"
    append_result(results, finished_run("full", 0, 1e-3, 0.2))
    append_result(results, finished_run("full", 0, 3e-3, 0.1))
    monkeypatch.setitem(METHODS, "distilled", replace(METHODS["distilled"], lr_of=None))
    wanted = ["--methods", "full", "distilled", "--budgets", "25", "--seeds", "0", "1", "--tune_seeds", "1"]
    args = peers.parse([*wanted, "--benches", "vad", "--results", str(results)])
    assert {(j.method, j.lr_factor) for j in peers.tuning(args, taught=False)} == {("full", 1.0), ("full", 3.0)}
    found = [(j.method, j.seed, j.lr_factor, j.teacher.made_bench.lr) for j in peers.tuning(args, taught=True)]
    assert found == [("distilled", 0, 1.0, 3e-3), ("distilled", 0, 3.0, 3e-3)]


def test_tables_are_written_though_runs_have_failed(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_jobs(run: Any, jobs: list[peers.Job], *_: Any) -> None:
        if jobs:
            raise RuntimeError(f"{len(jobs)} runs have failed")

    written: list[str] = []
    monkeypatch.setattr(peers, "run_jobs", run_jobs)
    monkeypatch.setattr(peers, "write_tables", lambda results, *_: written.append(str(results)))
    results = tmp_path / "results.jsonl"
    with pytest.raises(RuntimeError, match="2 runs have failed; 1 runs have failed"):
        peers.main(["--methods", "full", "--seeds", "0", "--benches", "vad", "--results", str(results)])
    assert written == [str(results)]


def test_runs_of_other_settings_and_data_keep_out_of_the_table(bench: Bench, tmp_path: Any) -> None:
    results = tmp_path / "results.jsonl"
    for seed in (0, 1):
        append_result(results, finished_run("full", seed, 1e-3, 0.2))
    longer = finished_run("full", 2, 1e-3, 0.1)
    append_result(results, longer | {"config": {**longer["config"], "epochs": 99}})
    append_result(results, finished_run("full", 3, 1e-3, 0.1) | {"dataset": "others"})
    assert [r["seed"] for r in table.records_of(bench, results)] == [0, 1]
    assert [r["seed"] for r in table.records_of(bench, results, "others")] == [3]


def test_methods_run_where_they_can_meet_a_budget(bench: Bench) -> None:
    jobs = list(peers.queue(peers.parse(["--benches", "vad"])))
    assert "torch-pruning" not in {j.method for j in jobs}
    assert {j.method for j in jobs} == {m for m in METHODS if "vad" in METHODS[m].benches}


def test_the_queue_goes_by_value(bench: Bench) -> None:
    args = peers.parse(
        ["--benches", "vad", "--seeds", "0", "1", "--peer_seeds", "1", "--budgets", "6.25", "25", "12.5"]
    )
    jobs = list(peers.queue(args))
    names = [(j.system, j.seed) for j in jobs]
    assert len(set(names)) == len(names)
    assert names[:4] == [("full", 0), ("full", 1), ("growing 6.25 %", 0), ("growing 6.25 %", 1)]
    kinds = [METHODS[j.method].kind for j in jobs if j.label == "6.25"]
    assert kinds == sorted(kinds, key=["core", "peer", "trained", "ablation"].index)
    assert all(j.label == "6.25" for j in jobs if METHODS[j.method].kind == "ablation")
    assert [n for n, _ in names if n.startswith("random 6.25")] == [f"random 6.25 %, trial {i}" for i in (1, 2, 3)]
    assert ("growing 12.5 %", 0) in names
    assert ("growing 12.5 %", 1) not in names


def test_a_budget_beyond_the_first_ones_can_be_run_alone(bench: Bench) -> None:
    args = peers.parse(
        ["--benches", "vad", "--methods", "full", "growing", "linear", "--budgets", "12.5", "--seeds", "0"]
    )
    assert [j.system for j in peers.queue(args)] == ["full", "growing 12.5 %", "linear 12.5 %"]


@pytest.mark.parametrize("name", [m for m in METHODS if m != "torch-pruning"])
def test_the_rate_grows_wherever_sizes_are_learned_under_a_budget(bench: Bench, name: str) -> None:
    teacher = small if METHODS[name].has_teacher else lambda: pytest.fail("no teacher is asked for")
    plan = METHODS[name].plan(Given(bench, 0.25, 0, teacher))
    constant = ("full", "uniform", "random", "distilled", "paper", "constant rate")
    assert plan.module.lr_growth == (0.0 if name in constant else LR_GROWTH)
    assert plan.module.is_dynamic == (name not in ("full", "uniform", "random", "distilled"))


@pytest.mark.parametrize("name", ["from full", "cut from full"])
def test_what_is_shrunk_has_the_trained_weights_and_learns_them(bench: Bench, name: str) -> None:
    full = small()
    audio = torch.randn(2, N_SAMPLES)
    expected = full.eval()(audio)
    module = METHODS[name].plan(Given(bench, 0.25, 0, lambda: full)).module.eval()
    torch.testing.assert_close(module(audio), expected)
    assert all(p.requires_grad for p in module.parameters())


def test_gates_have_a_pace_and_a_search_of_their_own(bench: Bench) -> None:
    given = Given(bench, 0.25, 0, lambda: pytest.fail("no teacher is asked for"))
    plans = {name: METHODS[name].plan(given) for name in ("hard concrete", "gaussian gates", "growing")}
    found = {name: (plan.module.lr_lam / bench.lr_lam, plan.search_share) for name, plan in plans.items()}
    own = (pytest.approx(3.0), 0.5)
    assert found == {"hard concrete": own, "gaussian gates": own, "growing": (1.0, bench.search_share)}


def test_torch_pruning_is_left_out_where_it_is_not_installed(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    monkeypatch.setattr(peers, "run_missing", lambda jobs, args, what: asked.append(args.methods))
    monkeypatch.setattr(peers, "write_tables", lambda *_: None)
    peers.main(["--benches", "vad", "--methods", "full", "torch-pruning", "--results", str(tmp_path / "r.jsonl")])
    assert asked[-1] == ["full"]
    assert "torch-pruning is left out" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["growing", "uniform"])
def test_a_run_begins_the_same_whatever_ran_before_it(method: str) -> None:
    bench = vad_bench()

    def begin() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return METHODS[method].plan(Given(bench, 0.25, 0, small)).module.state_dict()

    for known in (benches._complexity, vad_systems.full_complexity, vad_systems.uniform_sizes):
        known.cache_clear()
    torch.testing.assert_close(begin(), begin(), rtol=0, atol=0, equal_nan=True)


def test_finished_runs_make_the_tables(bench: Bench, tmp_path: Any) -> None:
    def record(system: str, seed: int, eer: float, **more: Any) -> dict[str, Any]:
        flops = complexity_of(bench).flops_at({"mel": 4, "conv": 4, "gru-l0": 8, "gru-l1": 8})
        return finished_run(system, seed, 1e-3, eer) | {"flops_per_second": flops, **more}

    for seed in (0, 1):
        append_result(tmp_path / "results.jsonl", record("uniform 25 %", seed, 0.3 + 0.1 * seed))
        append_result(tmp_path / "results.jsonl", record("growing 25 %", seed, 0.1 + 0.1 * seed, bench="vad"))
        append_result(tmp_path / "results.jsonl", record("linear 25 %", seed, 0.2 + 0.1 * seed, bench="vad"))
    append_result(tmp_path / "results.jsonl", record("uniform 25 %", 0, 0.9, dataset="others"))
    table.write_tables(tmp_path / "results.jsonl", tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "| learned sizes (ours) | 25 | 0.001 | 2 |" in text
    assert "15.00 [" in text
    assert "20.00 [20.00, 20.00]" in text  # uniform minus ours
    assert "ours ahead of 1 of 1 others in the mean." in text
    assert "Not run at 25 %: full size; same schedule" in text
    assert "λ linear" in text.split("Not run at 6.25 %: ")[1]  # where it is asked for, and was not run
    assert "λ linear" not in text.split("Not run at 25 %: ")[1]
    assert "10.00 [10.00, 10.00]" in text  # λ linear minus ours
    assert "Given the trained full network" not in text
    assert (tmp_path / "front.png").stat().st_size > 1000
    assert (tmp_path / "ablations.png").stat().st_size > 1000


def test_methods_that_are_given_a_trained_network_stand_beside_ours_that_is(bench: Bench, tmp_path: Any) -> None:
    eers = {"growing 25 %": 0.1, "from full 25 %": 0.05, "distilled 25 %": 0.08, "cut from full 25 %": 0.04}
    for seed in (0, 1):
        for system, eer in eers.items():
            append_result(tmp_path / "results.jsonl", finished_run(system, seed, 1e-3, eer))
    table.write_tables(tmp_path / "results.jsonl", tmp_path)
    text = (tmp_path / "results.md").read_text()
    before, given = text.split("### Given the trained full network")
    assert METHODS["distilled"].title not in before
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in given.splitlines() if line.startswith("| ")}
    assert "| 3.00 [3.00, 3.00] |" in rows[METHODS["distilled"].title]
    assert "| -1.00 [-1.00, -1.00] |" in rows[METHODS["cut from full"].title]
    said = "At 25 %, from trained full size: ours ahead of 1 of 2 others in the mean; not ahead of "
    assert said + METHODS["cut from full"].title in text
    assert "- At 25 %: ours" not in text  # nothing to compare with


def test_every_method_has_a_place_in_the_figures(bench: Bench, tmp_path: Path) -> None:
    for i, (name, method) in enumerate(METHODS.items()):
        for seed in (0, 1):
            for trial in range(method.trials):
                end = f", trial {trial + 1}" if method.trials > 1 else ""
                found = finished_run(system_name(name, LABEL) + end, seed, 1e-3, 0.1 + 0.01 * i)
                found["flops_per_second"] = complexity_of(bench).flops_full_size()
                append_result(tmp_path / "results.jsonl", found)
    table.write_tables(tmp_path / "results.jsonl", tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert all(f"| {method.title} |" in text for method in METHODS.values())
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_what_is_done_is_not_done_again(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for system in ("growing 25 %", "uniform 25 %"):
        append_result(tmp_path / "results.jsonl", finished_run(system, 0, 1e-3, 0.1))
    asked: list[str] = []
    monkeypatch.setattr(peers, "run_jobs", lambda run, jobs, *_: asked.extend(j.system for j in jobs))
    monkeypatch.setattr(peers, "write_tables", lambda *_: None)
    wanted = ["--methods", "growing", "uniform", "linear", "--budgets", "25", "--seeds", "0", "--benches", "vad"]
    peers.main([*wanted, "--results", str(tmp_path / "results.jsonl"), "--lr_factors", "1"])
    assert asked == ["linear 25 %"]
    assert capsys.readouterr().out == "comparison: 1 runs to do, 2 done\n"


def test_each_method_is_run_on_at_the_rate_that_validation_prefers(
    bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, float]] = []
    better = {"full": 1e-3, "growing 25 %": 3e-3, "uniform 25 %": 1e-3}

    def run_jobs(run: Any, jobs: list[peers.Job], results: str, *_: Any) -> None:
        for j in jobs:
            asked.append((j.system, j.seed, j.made_bench.lr))
            lr = j.made_bench.lr
            append_result(results, finished_run(j.system, j.seed, lr, 0.1 if better.get(j.system) == lr else 0.2))

    monkeypatch.setattr(peers, "run_jobs", run_jobs)
    monkeypatch.setattr(peers, "write_tables", lambda *_: None)
    methods = ["full", "growing", "uniform", "linear", "random"]
    wanted = ["--methods", *methods, "--budgets", "25", "--seeds", "0", "1", "--tune_seeds", "1", "--benches", "vad"]
    peers.main([*wanted, "--results", str(tmp_path / "results.jsonl")])
    tuned = [("full", 0), ("growing 25 %", 0), ("uniform 25 %", 0)]
    assert asked[:6] == [(*job, lr) for job in tuned for lr in (1e-3, 3e-3)]
    assert asked[6:9] == [("full", 1, 1e-3), ("growing 25 %", 1, 3e-3), ("uniform 25 %", 1, 1e-3)]
    rates = {(system, lr) for system, _, lr in asked[9:]}
    trials = {(f"random 25 %, trial {i}", 1e-3) for i in (1, 2, 3)}  # as uniform
    assert rates == {("linear 25 %", 3e-3), *trials}  # as ours
    count = len(asked)
    peers.main([*wanted, "--results", str(tmp_path / "results.jsonl")])
    assert len(asked) == count


def test_another_learning_rate_is_another_run(bench: Bench, tmp_path: Any) -> None:
    one, other = (replace(job("uniform", tmp_path), lr_factor=factor) for factor in (1.0, 3.0))
    first, second = peers.train(one), peers.train(other)
    assert [r["config"]["lr"] for r in (first, second)] == [1e-3, 3e-3]
    assert not first["resumed"]
    assert not second["resumed"]
    for record in (first, second):
        append_result(tmp_path / "results.jsonl", record)
    table.write_tables(tmp_path / "results.jsonl", tmp_path)
    assert "### Learning rates" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("path", sorted(Path(peers.__file__).parent.glob("sweep_*.yaml")), ids=lambda p: p.stem)
def test_sweep_files_have_every_way_for_a_unit_to_pass_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(peers.__file__).parents[2])
    runs = runs_of(read_sweep(path))
    gated = path.stem.endswith("_gates")
    ways = {str(run.parameters["model.width_class" if gated else "model.boundary"]) for run in runs}
    if gated:
        assert ways == {f"{kind.__module__}.{kind.__name__}" for kind in (GaussianGates, HardConcreteGates)}
    else:
        assert {"taper", "paper", "attenuation"} <= ways <= {*BOUNDARIES}
    assert len(runs) == 3 * len(ways)
