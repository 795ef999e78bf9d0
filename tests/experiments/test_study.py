"""What the studies share, on a network and data that take a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.optim import narrowing
from dyn_lightning.tasks import FrameDetection
from experiments.antispoofing.systems import PRESETS
from experiments.antispoofing.systems import all_systems as antispoofing_systems
from experiments.study import (
    finished,
    is_of,
    markdown,
    mean_spread,
    optimiser,
    run_folder,
    run_jobs,
    runs_at_a_time,
    slug,
    unknown_names,
)
from experiments.training import narrow_lr
from experiments.vad.systems import all_systems as vad_systems
from experiments.vad.systems import full_complexity


def test_a_network_built_narrower_has_the_rate_of_one_that_has_become_so() -> None:
    full = full_complexity("CRNNVAD")
    # Sizes of CRNNVAD: 80 bands, 80 channels, 256 and 256 hidden; here a half, a half, a quarter and a quarter.
    narrower = CRNNVAD(n_mels=40, channels=40, hidden_size=64)
    assert narrow_lr(1e-3, 0.8, full, narrower, torch.zeros(1, 16000)) == pytest.approx(1e-3 * 8**0.4)
    assert narrow_lr(1e-3, 0.0, full, narrower, torch.zeros(1, 16000)) == 1e-3
    module = DynamicModule(CRNNVAD(), FrameDetection(), FlopsBudget(0.1), lr=1e-3, lr_growth=0.8)
    for name, size in {"mel": 40, "conv": 40, "gru-l0": 64, "gru-l1": 64}.items():
        module.widths[name].freeze(size)
    assert 1e-3 * narrowing(list(module.widths.values())) ** 0.8 == pytest.approx(1e-3 * 8**0.4)


def test_studies_raise_the_rate_of_narrow_networks_alone() -> None:
    settings = PRESETS["mini"]
    paper = {"antispoofing": "paper, all stacks, λ ≥ 0.5", "vad": "paper, bands, λ ≥ 0.5"}
    wanted = {"full", "learned 25 %", "uniform 25 %", "uniform 6.25 %", *paper.values()}
    spoofing = {s.name: s.module(settings) for s in antispoofing_systems(settings) if s.name in wanted}
    vad = {s.name: s.module(3e-3, 0.8) for s in vad_systems() if s.name in wanted}
    for modules, lr, name in ((spoofing, 1e-3, paper["antispoofing"]), (vad, 3e-3, paper["vad"])):
        for fixed in ("full", name):
            assert (modules[fixed].lr, modules[fixed].lr_growth) == (lr, 0.0)
        assert (modules["learned 25 %"].lr, modules["learned 25 %"].lr_growth) == (lr, 0.8)
        assert lr < modules["uniform 25 %"].lr < modules["uniform 6.25 %"].lr < 5 * lr


def test_the_optimiser_in_words() -> None:
    assert optimiser({"lr": 3e-3}) == "Adam at 0.003"
    assert optimiser({"lr": 3e-3, "lr_growth": 0.8}) == "Adam at 0.003 × narrowing^0.8"


def test_spread_is_the_sample_standard_deviation() -> None:
    assert mean_spread([1.0, 2.0, 3.0]) == "2.00 ± 1.00"
    assert mean_spread([5.0]) == "5.00"
    assert mean_spread([None, 4.0], digits=0) == "4"
    assert mean_spread([None]) == "–"


def test_a_run_of_other_settings_or_data_has_another_folder() -> None:
    config = {"system": "learned 25 %", "lr": 1e-3}
    folder = run_folder("runs", config, 0, "data")
    assert folder == run_folder("runs", dict(reversed(config.items())), 0, "data")
    assert str(folder).startswith("runs/learned-25-0-")
    others = [({**config, "lr": 3e-3}, 0, "data"), (config, 1, "data"), (config, 0, "other")]
    assert len({folder, *(run_folder("runs", *other) for other in others)}) == 4


def test_folders_of_names_hold_no_signs() -> None:
    assert slug("paper, all stacks, β 0.5") == "paper--all-stacks--beta-0.5"
    assert slug("learned 6.25 %") == "learned-6.25"


def test_markdown_has_a_column_a_key() -> None:
    assert markdown([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]) == "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n"


def test_runs_of_other_settings_or_data_are_not_finished(tmp_path: Path) -> None:
    def record(system: str, seed: int, lr: float, dataset: str) -> dict[str, Any]:
        return {"config": {"system": system, "lr": lr}, "seed": seed, "dataset": dataset}

    records = [record("a", 0, 0.1, "here"), record("a", 1, 0.2, "here"), record("b", 2, 0.1, "there")]
    path = tmp_path / "results.jsonl"
    assert finished(path, {"lr": 0.1}, "here") == set()
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    assert finished(path, {"lr": 0.1}, "here") == {("a", 0)}
    assert not is_of(records[0], {"lr": 0.1, "epochs": 3}, "here")


def test_a_gpu_has_two_runs_at_a_time_and_each_core_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert runs_at_a_time() == 6
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert runs_at_a_time() == 2


def test_unknown_names_are_named_beside_the_known() -> None:
    assert unknown_names(["a"], ["a", "b"]) is None
    assert unknown_names(["c"], ["a", "b"]) == "no system is called 'c'; there are: 'a', 'b'"


def square(number: int) -> dict[str, Any]:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return {"square": number**2}


def test_each_result_is_kept_though_another_run_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = str(tmp_path / "results.jsonl")
    with pytest.raises(RuntimeError, match=r"1 of 3 runs have failed, the first with .*-1 is negative"):
        run_jobs(square, [2, -1, 3], results, lambda record: f"square {record['square']}", processes=1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "square 4"
    assert "the others go on" in printed[1]
    assert printed[2:] == ["square 9"]
    assert [json.loads(line)["square"] for line in Path(results).read_text().splitlines()] == [4, 9]


SLEEPERS = """
import time
from pathlib import Path
from experiments.study import run_jobs

def sleep(path):
    import os
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    import sys
    run_jobs(sleep, sys.argv[1:], "unused", str, 1)
"""


def test_runs_end_with_a_study_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleepers.py").write_text(SLEEPERS)
    root = Path(__file__).parents[2]
    study = subprocess.Popen(
        [sys.executable, str(tmp_path / "sleepers.py"), str(tmp_path / "pid")],
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=tmp_path,
    )
    try:
        _until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text() != "")
    finally:
        study.kill()
        study.wait()
    worker = int((tmp_path / "pid").read_text())
    _until(lambda: not _runs(worker))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def _until(true: Callable[[], bool], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)
