"""The examples of docs/extend.md, out of the page itself: short, and good for what they say."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import lightning
import pytest
import soundfile
import torch
import yaml
from torch.utils.data import DataLoader

from dyn_lightning import DynamicModule, consolidate, dynamize
from dyn_lightning.callbacks import PhaseSwitch
from dyn_lightning.checks import imported
from dyn_lightning.data.corpora.registry import find_speech
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.objectives import FlopsBudget, LambdaSquared

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text()
EXAMPLES = {
    re.match(r"# (\w+)\.py", block)[1]: block for block in re.findall(r"^```python\n(# .*?)^```", PAGE, re.M | re.S)
}
LINES = 30


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An example as a module that Python finds, as a user has it."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(name: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(EXAMPLES[name])
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


def items(batches: int = 3):
    torch.manual_seed(0)
    audio = 0.1 * torch.randn(4 * batches, 8000)
    return DataLoader([{"audio": x, "target": x.std().log10().mul(20)[None]} for x in audio], batch_size=4)


def module_of(example, objective, **options) -> DynamicModule:
    backbone, task = example("my_network").Tagger(16), example("my_task").Loudness()
    return DynamicModule(backbone, task, objective, example_duration_s=0.5, **options)


def fit(module: DynamicModule, *callbacks: lightning.Callback, epochs: int = 3) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, items(), items(1))
    return trainer


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_short(name):
    assert sum(bool(line.strip()) for line in EXAMPLES[name].splitlines()) <= LINES


def test_task_and_backbone(example):
    module = module_of(example, LambdaSquared(0.1))
    trainer = fit(module, PhaseSwitch(1, 1))
    assert {"val/loss", "val/error_db"} <= set(trainer.callback_metrics)
    assert module.metric_info["val/error_db"] == MetricInfo("mean error, dB", lower_is_better=True)
    assert module.complexity.unit == "flops_per_second"
    assert set(module.widths.keys()) == {"front_end-mel", "first"}  # the sum ties the second convolution to it
    _, report = consolidate(module.eval().network, [next(iter(items()))["audio"]])
    assert report.largest_relative_difference < 1e-4


def test_objective(example):
    objective = example("my_objective").Entropy(weight=0.5)
    network = dynamize(example("my_network").Tagger(16), torch.randn(2, 8000))
    widths = list(network.widths.values())
    widths[0].set_lam(0.5)
    penalty = objective(network, torch.tensor(1.0), 0.0)
    by_hand = -0.5 * torch.log(torch.tensor([0.75] + [0.5] * (len(widths) - 1))).sum()
    torch.testing.assert_close(penalty, by_hand)
    penalty.backward()
    assert widths[0].theta.grad.item() == pytest.approx(0.5 * 0.25 / 0.75)  # d/dθ of −w·log(1 − λ/2): w·(λ/2)/(1 − λ/2)
    fit(module_of(example, objective), PhaseSwitch(1, 1))


def test_kind_of_budget(example):
    limit = example("my_limit").Megabytes(most=0.006)
    module = module_of(example, FlopsBudget(limit=limit), lr_lam=0.1)
    fit(module, PhaseSwitch(1, 3), epochs=5)
    small, report = consolidate(module.eval().network)
    bytes_of_weights = 4 * sum(p.numel() for p in small.parameters())
    assert 0.8 * 6000 < bytes_of_weights <= 6000
    assert report.parameters == bytes_of_weights / 4


def test_the_budget_in_yaml():
    (content,) = (yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S))
    given = content["model"]["objective"]
    limit = given["init_args"]["limit"]
    made = imported(given["class_path"], "objective")(
        limit=imported(limit["class_path"], "limit")(**limit["init_args"])
    )
    assert made.asked == {"parameters": 100000}


def test_corpus(example, tmp_path):
    example("my_corpus")
    for speaker in range(12):
        for number in range(2):
            path = tmp_path / "MyCorpus" / f"s{speaker}" / f"u{speaker}_{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, torch.zeros(160).numpy(), 16000)
    splits = find_speech(tmp_path, "my_corpus.my_corpus")
    assert sum(len(clips) for clips in splits.values()) == 24
    groups = [{clip.group for clip in clips} for clips in splits.values()]
    assert sum(map(len, groups)) == 12  # no speaker in two splits


def test_callback(example, capsys):
    module = module_of(example, LambdaSquared(0.1))
    trainer = fit(module, PhaseSwitch(1, 1), example("my_callback").LogParameters())
    assert trainer.callback_metrics["parameters"] == module.complexity.parameters_now()
    assert capsys.readouterr().out.count("'first': ") == 2  # when the search ends, and after the last epoch
