"""Other forms of an artifact: what cannot be made leaves all else as it is."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dyn_lightning.artifact import load_artifact, save_artifact
from dyn_lightning.errors import UserError
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.tasks import FrameDetection


class _Foreign(nn.Module):
    """Of a class that no artifact imports: its calls are loaded."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)
        self.register_buffer("offset", torch.ones(2))

    def forward(self, x):
        return self.inner(x) * 2.0 + self.offset


class _Inverse(nn.Module):
    """Of spectra and back: ONNX has no graph that ONNX Runtime takes for it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(33, 33, 1)
        self.register_buffer("window", torch.hann_window(64))

    def forward(self, x):
        spectra = torch.stft(x, 64, 16, window=self.window, return_complex=True)
        return torch.istft(spectra * torch.sigmoid(self.conv(spectra.abs())), 64, 16, window=self.window)


def test_an_export_that_fails_leaves_the_artifact_and_the_other_exports(tmp_path):
    network, x = _Inverse().eval(), torch.randn(2, 800)
    with pytest.raises(
        UserError, match=r"artifact is written, but no model\.onnx: (?!model\.onnx).*; no model\.int8.*no linear"
    ):
        save_artifact(network, tmp_path / "a", metadata={}, example_input=x, exports=["onnx", "pt2", "int8"])
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert "model.pt2" in names
    assert not {"model.onnx", "model.int8.safetensors"} & set(names)
    assert "model.onnx" not in (tmp_path / "a" / "README.md").read_text()
    loaded, _ = load_artifact(tmp_path / "a")
    torch.testing.assert_close(loaded(x), network(x))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_what_was_trained_in_another_precision_ships_in_float32(tmp_path, dtype):
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(dtype)
    x = torch.randn(3, 4, dtype=dtype)
    save_artifact(network, tmp_path / "a", metadata={}, example_input=x, exports=["int8"])
    loaded, metadata = load_artifact(tmp_path / "a")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert metadata["inputs"][0]["dtype"] == "float32"
    torch.testing.assert_close(loaded(x.float()), network.float()(x.float()))


def test_an_onnx_file_names_what_it_takes_and_says_what_it_is(tmp_path):
    import onnxruntime

    network, task = CRNNVAD(20, 12, 10).eval(), FrameDetection()
    metadata = {"task": task.name, **task.names(), **task.metadata(), "threshold": 0.25}
    save_artifact(network, tmp_path / "a", metadata=metadata, example_input=torch.randn(2, 9000), exports=["onnx"])
    session = onnxruntime.InferenceSession(tmp_path / "a" / "model.onnx", providers=["CPUExecutionProvider"])
    names = [[e.name for e in entries] for entries in (session.get_inputs(), session.get_outputs())]
    assert names == [["audio"], ["logits"]]
    told = session.get_modelmeta().custom_metadata_map
    assert (told["sample_rate"], told["threshold"], told["hop_length"]) == ("16000", "0.25", "256")
    assert (told["task"], told["labels"]) == ("FrameDetection", '["absent", "present"]')
    card = (tmp_path / "a" / "README.md").read_text()
    assert "input `audio`: (batch, samples) in float32, one channel in [−1, 1]" in card
    assert "output `logits`: (batch, frames) in float32" in card
    least = load_artifact(tmp_path / "a")[1]["minimum_length"]
    assert f"shortest audio: {least} samples" in card
    assert network(torch.randn(1, least)).numel() == 1
    with pytest.raises(ValueError, match="too short"):
        network(torch.randn(1, least - 1))


@pytest.mark.parametrize(
    ("network", "dtype"),
    [
        (_Foreign(), torch.float64),
        (nn.Linear(4, 2), torch.float64),
        (nn.Linear(4, 2), torch.float16),
        (nn.Linear(4, 2), torch.bfloat16),
    ],
)
def test_an_artifact_of_another_precision_on_disk_loads_in_float32(tmp_path, network, dtype):
    x = torch.randn(3, 4)
    save_artifact(network, tmp_path / "a", metadata={}, example_input=x)
    for file in ("model.safetensors", "program.safetensors"):  # as an earlier version left them
        tensors = load_file(tmp_path / "a" / file)
        save_file(
            {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}, tmp_path / "a" / file
        )
    loaded, _ = load_artifact(tmp_path / "a")
    assert {t.dtype for t in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(x), network(x), atol=0.02, rtol=0.02)
