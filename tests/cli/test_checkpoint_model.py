"""A checkpoint's settings: they yield to what is given, are told, and import nothing that the user did not name."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from dyn_lightning.cli import main
from dyn_lightning.cli.checkpoint_model import differences, is_safe, vetted
from dyn_lightning.cli.trainer import WidthsTrainer
from dyn_lightning.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
GIVEN = [a for n in ("task/filter_bank", "dynamic/budget", "trainer/cpu") for a in ("-c", f"{CONFIGS}/{n}.yaml")]
SMALL = [
    "--data.batch_size=8",
    "--data.batches_per_epoch=4",
    "--data.eval_batches=2",
    "--trainer.max_epochs=2",
    "--phases.warmup_epochs=0",
    "--phases.search_epochs=1",
    "--model.lr_lam=0.2",
]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run of the command line, at 25 % of the learnable FLOPs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        patch.setattr("sys.argv", ["dyn-lightning"])
        main(["fit", *GIVEN, *SMALL, "--model.lr=2e-3"])
        return Path.cwd() / "runs" / "csv" / "version_0"


@pytest.fixture
def made(monkeypatch):
    """The modules that commands make, in place of what they do with them."""
    found = []
    for command in ("fit", "test"):
        monkeypatch.setattr(WidthsTrainer, command, lambda self, model, *_, **__: found.append(model))
    for function in ("consolidate_checkpoint", "print_profile"):
        monkeypatch.setattr(f"dyn_lightning.cli.trainer.{function}", lambda model, *_, **__: found.append(model))
    monkeypatch.setattr("dyn_lightning.cli.trainer.load_checkpoint", lambda *_, **__: None)
    return found


@pytest.mark.parametrize(
    ("command", "given"),
    [("fit", GIVEN), ("test", GIVEN), ("consolidate", []), ("consolidate", GIVEN), ("profile", [])],
)
def test_what_is_given_holds_and_is_said(run, made, monkeypatch, command, given):
    said = []
    monkeypatch.setattr("dyn_lightning.cli.training.rank_zero_info", said.append)
    extra = ["--model.lr=1e-6", "--model.objective.share=0.5"]
    small = SMALL if given else []
    main([command, *given, *small, "--ckpt_path", f"{run}/checkpoints/last.ckpt", *extra])
    (module,) = made
    assert module.lr == 1e-6
    assert module.lr_lam == 0.2
    assert module.objective.share == 0.5
    assert module.hparams["lr"] == 1e-6
    (line,) = [x for x in said if "checkpoint" in x]
    assert "model.lr 1e-06, not 0.002" in line
    assert "model.objective.share 0.5, not 0.25" in line


def test_what_is_not_given_is_the_checkpoints(run, made):
    assert "weight_decay" not in yaml.safe_load((CONFIGS / "task/filter_bank.yaml").read_text())["model"]
    main(["fit", *GIVEN, *SMALL[:-1], *renamed(run, weight_decay=0.125)])
    (module,) = made
    assert module.lr_lam == 0.03  # a file of GIVEN says so
    assert module.weight_decay == 0.125


def test_a_budget_of_another_kind_displaces_the_checkpoints(run, made):
    main(["profile", "--ckpt_path", f"{run}/checkpoints/last.ckpt", "--model.objective.flops_per_second=20000"])
    (module,) = made
    assert module.objective.asked == {"flops_per_second": 20000.0}


def test_a_resumed_run_takes_the_rates_that_are_given(run):
    callbacks = ["--trainer.callbacks=[]", "--trainer.max_epochs=3"]
    main(["fit", *GIVEN, *SMALL, *callbacks, "--model.lr=1e-5", "--ckpt_path", f"{run}/checkpoints/last.ckpt"])
    (last,) = Path("runs").rglob("*.ckpt")
    weights, lam = torch.load(last, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert weights["initial_lr"] == 1e-5
    assert lam["initial_lr"] == 0.2


EVIL = """
from pathlib import Path
from torch import nn
Path("imported").touch()
class Net(nn.Module):
    sample_rate = 16000
    def __init__(self): super().__init__(); self.a, self.b = nn.Linear(257, 64), nn.Linear(64, 32)
    def forward(self, x): return self.b(self.a(x))
"""


def renamed(run, **settings):
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    content["hyper_parameters"] = {**content["hyper_parameters"], **settings}
    torch.save(content, "evil.ckpt")
    return ["--ckpt_path", "evil.ckpt"]


@pytest.mark.parametrize("command", ["fit", "test", "consolidate", "profile"])
def test_a_module_that_a_checkpoint_names_is_not_run(run, command, monkeypatch, tmp_path):
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = [*GIVEN, *SMALL] if command in ("fit", "test") else []
    told = r"^evil\.ckpt: names evil_module\.Net, which is not of this package.*--trusted$"
    with pytest.raises(SystemExit, match=told):
        main([command, *given, *renamed(run, backbone={"class_path": "evil_module.Net"})])
    assert not Path("imported").exists()
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "mine.Net"},
        {"optimizer": {"class_path": "mine.Net"}},
        {"task": {"class_path": "dyn_lightning.tasks.Distillation", "init_args": {"task": {"class_path": "mine.Net"}}}},
        {"backbone": {"class_path": "torch.nn.Sequential", "init_args": {"args": [{"class_path": "mine.Net"}]}}},
    ],
)
def test_a_foreign_class_is_found_wherever_it_stands(settings, tmp_path):
    with pytest.raises(UserError, match=r"x\.ckpt: names mine\.Net"):
        vetted(settings, "x.ckpt", ["profile"])
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"model": settings}))
    assert vetted(settings, "x.ckpt", ["profile", "-c", str(tmp_path / "own.yaml")]) == settings


@pytest.mark.parametrize("how", [["--trusted"], ["--model.backbone", "evil_module.Net"]])
def test_a_module_that_the_user_trusts_or_names_is(run, made, how, monkeypatch, tmp_path):
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    main(["profile", *renamed(run, backbone={"class_path": "evil_module.Net"}), *how])
    assert type(made[0].network).__name__ == "DynamicNet"
    sys.modules.pop("evil_module")


def test_trust_in_an_artifact_is_not_taken_from_a_checkpoint(tmp_path):
    entry = {"class_path": "dyn_lightning.artifact.trained_network", "init_args": {"artifact": "a", "trusted": True}}
    assert vetted({"backbone": entry}, "x.ckpt", [])["backbone"]["init_args"] == {"artifact": "a", "trusted": False}
    assert vetted({"backbone": entry}, "x.ckpt", [], trusted=True)["backbone"]["init_args"]["trusted"] is True


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("dyn_lightning.models.crnn_vad.CRNNVAD", True),
        ("dyn_lightning.artifact.trained_network", True),
        ("torch.optim.AdamW", True),
        ("torch.optim.adamw.AdamW", True),
        ("torch.nn.ReLU", True),
        ("dyn_lightning.files.os.system", False),
        ("dyn_lightning.artifact.files.shutil.rmtree", False),
        ("dyn_lightning.module.dynamic_module.torch", False),
        ("dyn_lightning_evil.Net", False),
        ("torch.hub.load", False),
        ("torch.optim.lr_scheduler.LambdaLR", False),
        ("torch.nn.init.constant_", False),
        ("os.system", False),
        ("Net", False),
        ("", False),
    ],
)
def test_which_names_are_safe(path, safe):
    assert is_safe(path) is safe


def test_differences_are_told_by_their_option():
    before = {"lr": 0.1, "task": {"class_path": "A", "init_args": {"x": 1}}, "objective": {"class_path": "B"}, "old": 1}
    now = {"lr": 0.2, "task": {"class_path": "A", "init_args": {"x": 2}}, "objective": {"class_path": "C"}, "new": 1}
    told = ["model.lr 0.2, not 0.1", "model.objective C, not B", "model.task.x 2, not 1"]
    assert differences(before, now) == told
    assert differences(before, before) == []
