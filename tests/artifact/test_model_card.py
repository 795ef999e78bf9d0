"""The model card says what the report says, and its snippet runs."""

import re

import torch
import yaml

from dyn_lightning.artifact import save_artifact
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD


def test_numbers_are_the_reports(tmp_path, monkeypatch):
    torch.manual_seed(0)
    dynamic = dynamize(CRNNVAD(20, 12, 10), torch.randn(1, 16000), duration_s=1.0)
    dynamic.widths["conv"].set_lam(0.5)
    small, report = consolidate(dynamic.eval(), [torch.randn(1, 9000)])
    metadata = {"task": "FrameDetection", "threshold": -0.25}
    save_artifact(small, tmp_path / "a", report=report.as_dict(), metadata=metadata, metrics={"val/eer": 0.0625})
    card = (tmp_path / "a" / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "dyn_lightning"
    assert "# CRNNVAD" in card
    assert f"| parameters | {report.parameters_before:,} | {report.parameters:,} |" in card
    assert f"| FLOPs per second of audio | {report.flops_before:,.0f} | {report.flops:,.0f} |" in card
    assert "| `conv` | 12 | 6 | 50 % |" in card
    assert "| `val/eer` | 0.0625 |" in card
    assert "decision threshold: -0.25" in card
    assert "sampling rate: 16000 Hz" in card
    assert "model.onnx" not in card
    monkeypatch.chdir(tmp_path / "a")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.S)
    found: dict = {}
    exec(snippet, found)
    audio = torch.randn(1, 9000)
    torch.testing.assert_close(found["network"](audio), small(audio))


def test_a_network_without_a_report(tmp_path):
    save_artifact(torch.nn.Linear(3, 2), tmp_path / "a", metadata={}, example_input=torch.ones(1, 3), exports=["int8"])
    card = (tmp_path / "a" / "README.md").read_text()
    assert "Parameters: 8." in card
    assert "program.json" in card
    assert "model.int8.safetensors" in card
