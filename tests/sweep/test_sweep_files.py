"""The sweep files: W&B's schema takes them, its agent's command lines parse, and a tiny fit of each study runs."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import wandb
import yaml
from sweeps.config import schema_violations_from_proposed_config

from dyn_lightning.callbacks import Consolidate
from dyn_lightning.cli import main
from dyn_lightning.cli.sweep import sweep
from dyn_lightning.cli.training import WidthsCLI
from dyn_lightning.runs import read_results
from dyn_lightning.sweep.file import Sweep, as_json, command_line, read_sweep, runs_of
from dyn_lightning.sweep.space import draw, grid_values
from tests.data.asvspoof_tree import make_2019

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs/sweeps").glob("*.yaml"))
STUDY_FILES = sorted((ROOT / "experiments").glob("*/sweep_*.yaml"))
STUDIES = ("antispoofing", "filter_bank", "vad")
RATE = 16000
TINY = {
    "trainer.max_epochs": 3,
    "trainer.log_every_n_steps": 1,
    "trainer.accelerator": "cpu",
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 2,
    "phases.warmup_epochs": 1,
}
TINY_OF_STUDY = {
    "filter_bank": {"data.batch_size": 8, "data.batches_per_epoch": 4, "data.eval_batches": 2},
    "vad": {
        "data.batch_size": 4,
        "data.items_per_epoch": 8,
        "data.val_items": 4,
        "data.test_items": 4,
        "data.duration_s": 0.5,
        "data.eval_duration_s": 0.5,
        "model.backbone.init_args.n_mels": 20,
        "model.backbone.init_args.channels": 12,
        "model.backbone.init_args.hidden_size": 10,
    },
    "antispoofing": {
        "data.n_samples": 4000,
        "data.batch_size": 8,
        "model.backbone.init_args.channels": [2, 2, 4, 4],
        "model.backbone.init_args.blocks": [1, 1, 1, 1],
        "model.backbone.init_args.embedding_size": 8,
        "model.example_duration_s": 0.25,
    },
}
REACHABLE = {"antispoofing": 0.7, "vad": 0.5, "filter_bank": 0.5}


def name_of(path: Path) -> str:
    return path.stem if path in FILES else f"{path.parent.name}-{path.stem}"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """As the agent is used: from the repository's root. What runs write goes elsewhere."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SWEEP_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])
    yield
    wandb.finish()


def parameters_of(file: Sweep, seed: int) -> dict:
    """A point of the file's space; of a grid the first."""
    if file.method == "grid":
        return dict(runs_of(file)[0].parameters)
    rng = np.random.default_rng(seed)
    return {parameter.name: as_json(draw(parameter, rng)) for parameter in file.parameters}


def write_audio(path: Path, loudness: float, n_samples: int, seed: int) -> None:
    """Noise in bursts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bursts = np.sin(2 * np.pi * 1.3 * np.arange(n_samples) / RATE + seed) > -0.6
    samples = loudness * np.random.default_rng(seed).standard_normal(n_samples)
    soundfile.write(path, np.clip(samples * np.where(bursts, 1.0, 1e-3), -1, 1), RATE)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """Both corpora of the studies on audio, a few short files each."""
    root = tmp_path_factory.mktemp("data")
    for speaker in range(10):
        name = f"{100 + speaker}/7/{100 + speaker}-7-0000.flac"
        write_audio(root / "LibriSpeech/train-clean-100" / name, 0.1, 3 * RATE, speaker)
    for speaker in range(2):
        write_audio(
            root / f"LibriSpeech/test-clean/{900 + speaker}/7/{900 + speaker}-7-0000.flac", 0.1, 3 * RATE, speaker
        )
    rows = ["filename,fold,target,category"]
    for fold in range(1, 6):
        write_audio(root / f"ESC-50/audio/{fold}-1234-A-0.flac", 0.05, 2 * RATE, fold)
        rows.append(f"{fold}-1234-A-0.wav,{fold},0,rain")
    (root / "ESC-50/meta").mkdir()
    (root / "ESC-50/meta/esc50.csv").write_text("\n".join(rows) + "\n")
    make_2019(root, n_bona_fide=6, n_spoof=4, n_samples=5000)
    return root


def test_every_study_has_all_methods():
    assert [path.stem for path in FILES] == sorted(f"{s}_{m}" for s in STUDIES for m in ("grid", "random", "bayes"))
    for path in FILES:
        file = read_sweep(path)
        assert path.stem.endswith(file.method)
        assert file.metric.endswith("at_budget") == (file.method != "grid")
        assert file.command[-1] == "${args}"


def test_no_sweep_file_is_left_out():
    found = {path for folder in ("configs", "experiments") for path in (ROOT / folder).rglob("*.yaml")}
    assert {p for p in found if "parameters" in yaml.safe_load(p.read_text())} == {*FILES, *STUDY_FILES}


def violations(content: dict) -> list[str]:
    """Of the schema of sweeps 0.2. It lacks ``run_cap``, which ``read_sweep`` checks; 0.3 has it, but no NumPy 2."""
    return schema_violations_from_proposed_config({k: v for k, v in content.items() if k != "run_cap"})


@pytest.mark.parametrize("path", [*FILES, *STUDY_FILES], ids=name_of)
def test_wandbs_schema_takes_it(path):
    content = yaml.safe_load(path.read_text())
    assert violations(content) == []
    name = next(iter(content["parameters"]))
    broken = {**content["parameters"], name: {"distribution": "log_uniform_values", "min": "1e-4"}}
    assert violations({**content, "parameters": broken})


@pytest.fixture(scope="module")
def parse():
    """Parses command lines as the CLI does, with one parser for all: to make it takes longer than to use it."""
    kept = []

    def keep(self, parser, args):
        kept.append(parser)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WidthsCLI, "parse_arguments", keep)
        patch.setattr("sys.argv", ["dyn-lightning"])
        with pytest.raises(SystemExit):
            main(["fit"])
    return kept[0].parse_args


@pytest.mark.parametrize("path", STUDY_FILES, ids=name_of)
def test_the_agents_command_lines_of_a_study_parse(path, parse, agents_command):
    file = read_sweep(path)
    lists = {parameter.name: grid_values(parameter) for parameter in file.parameters}
    for number in range(max(map(len, lists.values()))):  # every value of every parameter
        parameters = {name: as_json(values[number % len(values)]) for name, values in lists.items()}
        command = agents_command(file.command, parameters)
        assert command == command_line(file.command, parameters)
        assert command[:5] == ["/usr/bin/env", "python", "-m", "dyn_lightning.cli", "fit"]
        config = parse(command[4:]).fit
        for name, wanted in parameters.items():
            given = config[name]
            given = f"{given.__module__}.{given.__qualname__}" if isinstance(given, type) else given
            assert given == (None if wanted == "null" else wanted)
        assert config.trainer.accelerator == ("gpu" if "antispoofing" in path.stem else "cpu")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_agents_command_line_trains(path, data_root, agents_command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_ROOT", str(data_root))
    file, study = read_sweep(path), path.stem.rpartition("_")[0]
    parameters = parameters_of(file, seed=0)
    command = agents_command(file.command, parameters)
    assert command == command_line(file.command, parameters)
    assert command[:5] == ["/usr/bin/env", "python", "-m", "dyn_lightning.cli", "fit"]

    # As it is: every option is one of the networks, and has the value that was asked for.
    with pytest.raises(SystemExit) as stop:
        main([*command[4:], "--print_config"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    for name, wanted in parameters.items():
        found = yaml.safe_load(out)
        for part in name.split("."):
            found = found[part]
        assert found == wanted

    # Small: a fit, its record, and the number that is optimised. Most of the time would go into the artifact.
    monkeypatch.setattr(Consolidate, "on_fit_end", lambda *_: None)
    tiny = {**TINY, **TINY_OF_STUDY[study], "phases.search_epochs": None if file.method == "bayes" else 1}
    if "model.objective.init_args.share" in parameters:
        tiny["model.objective.init_args.share"] = REACHABLE[study]
    words = [f"--{name}={'null' if value is None else value}" for name, value in tiny.items()]
    assert main([*command[4:], *words]) == 0
    (record,) = read_results(tmp_path / "run" / "results.jsonl")
    metric = file.metric.removesuffix("_at_budget")
    unit = "flops_per_call" if study == "filter_bank" else "flops_per_second"
    fixed, full = record[f"{unit}_fixed"], record[f"{unit}_before"]
    budget = fixed + {"filter_bank": 0.5}.get(study, 0.25) * (full - fixed)
    charge = 0.1 * max(0.0, record[unit] / budget - 1)
    assert record["phase"] == "settle"
    assert record["metrics"][f"{metric}_at_budget"] == pytest.approx(record["metrics"][metric] + charge)
    assert list((tmp_path / "run").rglob("last.ckpt"))


def kill_the_first_fit(folder: Path) -> None:
    """SIGKILL for the process of a sweep's only run as soon as it has kept an epoch."""
    until = time.monotonic() + 600
    while time.monotonic() < until and not list(folder.rglob("last.ckpt")):
        time.sleep(0.05)
    (started,) = read_results(folder / "journal.jsonl")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started["pid"], signal.SIGKILL)


def test_a_killed_fit_goes_on_from_its_last_epoch(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SWEEP_RUN_DIR")
    monkeypatch.setenv("WANDB_MODE", "offline")
    epochs = 60  # the kill must not come too late
    content = yaml.safe_load((ROOT / "configs/sweeps/filter_bank_grid.yaml").read_text())
    tiny = {**TINY, **TINY_OF_STUDY["filter_bank"], "trainer.max_epochs": epochs, "phases.search_epochs": 1}
    kept = {"class_path": "dyn_lightning.callbacks.WidthsCheckpoint", "init_args": {"monitor": "val/loss"}}
    tiny["trainer.callbacks"] = [kept]  # without the artifact, which takes most of the time
    content["parameters"] = {name: {"value": value} for name, value in tiny.items()}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    folder = tmp_path / "runs"
    killer = threading.Thread(target=kill_the_first_fit, args=(folder,))
    killer.start()
    assert sweep([str(path), "--runs", str(folder)]) == 1
    killer.join()
    assert "was killed by SIGKILL" in capsys.readouterr().out
    (checkpoint,) = folder.rglob("last.ckpt")
    steps_before = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < steps_before < 2 * epochs

    assert sweep([str(path), "--runs", str(folder)]) == 0
    *_, started, finished = read_results(folder / "journal.jsonl")
    assert (started["checkpoint"], finished["event"]) == (str(checkpoint), "finished")
    log = (folder / finished["run"] / "log.txt").read_text()
    assert f"Restored all states from the checkpoint at {checkpoint}" in log
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] == 2 * epochs
    assert finished["record"]["phase"] == "settle"
    assert "val/l1" in finished["record"]["metrics"]
    # Finished: nothing is left to do.
    assert sweep([str(path), "--runs", str(folder)]) == 0
    assert "0 runs to do, 1 finished" in capsys.readouterr().out
