"""A network that runs from data computes what the network computes, and can name nothing that is dangerous."""

import json
import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dyn_lightning.artifact import ArtifactError, Program
from dyn_lightning.exports.program.functions import find_function
from dyn_lightning.exports.program.traced import ProgramError, describe_program
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN


class Several(nn.Module):
    """Several inputs, nested outputs, in-place calls, constants, and sizes that hang on the input's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.norm = nn.BatchNorm1d(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.constant = torch.arange(16.0)

    def forward(self, x: Tensor, tokens: Tensor, scale: Tensor | None = None) -> dict[str, object]:
        y = self.encoder(x + self.embedding(tokens) + self.constant)
        if scale is not None:
            y = y * scale
        attended, weights = self.attention(y, y, y)
        limit = x.new_full((2 * x.shape[1],), math.inf)
        return {"y": self.norm(y.transpose(1, 2)).relu_(), "rest": [attended, (weights, limit.clamp(max=3.0))]}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 6, 2, bidirectional=True)
        self.stack = StackedRNN("LSTM", 12, (4, 3), batch_first=True)
        self.cell = nn.GRUCell(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.stack(self.gru(x)[0])
        return self.cell(y[:, -1])


def through_json(network: nn.Module, example: object) -> Program:
    document, constants = describe_program(network, example)
    program = Program(json.loads(json.dumps(document)))
    program.load({**network.state_dict(), **constants})
    return program.eval()


def assert_same(program: nn.Module, network: nn.Module, *args: Tensor, **kwargs: Tensor) -> None:
    with torch.no_grad():
        found, expected = program(*args, **kwargs), network(*args, **kwargs)
    assert pytree.tree_structure(found) == pytree.tree_structure(expected)
    for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_recurrent_networks_at_other_sizes():
    torch.manual_seed(0)
    audio = CRNNVAD(20, 12, 10, hangover_frames=2).eval()
    program = through_json(audio, torch.randn(2, 16000))
    for shape in ((2, 16000), (1, 1536), (5, 9001)):
        assert_same(program, audio, torch.randn(shape))
    assert program.state_dict().keys() == audio.state_dict().keys()
    network = Recurrent().eval()
    program = through_json(network, torch.randn(4, 2, 5))
    assert_same(program, network, torch.randn(1, 9, 5))


def test_several_inputs_and_nested_outputs():
    torch.manual_seed(0)
    network = Several().eval()
    x, tokens = torch.randn(2, 9, 16), torch.randint(0, 10, (2, 9))
    program = through_json(network, {"tokens": tokens, "x": x, "scale": torch.tensor(2.0)})
    assert_same(program, network, scale=torch.tensor(0.5), x=x[:1], tokens=tokens[:1])
    with pytest.raises(TypeError, match="4 values were given"):
        program(x, tokens, x, x)


def test_a_program_can_be_traced_again():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
    program = through_json(network, torch.randn(2, 3))
    assert_same(through_json(program, torch.randn(2, 3)), network, torch.randn(7, 3))


def test_results_are_let_go_of():
    program = through_json(nn.Sequential(*(nn.Linear(3, 3) for _ in range(4))), torch.randn(2, 3))
    assert [len(program.done_with.get(name, ())) for name, *_ in program.calls] == [3] * 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aten.from_file.default", "not allowed"),
        ("aten.save.default", "not allowed"),
        ("aten.add_.Tensor", "not allowed"),
        ("aten.set_.source_Tensor", "not allowed"),
        ("aten._print.default", "not allowed|does not have"),
        ("os.system", "does not have"),
        ("aten.__class__.mro", "does not have"),
        ("aten.add.__reduce__", "does not have"),
        ("prims.device_put.default", "does not have"),
        ("eval", "does not have"),
    ],
)
def test_files_can_name_nothing_dangerous(name, message):
    with pytest.raises(ArtifactError, match=message):
        find_function(name)
    document, _ = describe_program(nn.ReLU(), torch.ones(2))
    document["calls"][0]["function"] = name
    with pytest.raises(ArtifactError, match=message):
        Program(document)


def test_damage_is_named():
    document, _ = describe_program(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(ArtifactError, match="program version 9"):
        Program({**document, "program_version": 9})
    with pytest.raises(ArtifactError, match="is no program"):
        Program({**document, "calls": [{"name": "x"}]})
    with pytest.raises(ArtifactError, match=r"is no program \(it uses 'y' before it is there\)"):
        Program({**document, "outputs": {"result": "y"}})
    tensors = {k: {**v, "dtype": "nn"} for k, v in document["tensors"].items()}
    with pytest.raises(ArtifactError, match=r"names torch\.nn"):
        Program({**document, "tensors": tensors})
    with pytest.raises(ArtifactError, match=r"weight: expected \(2, 2\), found \(3, 2\)"):
        Program(document).load(nn.Linear(2, 3).state_dict())


def test_weights_take_no_memory_before_they_are_there():
    document, _ = describe_program(nn.Linear(2, 2), torch.ones(1, 2))
    tensors = {k: {**v, "shape": [2**30, 2**9]} for k, v in document["tensors"].items()}
    assert Program({**document, "tensors": tensors}).state_dict()["weight"].shape == (2**30, 2**9)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "message"),
    [
        ("aten.to.dtype", [-2], {}, "dtype=-2, which is no dtype's name"),
        ("aten.to.dtype", [{"layout": "strided"}], {}, "which is no dtype's name"),
        ("aten.zeros_like.default", [], {"layout": 3}, "layout=3"),
        ("aten.clone.default", [], {"memory_format": 1}, "memory_format=1"),
        ("aten.zeros_like.default", [], {"pin_memory": True}, "pin_memory"),
    ],
)
def test_what_torch_does_not_check_is_given_by_name(function, args, kwargs, message):
    document, _ = describe_program(nn.ReLU(), torch.ones(2))
    call = document["calls"][0]
    document["calls"][0] = {**call, "function": function, "args": [*call["args"], *args], "kwargs": kwargs}
    with pytest.raises(ArtifactError, match=message):
        Program(document)


def test_memory_is_what_weights_and_input_justify():
    """256 MiB, and 1,024 bytes for each of the input's."""
    document, _ = describe_program(nn.Flatten(0), torch.ones(2, 3))
    call = {"name": "y", "function": "aten.repeat.default", "kwargs": {}}
    call["args"] = [{"result": document["inputs"][0]}, [3000, 1]]
    program = Program({**document, "calls": [call], "outputs": {"result": "y"}})
    assert program(torch.zeros(1, 2**12)).shape == (3000, 2**12)
    with pytest.raises(
        ProgramError, match=r"its call y fails on this input \(it asks for 0\.786 GB .* justify 0\.537 GB"
    ):
        program(torch.zeros(1, 2**16))
    assert program(torch.zeros(1, 2**12)).shape == (3000, 2**12)


class Channels(nn.Module):
    """A slope for each channel, and a view of what a convolution may lay out in either way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.slope = nn.Conv2d(1, 4, 3, padding=1), nn.PReLU(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.slope(self.conv(x)).transpose(1, 2)
        return y.reshape(x.shape[0], y.shape[1], -1)


def test_a_slope_for_each_channel_and_any_layout_in_memory():
    network = Channels().eval()
    program = through_json(network, torch.randn(2, 1, 9, 8))
    for x in (torch.randn(3, 1, 7, 8), torch.randn(2, 1, 9, 8).to(memory_format=torch.channels_last)):
        assert_same(program, network, x)
        assert_same(program.to(memory_format=torch.channels_last), network, x)


def test_names_of_layers_may_be_those_of_a_program():
    network = nn.ModuleDict({"inputs": nn.Linear(3, 3), "calls": nn.Linear(3, 3), "load": nn.Linear(3, 3)})
    network.forward = lambda x: network["load"](network["calls"](network["inputs"](x)))
    program = through_json(network.eval(), torch.randn(2, 3))
    assert_same(program, network, torch.randn(4, 3))
    assert program.state_dict().keys() == network.state_dict().keys()


def test_a_network_that_changes_itself_is_refused():
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    with pytest.raises(ArtifactError, match="changes its own buffers"):
        describe_program(Counter(), torch.ones(2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_program_runs_on_another_device_than_it_was_made_on():
    network = CRNNVAD(20, 12, 10).eval()
    program = through_json(network, torch.randn(2, 16000))
    audio = torch.randn(1, 9000)
    torch.testing.assert_close(program.cuda()(audio.cuda()).cpu(), network(audio), rtol=1e-4, atol=1e-4)
