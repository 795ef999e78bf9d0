"""The command line: every YAML parses, and a small run goes from fit to artifact."""

import json
import os
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from dyn_lightning.artifact import load_artifact
from dyn_lightning.callbacks.wandb_report import WandbReport
from dyn_lightning.cli import main
from dyn_lightning.cli.network_access import default_wandb_offline
from dyn_lightning.cli.trainer import WidthsTrainer
from dyn_lightning.runs import read_results
from dyn_lightning.runs.identity import WANDB_REPORT, run_config

CONFIGS = Path(__file__).parents[2] / "configs"
SWEEPS = sorted((CONFIGS / "sweeps").rglob("*.yaml"))
TASKS, DYNAMICS, TRAINERS = (sorted((CONFIGS / d).glob("*.yaml")) for d in ("task", "dynamic", "trainer"))

SMALL = [
    "--data.batch_size=8",
    "--data.batches_per_epoch=4",
    "--data.eval_batches=2",
    "--trainer.max_epochs=3",
    "--trainer.log_every_n_steps=1",
    "--phases.warmup_epochs=1",
    "--phases.search_epochs=1",
    "--model.lr_lam=0.2",
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])


def config(*names: str) -> list[str]:
    return [argument for name in names for argument in ("-c", str(CONFIGS / f"{name}.yaml"))]


def printed(capsys: pytest.CaptureFixture, arguments: list[str]) -> dict:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["fit", *arguments, "--print_config"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0, err
    return yaml.safe_load(out)


def test_every_yaml_is_in_a_known_folder():
    found = set(CONFIGS.rglob("*.yaml"))
    assert found == {*TASKS, *DYNAMICS, *TRAINERS, *(CONFIGS / "logger").glob("*.yaml"), *SWEEPS}
    assert TASKS
    assert DYNAMICS
    assert TRAINERS


@pytest.mark.parametrize(("task", "dynamic"), list(product(TASKS, DYNAMICS)), ids=lambda p: p.stem)
def test_compositions_parse_and_keep_all_callbacks(task, dynamic, capsys):
    for trainer in TRAINERS:
        content = printed(capsys, ["-c", str(task), "-c", str(dynamic), "-c", str(trainer)])
        listed = [c["class_path"] for c in content["trainer"]["callbacks"]]
        wanted = [
            c["class_path"]
            for path in (dynamic, trainer)
            for c in yaml.safe_load(path.read_text())["trainer"]["callbacks+"]
        ]
        assert listed == wanted
        assert content["model"]["task"]["class_path"].startswith("dyn_lightning.tasks.")


def test_wandb_is_chosen_by_one_more_file(capsys):
    names = ("task/vad", "dynamic/budget", "trainer/cpu", "logger/wandb")
    trainer = printed(capsys, config(*names))["trainer"]
    assert trainer["logger"]["class_path"] == "lightning.pytorch.loggers.WandbLogger"
    assert trainer["callbacks"][-1]["class_path"].rpartition(".")[2] == WANDB_REPORT
    assert WandbReport.__qualname__ == WANDB_REPORT


def test_data_root_comes_from_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", "/somewhere")
    content = printed(capsys, config("task/vad", "dynamic/none", "trainer/cpu"))
    assert content["data"]["init_args"]["data_root"] == "/somewhere"


def test_from_fit_to_artifact(tmp_path, capsys):
    names = ("task/filter_bank", "dynamic/budget", "trainer/cpu")
    assert main(["fit", *config(*names), *SMALL, "--results", "study/results.jsonl"]) == 0
    (record,) = read_results("study/results.jsonl")
    run = tmp_path / "runs" / "csv" / "version_0"
    kept, full = record["widths"]["bands"]
    assert full == 64
    assert kept < 64
    assert record["phase"] == "settle"
    assert {"val/l1", "test/l1", "test/loss"} <= set(record["metrics"])
    assert record["seed"] == 0
    assert str(tmp_path) not in json.dumps(record)
    network, metadata = load_artifact(run / "artifact")
    assert network.bands.out_features == kept
    assert metadata["task"] == "Regression"
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["phases"]["warmup_epochs"] == 1

    # What the record says of how it was made makes the same run again.
    assert record["history"]["width/bands/size"][:1] + record["history"]["width/bands/size"][-1:] == [64, kept]
    assert record["command"].startswith("dyn-lightning fit -c ")
    assert record["command"].endswith("--results study/results.jsonl")
    assert record["config_file"] == "runs/csv/version_0/config.yaml"
    assert main(["fit", "-c", record["config_file"], "--results", "again.jsonl"]) == 0
    (repeated,) = read_results("again.jsonl")
    assert repeated["config_hash"] == record["config_hash"]
    assert repeated["metrics"] == pytest.approx(record["metrics"])
    # So does the configuration that the record itself holds, saved as the page says.
    Path("config.json").write_text(json.dumps(record["config"]))
    given = printed(capsys, ["-c", "config.json", "--seed_everything", "0"])
    assert run_config(given) == record["config"]

    # A checkpoint alone, and with its configuration.
    best = str(run / "checkpoints" / "best.ckpt")
    main(["consolidate", "--ckpt_path", best, "--dirpath", "again"])
    again, _ = load_artifact("again")
    x = torch.rand(3, 257)
    torch.testing.assert_close(again(x), network(x))
    main(["consolidate", "-c", str(run / "config.yaml"), "--ckpt_path", best, "--dirpath", "third"])
    assert json.loads(Path("third/report.json").read_text())["batches"] == 4 - 2

    wanted = ["--share", "0.05", "--curve", "3", "--exports", "[int8]", "--dirpath", "fourth"]
    main(["consolidate", "-c", str(run / "config.yaml"), "--ckpt_path", best, *wanted])
    smaller, _ = load_artifact("fourth")
    assert smaller.bands.out_features == 3  # of 64
    assert load_artifact("fourth", int8=True)[0](x).shape == (3, 32)
    assert json.loads(Path("fourth.curve.json").read_text())[0]["sizes"]["bands"] == kept

    capsys.readouterr()
    main(["profile", "--ckpt_path", best])
    table = capsys.readouterr().out
    assert re.search(rf"bands.*DCL.*{257 * 64:,}.*{257 * kept:,}", table)
    assert "MFLOPs/call" in table

    main(["test", "-c", str(run / "config.yaml"), "--ckpt_path", best])
    assert f"l1 {record['metrics']['test/l1']:.4g}" in capsys.readouterr().out


def write_spoof_corpus(root: Path) -> dict[str, Path]:
    """Noise, louder where it is bona fide, in the layout of ASVspoof2019 LA; part → its protocol."""
    rng, protocols = np.random.default_rng(0), {}
    for part, name, count in (("train", "train.trn", 24), ("dev", "dev.trl", 18), ("eval", "eval.trl", 18)):
        folder = root / "LA" / f"ASVspoof2019_LA_{part}" / "flac"
        folder.mkdir(parents=True)
        lines = []
        for number in range(count):
            system = ("-", "A01", "A02")[number % 3]
            gain = {"-": 0.2, "A01": 0.1, "A02": 0.15}[system]
            samples = np.clip(gain * rng.standard_normal(int(rng.integers(3000, 6000))), -1, 1)
            soundfile.write(folder / f"{part}{number}.flac", samples, 16000)
            lines.append(f"s{number % 4} {part}{number} - {system} {'bonafide' if system == '-' else 'spoof'}\n")
        protocols[part] = root / "LA" / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{name}.txt"
        protocols[part].parent.mkdir(exist_ok=True)
        protocols[part].write_text("".join(lines))
    return protocols


def test_anti_spoofing_from_fit_to_scores(tmp_path, capsys):
    protocols = write_spoof_corpus(tmp_path / "corpus")
    names = ("task/antispoofing_1s", "dynamic/budget", "trainer/cpu")
    small = [
        f"--data.data_root={tmp_path / 'corpus'}",
        "--data.n_samples=4000",
        "--data.batch_size=8",
        "--model.backbone.init_args.channels=[2,2,4,4]",
        "--model.backbone.init_args.blocks=[1,1,1,1]",
        "--model.backbone.init_args.embedding_size=8",
        "--model.example_duration_s=0.25",
        "--model.objective.init_args.share=0.7",
        *SMALL[3:],
    ]
    assert main(["fit", *config(*names), *small, "--results", "results.jsonl"]) == 0
    (record,) = read_results("results.jsonl")
    assert {"val/eer", "val/eer_A01", "val/eer_A02", "test/eer"} <= set(record["metrics"])
    artifact = tmp_path / "runs" / "csv" / "version_0" / "artifact"
    _, metadata = load_artifact(artifact)
    assert (metadata["task"], metadata["loss"], metadata["n_samples"]) == ("SpoofDetection", "cross_entropy", 4000)
    assert metadata["predictor"] == "utterance_scores"

    # The scores of the artifact are those of the validation.
    given = ["--artifact", str(artifact), "--audio", str(tmp_path / "corpus" / "LA" / "ASVspoof2019_LA_dev")]
    assert main(["predict", *given, "--protocol", str(protocols["dev"]), "--batch_size", "5", "--out_dir", "out"]) == 0
    assert main(["score", "--scores", "out/scores.txt", "--out_dir", "out", "--n_resamples", "20"]) == 0
    found = json.loads(Path("out/scores.json").read_text())
    assert found["eer"] == pytest.approx(record["metrics"]["val/eer"], abs=1e-6)
    for system in ("A01", "A02"):
        assert found["systems"][system]["eer"] == pytest.approx(record["metrics"][f"val/eer_{system}"], abs=1e-6)
    assert f"EER {100 * found['eer']:.3f} %" in capsys.readouterr().out


def test_a_run_resumes_from_the_command_line(tmp_path):
    names = ("task/filter_bank", "dynamic/budget", "trainer/cpu")
    main(["fit", *config(*names), *SMALL, "--trainer.callbacks=[]", "--trainer.max_epochs=2", "--results=r.jsonl"])
    (last,) = Path("runs").rglob("*.ckpt")
    main(["fit", *config(*names), *SMALL, "--ckpt_path", str(last), "--results=r.jsonl"])
    assert len(read_results("r.jsonl")) == 2  # of other numbers of epochs
    checkpoint = max(Path("runs").rglob("last.ckpt"), key=os.path.getmtime)
    content = torch.load(checkpoint, weights_only=True)
    assert content["global_step"] == 12
    assert content["hyper_parameters"]["backbone"]["class_path"].endswith("FilterBankNet")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--seed_everything=3"], 3),
        (["--seed_everything=1"], 1),
        (["--seed_everything=3", "--data.train_seed=0"], 0),
        (["--seed_everything=3", "--data.train_seed=5"], 5),
        (["--seed_everything=true"], 0),  # random, and another one when the run goes on
        (["--seed_everything=3", "--data=experiments.digits.data.DigitsDataModule"], None),
    ],
)
def test_training_data_follow_the_seed(given, expected, monkeypatch):
    found = []
    monkeypatch.setattr(WidthsTrainer, "fit", lambda self, model, datamodule, **_: found.append(datamodule))
    main(["fit", *config("task/filter_bank", "dynamic/none", "trainer/cpu"), *given])
    assert getattr(found[0], "train_seed", None) == expected


def test_a_baseline_runs(tmp_path):
    names = ("task/filter_bank", "dynamic/none", "trainer/cpu")
    main(["fit", *config(*names), *SMALL, "--results", "results.jsonl"])
    (record,) = read_results("results.jsonl")
    assert record["widths"] == {}
    assert record["parameters"] == record["parameters_before"] == 257 * 64 + 64 * 32
    network, _ = load_artifact(tmp_path / "runs/csv/version_0/artifact")  # for predict, and as a teacher
    assert sum(p.numel() for p in network.parameters()) == record["parameters"]


def test_a_trained_network_is_shrunk(tmp_path):
    """Its artifact is the backbone of the next run, whose artifact is of the same class, and can be shrunk again."""
    main(["fit", *config("task/filter_bank", "dynamic/none", "trainer/cpu"), *SMALL])
    found = [load_artifact("runs/csv/version_0/artifact")[0]]
    for version in (1, 2):
        backbone = "--model.backbone=dyn_lightning.artifact.trained_network"
        artifact = f"--model.backbone.artifact=runs/csv/version_{version - 1}/artifact"
        share = f"--model.objective.share={0.5 if version == 1 else 0.8}"
        main(["fit", *config("task/filter_bank", "dynamic/budget", "trainer/cpu"), *SMALL, backbone, artifact, share])
        found.append(load_artifact(f"runs/csv/version_{version}/artifact")[0])
    assert {type(network).__name__ for network in found} == {"FilterBankNet"}
    sizes = [sum(p.numel() for p in network.parameters()) for network in found]
    assert sizes[0] > sizes[1] > sizes[2]
    (best,) = Path("runs/csv/version_2/checkpoints").glob("best.ckpt")
    main(["consolidate", "--ckpt_path", str(best), "--dirpath", "again"])
    again, _ = load_artifact("again")
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, found[2].state_dict()[name])


def test_phases_longer_than_the_run_are_named():
    names = ("task/filter_bank", "dynamic/budget", "trainer/cpu")
    with pytest.raises(SystemExit, match="shorten a phase"):
        main(["fit", *config(*names), *SMALL, "--phases.search_epochs=9"])


def test_consolidate_names_a_checkpoint_that_is_absent(capsys):
    with pytest.raises(SystemExit, match=r"absent\.ckpt"):
        main(["consolidate", "--ckpt_path", "absent.ckpt"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--model.objective.init_args.share=25"], r"^share must lie between 0 and 1, got 25\.0$"),
        (["--model.objective.init_args.share=1e-4"], r"^a budget of \S+ flops per call is out of reach"),
        (["--model.dynamic=['nothing*']"], r"^dynamic: the pattern 'nothing\*' matches no size"),
        (
            ["--model.boundary=tapr"],
            r"^boundary='tapr' is unknown: use one of .*taper, .*paper",
        ),
        (
            ["--model.boundary=hard_concrete"],
            r"is unknown: write width_class: experiments\.peers\.gates\.HardConcreteGates$",
        ),
        (["--ckpt_path=absent.ckpt"], r"^absent\.ckpt: no such file\."),
        (config("dynamic/paper"), r"^trainer\.callbacks: there twice: ComplexityLogger"),
    ],
)
def test_a_setting_that_cannot_be_ends_in_one_line(given, told):
    with pytest.raises(SystemExit, match=told):
        main(["fit", *config("task/filter_bank", "dynamic/budget", "trainer/cpu"), *SMALL, *given])


def test_an_unknown_command_is_told_all_there_are():
    with pytest.raises(SystemExit, match=r"'fti' is no command; there are fit, .*profile, .*predict, .*report"):
        main(["fti"])


def test_predict_needs_an_artifact():
    with pytest.raises(SystemExit, match="absent"):
        main(["predict", "--artifact", "absent", "--audio", "x.wav"])


def test_data_that_are_absent_end_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match="nowhere: no such folder"):
        main(["fit", *config("task/vad", "dynamic/budget", "trainer/cpu")])


def test_scores_that_are_absent_end_in_one_line():
    with pytest.raises(SystemExit, match=r"absent\.txt: no such file"):
        main(["score", "--scores", "absent.txt"])


def test_wandb_is_offline_unless_configured(tmp_path):
    absent = str(tmp_path / "absent")
    environment = {"NETRC": absent}
    default_wandb_offline(environment)
    assert environment["WANDB_MODE"] == "offline"
    for configured in ({"WANDB_API_KEY": "k"}, {"WANDB_MODE": "online"}):
        environment = {"NETRC": absent, **configured}
        default_wandb_offline(environment)
        assert environment == {"NETRC": absent, **configured}
    login = tmp_path / "netrc"
    login.write_text("machine api.wandb.ai login user password 0\n")
    login.chmod(0o600)
    environment = {"NETRC": str(login)}
    default_wandb_offline(environment)
    assert "WANDB_MODE" not in environment


def test_profile_of_a_configuration_with_data(capsys: pytest.CaptureFixture) -> None:
    main(["profile", *config("task/filter_bank", "dynamic/none", "trainer/cpu")])
    assert "readout" in capsys.readouterr().out
