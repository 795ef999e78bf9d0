"""Exported networks at other lengths and batch sizes than those they were exported at."""

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.exports.any_length import any_length
from dyn_lightning.exports.export import ExportError, export_onnx, export_program, onnx_call, save_program
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN


@pytest.fixture(scope="module")
def vad() -> CRNNVAD:
    """As consolidation leaves it, with a recurrent layer of each kind and a maximum over time."""
    torch.manual_seed(0)
    network = CRNNVAD(20, 12, 10, hangover_frames=2)
    network.gru = StackedRNN("LSTM", 12, (7, 5), batch_first=True)
    network.linear = nn.Linear(5, 1)
    return network.eval()


def test_vad_as_onnx_at_any_length_and_batch_size(vad, tmp_path):
    network = vad.train()
    check = export_onnx(network, torch.randn(2, 16000), tmp_path / "vad.onnx", input_names=["audio"])
    assert network.training
    assert check.free == [[0, 1]]
    assert len({shape for shapes in check.shapes for shape in shapes}) == 4
    assert check.largest_difference < 1e-5
    network.eval()
    session = onnxruntime.InferenceSession(tmp_path / "vad.onnx", providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["audio"]
    for shape in ((1, 1536), (3, 50_001), (7, 1700)):
        audio = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(onnx_call(session)(audio)[0], network(audio), rtol=1e-5, atol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["vad.onnx"]


def test_vad_as_a_program_at_any_length_and_batch_size(vad, tmp_path):
    save_program(vad, {"audio": torch.randn(1, 16000)}, tmp_path / "vad.pt2")
    module = torch.export.load(tmp_path / "vad.pt2").module()
    for shape in ((1, 1536), (3, 20_001)):
        audio = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(module(audio=audio), vad(audio), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [nn.RNN, nn.GRU, nn.LSTM], ids=lambda make: make.__name__)
def test_recurrent_layers_keep_their_outputs_and_states(make):
    torch.manual_seed(0)
    layer = make(4, 3, 2, bidirectional=True).eval()
    program = export_program(layer, torch.randn(5, 2, 4)).module()
    x = torch.randn(9, 3, 4)
    torch.testing.assert_close(program(x), layer(x), rtol=0, atol=0)


def test_tracing_leaves_torch_as_it_was():
    layer, x = nn.GRU(4, 3), torch.randn(5, 2, 4)
    pool = nn.MaxPool1d(3, 2, 1)
    kernels = dict(torch.ops.aten.gru.input.py_kernels)
    before = layer(x)[0], pool(x)
    with pytest.raises(ZeroDivisionError), any_length():
        raise ZeroDivisionError
    assert torch.ops.aten.gru.input.py_kernels == kernels
    torch.testing.assert_close((layer(x)[0], pool(x)), before, rtol=0, atol=0)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (4, 3, 2, 1), (2, None, 0, 3)])
def test_max_pool_has_the_length_that_it_has(kernel, stride, padding, dilation):
    pool = nn.MaxPool1d(kernel, stride, padding, dilation)
    program = export_program(pool, torch.randn(2, 3, 20)).module()
    for length in (11, 21, 34):
        x = torch.randn(1, 3, length)
        torch.testing.assert_close(program(x), pool(x), rtol=0, atol=0)


@pytest.mark.parametrize("options", [(2,), ((3, 2), (2, 1), 1), (2, 3, 0, (1, 2))])
def test_max_pool_in_two_dimensions_has_the_length_that_it_has(options):
    pool = nn.MaxPool2d(*options)
    program = export_program(pool, torch.randn(2, 3, 10, 21)).module()
    for length in (11, 20, 34):
        x = torch.randn(1, 3, 10, length)
        torch.testing.assert_close(program(x), pool(x), rtol=0, atol=0)


class Ignoring(nn.Module):
    """Computes something else at other lengths: its sum runs over the frames that the example had."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(-1) * len(x.tolist()[0]) if not torch.compiler.is_exporting() else x.cumsum(-1) * 8


def test_a_difference_is_found_and_nothing_is_written(tmp_path):
    with pytest.raises(ExportError, match=r"Ignoring differs by .* input sizes \[\(\d, (?!8\))"):
        export_onnx(Ignoring(), torch.randn(2, 8), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Branching(), "Branching cannot be traced"),
        (nn.RNN(3, 2), r"x\.onnx: nn\.RNN has no ONNX form"),
        (nn.LSTM(3, 4, proj_size=2), r"x\.onnx: nn\.LSTM with proj_size has no ONNX form"),
    ],
)
def test_what_cannot_be_exported_is_named(network, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        export_onnx(network, torch.randn(4, 2, 3), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
