"""What the comparison of a network with its export finds, and at which sizes it looks."""

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.exports.check import ExportError, compare, free_dimensions, quiet_evaluation
from dyn_lightning.exports.export import export_program


class Mean(nn.Module):
    """(batch, frames, 3) → (batch, 3), from two frames on."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] < 2:
            raise ValueError("too short")
        return x.mean(1)


@pytest.fixture
def open_sizes() -> list[list[object]]:
    return free_dimensions(export_program(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.randn(4, 5, 3)))


def test_sizes_are_numbers_where_the_network_holds_them_fast(open_sizes):
    ((batch, frames, features),) = open_sizes
    assert (int, features) == (type(features), 3)
    assert {type(batch), type(frames)} == {torch.SymInt}


def test_compared_at_the_example_others_and_one(open_sizes):
    network, example = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.randn(4, 5, 3)
    check = compare(network, network, example, open_sizes, 0.0)
    assert check.largest_difference == 0
    assert check.free == [[0, 1]]
    shapes = [shape for (shape,) in check.shapes]
    assert shapes[0] == (4, 5, 3)
    assert any(a > 4 and b > 5 for a, b, _ in shapes)
    assert any(a < 4 and b < 5 for a, b, _ in shapes)
    assert {1} <= {a for a, _, _ in shapes} & {b for _, b, _ in shapes}
    assert all(c == 3 for *_, c in shapes)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda x: x.mean(1) * 1.001, r"Mean differs by 0\.001 at the input sizes \[\(4, 5, 3\)\]"),
        (lambda x: x.mean(1) + (x.shape[1] != 5), r"Mean differs by .* at the input sizes \[\(7, 9, 3\)\]"),
        (lambda x: x.mean(1, keepdim=True), "Mean differs by inf"),
        (lambda x: x.mean(1) / 0, "Mean differs by"),
        (lambda x: x.reshape(4, 5, 3).mean(1), r"Mean fails at the input sizes \[\(7, 9, 3\)\] \(RuntimeError"),
    ],
)
def test_what_differs_is_named_with_its_sizes(open_sizes, other, message):
    with pytest.raises(ExportError, match=message):
        compare(Mean(), other, torch.rand(4, 5, 3) + 1, open_sizes, 1e-5)


def test_sizes_that_the_network_does_not_take_are_left_out(open_sizes):
    check = compare(Mean(), lambda x: x.mean(1), torch.randn(4, 5, 3), open_sizes, 1e-6)
    assert all(frames > 1 for ((_, frames, _),) in check.shapes)
    assert any(batch == 1 for ((batch, _, _),) in check.shapes)
    with pytest.raises(ValueError, match="too short"):  # the example itself is no such size
        compare(Mean(), lambda x: x.mean(1), torch.randn(4, 1, 3), open_sizes, 1e-6)


def test_modes_are_put_back():
    network = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).train()
    network[1].eval()
    with quiet_evaluation(network):
        assert not network[0].training
        assert not torch.is_grad_enabled()
    assert (network.training, network[0].training, network[1].training) == (True, True, False)
    assert torch.is_grad_enabled()
