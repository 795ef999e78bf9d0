import io
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from dyn_lightning import DynamicModule, dynamize
from dyn_lightning.cli import main
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.profiling.profile import (
    network_fields,
    numbered,
    print_profile,
    streaming_summary,
    time_streaming_call,
)
from dyn_lightning.profiling.receptive_field import WHOLE, ReceptiveField, receptive_fields
from dyn_lightning.tasks import FrameDetection

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def console() -> Console:
    return Console(width=220, record=True, file=io.StringIO())


def small() -> CRNNVAD:
    return CRNNVAD(n_mels=12, channels=10, hidden_size=6, n_fft=256, hop_length=64)


def test_a_dynamic_network_sees_what_its_backbone_sees() -> None:
    backbone, example = small(), torch.zeros(1, 1400)
    dynamic = dynamize(backbone, example)
    for width in dynamic.widths.values():
        width.set_lam(0.3)
    fields = network_fields(dynamic, example)
    assert fields == {**receptive_fields(backbone, example), **{k: v for k, v in fields.items() if "gru." in k}}
    assert fields["conv"].size == 255 + 2 * 64  # the window's first sample is zero
    assert (fields[""].left, fields[""].stride) == (math.inf, 64.0)
    assert not any(width.frozen for width in dynamic.widths.values())


def test_how_long_a_streaming_call_is() -> None:
    conv = nn.Conv1d(4, 2, 5)
    example = torch.zeros(1, 4, 50)
    call = time_streaming_call(conv, example, ReceptiveField(2.0, 2.0, 1.0), repeats=1)
    assert (call.steps, call.reason) == (5, "the receptive field of one output")
    vad = small()
    call = time_streaming_call(vad, torch.zeros(1, 1400), ReceptiveField(math.inf, 191.0, 64.0), repeats=1)
    assert call.steps == vad.min_samples
    assert time_streaming_call(conv, example, WHOLE, repeats=1).steps == 50
    assert call.latency_s > 0


def test_time_in_another_dimension() -> None:
    class FramesFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, 2, 7)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.transpose(1, 2))

    example = torch.zeros(1, 40, 3)
    field = network_fields(FramesFirst(), example, time_dim=1)[""]
    assert time_streaming_call(FramesFirst(), example, field, time_dim=1, repeats=1).steps == field.size == 7


def test_the_summary_adds_up() -> None:
    call = time_streaming_call(nn.Conv1d(4, 2, 5), torch.zeros(1, 4, 50), ReceptiveField(2.0, 2.0, 1.0), repeats=1)
    assert "latency 30.0 ms (right context 20.0 + 10.0 between outputs)" in streaming_summary(call, 0.01)
    assert "latency 3.0 steps (right context 2.0 + 1.0" in streaming_summary(call, None)
    whole = time_streaming_call(nn.Conv1d(4, 2, 5), torch.zeros(1, 4, 50), WHOLE, repeats=1)
    assert streaming_summary(whole, 0.01).startswith("Streaming: not by itself")


def test_the_whole_profile(console: Console) -> None:
    network = small()
    network.sample_rate = 8000
    module = DynamicModule(network, FrameDetection(), FlopsBudget(share=0.25), example_duration_s=0.2).eval()
    module.widths["conv"].set_lam(0.5)
    print_profile(module, console, latency=True)
    text = console.export_text()
    (line,) = (line for line in text.splitlines() if "conv " in line and "DCL+ACL" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[3:5] == ["370", "185"]  # 12·10·3 + 10 parameters, of which half remain
    # 2 frames of 64 samples and a window of 255, at 8 kHz
    assert cells[-3] == "383"
    assert cells[-2] == "23.9 + 23.9"
    assert cells[-1] == "31.9"
    (line,) = (line for line in text.splitlines() if "gru" in line and "GRU" in line and "∞" in line)
    assert "∞ + 23.9" in line
    assert "algorithmic latency 31.9 ms (right context 23.9 + 8.0 between outputs)" in text
    assert "multiple_of" in text


def test_without_an_example_only_costs_are_shown(console: Console) -> None:
    dynamic = dynamize(small(), torch.zeros(1, 1400))
    module = DynamicModule(dynamic, FrameDetection(), FlopsBudget(share=0.25)).eval()
    print_profile(module, console)
    text = console.export_text()
    assert "past + future" not in text
    assert "the shape of an example input is unknown" in text


def test_switches_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["dyn-lightning"])
    names = ("task/filter_bank", "dynamic/none", "trainer/cpu")
    config = [argument for name in names for argument in ("-c", str(CONFIGS / f"{name}.yaml"))]
    main(["profile", *config, "--receptive_field=false"])
    assert "receptive field" not in capsys.readouterr().out
    main(["profile", *config])
    assert "whole" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--audit: .* python -m experiments\.audit -c FILE"):
        main(["profile", *config, "--audit"])


def test_rows_of_one_name_are_told_apart():
    names = ["0.add", "0.conv", "0.add", "1.add"]
    assert numbered(names) == ["0.add #1", "0.conv", "0.add #2", "1.add"]
