"""Elements that are named by numbers or masks keep one dimension whole, and the others free."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize


def check_half(network, example, sizes):
    """The sizes found, and that at half of each the small network computes what the dynamic one does."""
    dynamic = dynamize(network, example)
    assert {name: width.full_size for name, width in dynamic.widths.items()} == sizes
    for width in dynamic.widths.values():
        width.set_lam(0.5)
    small, report = consolidate(dynamic.eval(), [example])
    assert report.largest_difference < 1e-5
    return dynamic, small


class Positions(nn.Module):
    def __init__(self, read):
        super().__init__()
        self.read = read
        self.tokens, self.places = nn.Embedding(40, 32), nn.Embedding(50, 32)
        self.inner, self.last = nn.Linear(32, 28), nn.Linear(28, 5)

    def forward(self, x):
        at = torch.arange(x.shape[1])
        return self.last(torch.relu(self.inner(self.tokens(x) + self.read(self.places.weight, at))))


@pytest.mark.parametrize(
    "read",
    [
        lambda weight, at: weight[at],
        lambda weight, at: weight[at.tolist()],
        lambda weight, at: weight[at, :],
        lambda weight, at: weight[at[None]],
        lambda weight, at: F.embedding(at, weight),
    ],
)
def test_a_table_read_by_positions(read):
    dynamic, small = check_half(Positions(read), torch.randint(40, (2, 7)), {"tokens": 32, "inner": 28})
    assert small.places.weight.shape == (50, 16)
    assert "named by" in dynamic.fixed_reasons["places"]


class Masked(nn.Module):
    def __init__(self, write):
        super().__init__()
        self.write = write
        self.first, self.inner, self.last = nn.Linear(24, 32), nn.GRU(32, 28, batch_first=True), nn.Linear(28, 5)

    def forward(self, x, mask):
        return self.last(self.inner(self.write(self.first(x).clone(), mask))[0])


def expanded(y, mask):
    y[~mask.unsqueeze(-1).repeat(1, 1, y.shape[2])] = 0
    return y


def broadcast(y, mask):
    y[mask.unsqueeze(-1).expand_as(y)] = torch.tensor(0.5)
    return y


def rows(y, mask):
    y[~mask] = 0.0
    return y


@pytest.mark.parametrize("write", [expanded, broadcast, rows])
def test_one_value_where_a_mask_is_true(write):
    mask = torch.ones(2, 9).bool()
    mask[1, 5:] = False
    check_half(Masked(write), (torch.randn(2, 9, 24), mask), {"first": 32, "inner-l0": 28})


class Between(nn.Module):
    """A function of two layers' features (batch, 32, time)."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.a, self.b, self.last = nn.Conv1d(24, 32, 1), nn.Conv1d(24, 32, 1), nn.Conv1d(32, 5, 1)
        self.kernel = nn.Parameter(torch.randn(32, 6)) if function is long_convolution else None

    def forward(self, x):
        return self.last(self.function(self.a(x), self.b(x), self.kernel))


def long_convolution(a, b, kernel):
    n = 2 * a.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(a + b, n=n) * torch.fft.rfft(kernel, n=n), n=n)[..., : a.shape[-1]]


def complex_pairs(a, b, kernel):
    z = torch.view_as_complex(torch.stack([a, b], -1))
    return (z * torch.exp(1j * z.abs())).real + torch.view_as_real(z)[..., 1]


def added_by_index(a, b, kernel):
    at = torch.arange(0, a.shape[-1], 2)
    return a.index_add(2, at, b[..., at])


def scattered(a, b, kernel):
    at = torch.arange(3).expand(a.shape[0], a.shape[1], 3)
    return a.scatter_add(2, at, b[..., :3])


@pytest.mark.parametrize(
    "function",
    [
        long_convolution,
        complex_pairs,
        lambda a, b, kernel: torch.complex(a, b).imag + torch.complex(a, b).abs(),
        added_by_index,
        scattered,
        lambda a, b, kernel: F.logsigmoid(a) * b,
        lambda a, b, kernel: torch.einsum("...ct,...ct,...ct->...ct", a, b, a),
        lambda a, b, kernel: a * torch.tensordot(b, torch.ones(10, 10), 1),
        lambda a, b, kernel: a * torch.inner(b, torch.ones(10, 10)),
    ],
)
def test_functions_that_leave_features_apart(function):
    torch.manual_seed(0)
    check_half(Between(function), torch.randn(2, 24, 10), {"a": 32})


def test_what_is_transformed_stays_whole_and_the_rest_does_not():
    dynamic = dynamize(
        Between(lambda a, b, kernel: b * torch.fft.rfft(a, dim=1).abs().sum(1, keepdim=True)), torch.randn(2, 24, 10)
    )
    assert list(dynamic.widths) == ["b"]
    assert "the function fft_rfft in the network transforms all of it" in dynamic.fixed_reasons["a"]


class Rotary(nn.Module):
    """Positions turned by angles that are computed once, kept, and given another tensor's type."""

    def __init__(self):
        super().__init__()
        self.kept = None
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)
        self.inner = nn.Linear(32, 12)

    def forward(self, x):
        x = torch.relu(self.first(x))
        y = self.inner(x)
        if self.kept is None:
            angles = torch.arange(x.shape[1])[:, None] * 10.0 ** -torch.arange(6)
            self.kept = torch.cat([angles, angles], -1).cos().type_as(x).to(y)
        y = y * self.kept + torch.cat([-y[..., 6:], y[..., :6]], -1)
        return self.last(x) + y.sum(-1, keepdim=True)


def test_what_is_kept_from_one_call_to_the_next_of_no_learned_size():
    dynamic, _ = check_half(Rotary(), torch.randn(2, 7, 6), {"first": 32})
    assert "first" not in dynamic.fixed_reasons
