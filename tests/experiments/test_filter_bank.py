"""The synthetic study: short runs end to end, and what its tables say."""

from dataclasses import replace

import pytest
import torch

from dyn_lightning.data.synthetic_spectra import mel_weights, synthetic_batch
from dyn_lightning.models.filter_bank import FilterBankNet
from dyn_lightning.runs import append_result
from experiments.filter_bank import demo, estimators, run, table
from experiments.filter_bank.study import (
    FIXED,
    OURS,
    READINGS,
    Schedule,
    configuration,
    learned_filters,
    paper,
    relative_l1,
    train,
)

# λ's learning rate is high, so that a size changes within these few steps.
SHORT = Schedule(
    warmup_epochs=1,
    search_epochs=2,
    settle_epochs=1,
    steps_per_epoch=10,
    batch_size=16,
    eval_batches=2,
    lr_lam=0.03,
)


def record(name="ours", reading="padded", seed=0, kept=32, error=0.0, per_output=514):
    """A line as a run leaves it."""
    return {
        "config": {"name": name, "reading": reading},
        "seed": seed,
        "kept": kept,
        "metrics": {"relative_l1": error},
        "flops_per_call": float(per_output * kept),
        "flops_per_call_paper": float((per_output - 1) * kept),
        "wall_time_s": 20.0,
    }


@pytest.mark.parametrize("reading", READINGS)
def test_short_run_learns_a_size_and_says_what_it_costs(reading):
    outcome = train(reading, paper(5.0), 0, SHORT)
    found = outcome.record
    kept = found["kept"]
    assert 16 < kept < 64
    assert found["widths"] == {"bands": [kept, 64]}
    # A multiply-add is two, without the first addition of a sum.
    per_output = 2 * 257 + (2 * 32 if reading == "readout" else 0)
    assert found["flops_per_call"] == pytest.approx(per_output * kept, rel=0.01)
    assert found["parameters"] == kept * (257 + (32 if reading == "readout" else 0))
    assert found["largest_relative_difference"] < 1e-6
    assert outcome.filters.shape == (32 if reading == "readout" else kept, 257)
    assert 0 < found["metrics"]["relative_l1"] < 2


def test_fixed_network_learns_no_size():
    found = train("readout", FIXED, 0, SHORT).record
    assert (found["kept"], found["widths"], found["largest_relative_difference"]) == (32, {}, None)


def test_history_is_the_loss_over_the_targets_and_k():
    schedule = replace(SHORT, steps_per_epoch=50)
    found = train("padded", OURS, 0, schedule).record
    history = found["history"]
    assert history["step"] == [50, 100, 150, 200]
    assert history["k"][0] == 64
    assert history["complexity/flops_per_call"][-1] == pytest.approx(found["flops_per_call"], rel=1e-4)
    assert history["k"][-1] == found["kept"] < 64
    assert history["relative_l1"][-1] == pytest.approx(found["metrics"]["relative_l1"], rel=0.3)


def test_filters_and_error_of_a_perfect_network():
    network = FilterBankNet(257, 32, 32, readout=False)
    network.bands.weight.data = mel_weights().T.clone()
    spectra, target = synthetic_batch(8, torch.Generator().manual_seed(0), n_outputs=64)
    batches = [{"input": spectra, "target": target}]
    assert relative_l1(network, batches) < 1e-6
    assert torch.equal(learned_filters(network), mel_weights().T)
    network.bands.weight.data *= 0.75
    assert relative_l1(network, batches) == pytest.approx(0.25)


def test_filters_with_a_readout_are_those_of_both_layers():
    network = FilterBankNet(257, 40, 32)
    impulses = torch.eye(257)
    torch.testing.assert_close(learned_filters(network), network(impulses).T.detach())


def test_learning_rate_falls_only_after_the_sizes_are_final():
    schedule = Schedule()
    start = schedule.lr_hold * schedule.epochs
    assert start == pytest.approx(schedule.warmup_epochs + schedule.search_epochs + 0.2 * schedule.settle_epochs)


def test_finished_runs_are_not_run_again(tmp_path):
    jobs = [("padded", system, seed, SHORT) for system in (OURS, FIXED) for seed in (0, 1)]
    results = tmp_path / "results.jsonl"
    assert run.STUDY.missing(jobs, results) == jobs
    done = train(*jobs[0])
    append_result(results, done.record)
    assert run.STUDY.missing(jobs, results) == jobs[1:]
    longer = [("padded", OURS, 0, replace(SHORT, search_epochs=3))]
    assert run.STUDY.missing(longer, results) == longer
    assert configuration("padded", OURS, SHORT) == done.record["config"]


def test_the_command_line_runs_what_it_names_beside_its_results(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(run.STUDY, "run", lambda jobs, results, processes: found.append((jobs, processes)))
    monkeypatch.setattr(run, "write_tables", lambda results, folder: found.append((results, folder)))
    results = str(tmp_path / "r.jsonl")
    run.STUDY.main(["--seeds", "0", "1", "2", "3", "--only", "ours", "paper, β 1", "--results", results, "--jobs", "3"])
    (jobs, processes), written = found
    assert {system.name for _, system, _, _ in jobs} == {"ours", "paper, β 1"}
    assert len(jobs) == 2 * (4 + 3)
    assert (processes, written) == (3, (results, tmp_path))
    assert {job[3] for job in jobs} == {Schedule()}
    run.STUDY.main(["--steps_per_epoch", "2", "--seeds", "0", "--results", results])
    assert {job[3].steps_per_epoch for job in found[2][0]} == {2}
    assert len(found[2][0]) == 2 * 5
    with pytest.raises(SystemExit):
        run.STUDY.parse(["--only", "theirs"])


def test_table_rows():
    records = [record(seed=s, kept=32 + (s == 2), error=0.001 * s) for s in range(3)]
    records += [record("fixed 32"), record("paper, β 1", reading="readout", kept=60)]
    first, fixed, paper_row = table.rows(records)
    assert (first["K of 64"], first["seeds"], first["system"]) == ("32 ×2, 33", "3", "ours")
    assert (first["relative L1, mean"], first["worst"]) == ("0.00100", "0.00200")
    assert (fixed["of 64 wide"], fixed["of fixed 32"]) == ("−50 %", "1.00")
    assert first["of fixed 32"] == "1.01"
    assert (paper_row["reading"], paper_row["of fixed 32"]) == ("readout", "–")
    lines = table.markdown([first, fixed]).splitlines()
    assert len(lines) == 4
    assert all(line.count("|") == len(first) + 1 for line in lines)
    text = table.plain_text([first, fixed], ("system", "seeds")).splitlines()
    assert text == ["system    seeds", "ours      3    ", "fixed 32  1    "]


def test_findings_count_sizes_and_errors_apart():
    records = [record(seed=0, kept=32), record(seed=1, kept=31, error=0.03), record(seed=2, kept=37)]
    (line,) = table.findings([*records, record("fixed 32", error=0.001)])
    assert line.startswith("padded: K in 32–36 in 1 of 3 seeds")
    assert "by 0.02900 at most" in line
    assert line.endswith("in 2 of 3")


def test_figures_and_tables_of_short_runs(tmp_path):
    schedule = replace(SHORT, steps_per_epoch=13)
    outcomes = [train(reading, system, 0, schedule) for reading in READINGS for system in (OURS, FIXED)]
    results = tmp_path / "results.jsonl"
    for outcome in outcomes:
        append_result(results, outcome.record)
    table.write_tables(results, tmp_path)
    assert "| padded | ours | 1 |" in (tmp_path / "results.md").read_text()
    demo.demo_figure(outcomes, tmp_path / "demo" / "demo.png")
    for path in (tmp_path / "results.png", tmp_path / "demo" / "demo.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_gradient_is_that_of_the_loss_in_lam():
    # Without noise the loss is a function of λ, to be differentiated numerically.
    def gradient(k):
        return estimators.lam_gradient("padded", "attenuation", k, training_steps=0, batches=1, batch_size=8)

    @torch.no_grad()
    def loss(k):
        torch.manual_seed(0)
        network = FilterBankNet(257, 64, 32, readout=False).double()
        spectra, target = synthetic_batch(8, torch.Generator().manual_seed(0), n_outputs=64)
        output = network(spectra.double())
        output[:, 40] *= k - 40
        output[:, 41:] = 0
        return float((output - target).abs().mean())

    numeric = 64 * (loss(40.51) - loss(40.49)) / 0.02
    assert gradient(40.5).mean == pytest.approx(numeric, rel=1e-3)


def test_gradient_table_has_a_column_a_measurement():
    gradients = [{"reading": "padded", "boundary": "taper", "k": k, "mean": -1.0, "std": 0.5} for k in (63.99, 31.9)]
    (row,) = estimators.gradient_rows(gradients)
    assert row == {
        "boundary": "taper",
        "padded, K = 63.99": "-1.00 ± 0.50",
        "padded, K = 31.9": "-1.00 ± 0.50",
    }
