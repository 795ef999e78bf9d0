"""Prices of functions: each beside what it costs by hand, at full size and through a learned size."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dyn_lightning.costs.base import FUNCTIONS, MODULES, function_name
from dyn_lightning.costs.prices import ACTIVATIONS, FREE_FUNCTIONS, PER_INPUT, PER_OUTPUT
from dyn_lightning.dynamize import dynamize
from dyn_lightning.graph.declared import LAYERS
from dyn_lightning.network.plain import plain_complexity
from tests.costs.counting import Calls, c, flops, r

INDEX = torch.tensor([[0, 1], [2, 0]])
PRODUCTS = {
    # 2 × 3 × 5 outputs of 4 products each
    "matmul": (torch.matmul, [r(2, 3, 4), r(4, 5)], 2 * 30 * 4),
    "inner": (torch.inner, [r(3, 4), r(5, 4)], 2 * 15 * 4),
    "vecdot": (torch.linalg.vecdot, [r(3, 4), r(4)], 2 * 12),
    "addmm": (torch.addmm, [r(5), r(3, 4), r(4, 5)], 15 * (2 * 4 + 1)),
    "addmv": (torch.addmv, [r(3), r(3, 4), r(4)], 3 * (2 * 4 + 1)),
    "baddbmm": (torch.baddbmm, [r(2, 3, 5), r(2, 3, 4), r(2, 4, 5)], 30 * (2 * 4 + 1)),
    "addbmm": (torch.addbmm, [r(3, 5), r(2, 3, 4), r(2, 4, 5)], 15 * (2 * 2 * 4 + 1)),
    "addr": (torch.addr, [r(3, 5), r(3), r(5)], 2 * 15),
    "outer": (torch.outer, [r(3), r(5)], 15),
    "addcmul": (torch.addcmul, [r(3, 4), r(3, 4), r(4)], 2 * 12),
    "addcmul with a factor": (lambda a, b: torch.addcmul(a, a, b, value=0.5), [r(3, 4), r(4)], 3 * 12),
    "addcdiv": (torch.addcdiv, [r(3, 4), r(3, 4), r(4)], 2 * 12),
    "lerp": (torch.lerp, [r(3, 4), r(3, 4), r(3, 4)], 3 * 12),
    # (2, 3, 4) · (3, 4, 5) over both: 2 × 5 outputs of 12 products
    "tensordot by number": (lambda a, b: torch.tensordot(a, b, 2), [r(2, 3, 4), r(3, 4, 5)], 2 * 10 * 12),
    "tensordot by dims": (lambda a, b: torch.tensordot(a, b, ([1], [0])), [r(2, 3, 4), r(3, 5)], 2 * 40 * 3),
    # (10 × 2) · (2 × 30) · (30 × 1): from the right, 2·30·1 and 10·2·1
    "multi_dot": (lambda *x: torch.linalg.multi_dot(x), [r(10, 2), r(2, 30), r(30, 1)], 2 * (60 + 20)),
    "multi_dot of vectors": (lambda *x: torch.linalg.multi_dot(x), [r(10), r(10, 30), r(30)], 2 * (300 + 10)),
    # (2 × 10) · (10 × 3) · (3 × 20): from the left, 60 and 120
    "multi_dot of four": (
        lambda *x: torch.linalg.multi_dot(x), [r(2, 10), r(10, 3), r(3, 20), r(20, 1)], 2 * (3 * 20 + 10 * 3 + 2 * 10),
    ),
    "einsum of two": (lambda a, b: torch.einsum("bct,oc->bot", a, b), [r(2, 3, 4), r(5, 3)], 2 * 2 * 4 * 15),
    "einsum of three": (
        lambda *x: torch.einsum("bct,oc,od->bdt", *x), [r(2, 3, 4), r(5, 3), r(5, 6)], 2 * 8 * 15 + 2 * 8 * 30,
    ),
    "einsum, products alone": (
        lambda a, b: torch.einsum("bl,bn,bl->bln", a, b, a), [r(2, 3), r(2, 4)], 24 + 24,
    ),
    "einsum with ...": (lambda a, b: torch.einsum("...gi,gio->...go", a, b), [r(2, 3, 4, 5), r(4, 5, 6)], 2 * 6 * 120),
    "einsum with unlike ...": (lambda a, b: torch.einsum("...i,...i->...", a, b), [r(2, 3, 4), r(3, 4)], 2 * 24),
    "einsum without ->": (lambda a, b: torch.einsum("ij,jk", a, b), [r(2, 3), r(3, 4)], 2 * 24),
    "einsum by lists": (lambda a, b: torch.einsum(a, [0, 1], b, [1, 2], [0, 2]), [r(2, 3), r(3, 4)], 2 * 24),
    "einsum, a trace": (lambda a: torch.einsum("ii->", a), [r(4, 4)], 4),
    "einsum, broadcast": (lambda a, b: torch.einsum("bi,bi->b", a, b), [r(1, 4), r(3, 4)], 2 * 12),
    "cdist": (torch.cdist, [r(2, 3, 4), r(2, 5, 4)], 3 * 30 * 4),
    "pairwise distance": (F.pairwise_distance, [r(3, 4), r(3, 4)], 3 * 12),
    "cosine similarity": (F.cosine_similarity, [r(3, 4), r(3, 4)], 6 * 12 + 4 * 3),
    "matrix power": (lambda a: torch.linalg.matrix_power(a, 5), [r(4, 4)], 3 * 2 * 64),  # a², a⁴, a⁴·a
    "cholesky": (lambda a: torch.linalg.cholesky(torch.eye(6)[None] + 0 * a), [r(6, 6)], 2 * 36 + 6**3 / 3),
    "inverse": (torch.linalg.inv, [r(4, 4)], 2 * 64),
    "solve": (torch.linalg.solve, [r(6, 6), r(6, 2)], 2 * 216 / 3 + 2 * 36 * 2),
    "grouped_mm": (
        lambda a, b, n: F.grouped_mm(a, b, offs=n),
        [r(8, 8).bfloat16(), r(2, 8, 16).bfloat16(), torch.tensor([3, 8], dtype=torch.int32)],
        2 * 8 * 8 * 16,
    ),
    "vmap": (torch.vmap(lambda a, b: (a * b).sum()), [r(5, 3), r(5, 3)], 5 * (3 + 3)),
    "vmap of vmap": (torch.vmap(torch.vmap(torch.sin)), [r(5, 3, 2)], 30),
    "vmap of one of two": (torch.vmap(torch.matmul, in_dims=(0, None)), [r(5, 3), r(3, 2)], 5 * 2 * 6),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name):
    function, inputs, expected = PRODUCTS[name]
    assert flops(function, *inputs) == pytest.approx(expected)


FFT = 5 * 16 * 4  # of 16 points
TRANSFORMS = {
    "fft": (torch.fft.fft, [r(3, 16)], 3 * FFT),
    "rfft": (torch.fft.rfft, [r(3, 16)], 3 * FFT),
    "rfft, padded": (lambda x: torch.fft.rfft(x, n=16), [r(3, 9)], 3 * FFT),
    "rfft of a dimension": (lambda x: torch.fft.rfft(x, dim=1), [r(2, 16, 3)], 6 * FFT),
    "irfft": (torch.fft.irfft, [c(3, 9)], 3 * FFT),
    "irfft, given": (lambda x: torch.fft.irfft(x, n=16), [c(3, 9)], 3 * FFT),
    "fft2": (torch.fft.fft2, [r(3, 4, 4)], 3 * FFT),
    "rfft2": (torch.fft.rfft2, [r(3, 4, 4)], 3 * FFT),
    "irfftn": (torch.fft.irfftn, [c(4, 3)], FFT),
    "fftn of some": (lambda x: torch.fft.fftn(x, dim=(0, 2)), [r(4, 3, 4)], 3 * FFT),
    "fftshift": (torch.fft.fftshift, [r(3, 16)], 0),
    # 5 frames: a window and a transform each
    "stft": (
        lambda x: torch.stft(x, 16, 4, window=torch.ones(16), return_complex=True), [r(2, 16)], 2 * 5 * (FFT + 16),
    ),
    "stft of both sides": (
        lambda x: torch.stft(x, 16, 4, window=torch.ones(16), onesided=False, return_complex=True), [r(2, 16)],
        2 * 5 * (FFT + 16),
    ),
    # a window, a sum of overlapping frames, and a division of each of 16 samples
    "istft": (lambda x: torch.istft(x, 16, 4, window=torch.ones(16)), [c(2, 9, 5)], 2 * 5 * (FFT + 32) + 2 * 16),
    "interpolate, nearest": (lambda x: F.interpolate(x, scale_factor=2), [r(2, 3, 5)], 0),
    "interpolate, linear": (lambda x: F.interpolate(x, 10, mode="linear"), [r(2, 3, 5)], 3 * 60),
    "interpolate, bilinear": (lambda x: F.interpolate(x, (8, 8), mode="bilinear"), [r(2, 3, 5, 5)], 7 * 6 * 64),
    "interpolate, bicubic": (lambda x: F.interpolate(x, (8, 8), mode="bicubic"), [r(2, 3, 5, 5)], 31 * 6 * 64),
    "interpolate, area": (lambda x: F.interpolate(x, 5, mode="area"), [r(2, 3, 10)], 60),
    "upsample layer": (nn.Upsample(scale_factor=2, mode="linear"), [r(2, 3, 5)], 3 * 60),
    # 12 places of 2 coordinates (7 each), 4 weights; 36 outputs of 4 products
    "grid_sample": (
        lambda x, g: F.grid_sample(x, g, align_corners=False), [r(2, 3, 5, 5), r(2, 3, 2, 2)], 36 * 7 + 12 * (14 + 4),
    ),
    "affine_grid": (lambda x: F.affine_grid(x, [2, 1, 3, 4], False), [r(2, 2, 3)], 48 * 4),
    "unfold": (lambda x: F.unfold(x, 2), [r(1, 2, 4, 4)], 0),
    "fold": (lambda x: F.fold(x, (4, 4), 2), [r(1, 8, 9)], 72),
    "gather": (lambda x: x.gather(1, INDEX), [r(2, 3)], 0),
    "scatter": (lambda x: x.scatter(1, INDEX, 1.0), [r(2, 3)], 0),
    "scatter_add": (lambda x, y: x.scatter_add(1, INDEX, y), [r(2, 3), r(2, 2)], 4),
    "index_add": (lambda x, y: x.index_add(0, torch.tensor([1, 0]), y), [r(2, 3), r(2, 3)], 6),
    "sort": (lambda x: x.sort(-1).values, [r(3, 8)], 24 * 3),
    "argsort of rows": (lambda x: x.argsort(0), [r(8, 3)], 24 * 3),
    "topk": (lambda x: x.topk(2).values, [r(3, 8)], 24),
    "cumsum": (lambda x: x.cumsum(1), [r(3, 8)], 24),
    "cumprod": (lambda x: x.cumprod(1), [r(3, 8)], 24),
    "searchsorted": (torch.searchsorted, [torch.arange(7.0), r(5)], 5 * 3),
    "bucketize": (torch.bucketize, [r(5), torch.arange(7.0)], 5 * 3),
    "embedding_bag": (lambda x, w: F.embedding_bag(x, w), [torch.tensor([[0, 1, 2]]), r(4, 5)], 15 + 5),
    "norm": (lambda x: x.norm(dim=1), [r(3, 8)], 48),
    "vector_norm": (lambda x: torch.linalg.vector_norm(x, dim=1), [r(3, 8)], 48),
    "linalg.norm": (lambda x: torch.linalg.norm(x, dim=1), [r(3, 8)], 48),
    "normalize": (F.normalize, [r(3, 8)], 72),
    "max_pool3d": (nn.MaxPool3d(2), [r(1, 2, 4, 4, 4)], 16 * 7),
    "lp_pool1d": (nn.LPPool1d(2, 4), [r(1, 2, 8)], 4 * 8),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3), [r(1, 6, 4)], 24 * 8),
    "logic": (lambda x: ~((x > 0) & (x < 1)), [r(3, 4)], 2 * 12),
    "trigonometry": (lambda x: torch.atan2(x, torch.tan(x)), [r(3, 4)], 2 * 12),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*istft.*")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_and_moves(name):
    function, inputs, expected = TRANSFORMS[name]
    assert flops(function, *inputs) == pytest.approx(expected)


LINEAR = nn.Linear(4, 5, dtype=torch.cfloat)
CONV = nn.Conv1d(4, 6, 3, groups=2, bias=False, dtype=torch.cfloat)
BACK = nn.ConvTranspose1d(4, 6, 3, bias=False, dtype=torch.cfloat)
COMPLEX = {
    # a product of complex numbers is 4 real products and 2 sums, a sum 2
    "product": (lambda a, b: a * b, [c(3, 4), c(3, 4)], 6 * 12),
    "by a real one": (lambda a, b: a * b, [c(3, 4), r(3, 4)], 2 * 12),
    "by a number": (lambda a: a * 0.5, [c(3, 4)], 6 * 12),
    "sum": (lambda a, b: a + b, [c(3, 4), c(3, 4)], 2 * 12),
    "quotient": (lambda a, b: a / b, [c(3, 4), c(3, 4)], 11 * 12),
    "modulus": (torch.abs, [c(3, 4)], 4 * 12),
    "real part": (lambda a: a.real + a.imag, [c(3, 4)], 12),
    "made of two": (torch.complex, [r(3, 4), r(3, 4)], 0),
    "matmul": (torch.matmul, [c(3, 4), c(4, 5)], 8 * 60),
    "einsum": (lambda a, b: torch.einsum("ij,jk->ik", a, b), [c(3, 4), c(4, 5)], 8 * 60),
    "reduced": (lambda a: a.sum(1), [c(3, 4)], 2 * 12),
    "Linear": (LINEAR, [c(3, 4)], 15 * (8 * 4 + 2)),
    "linear": (F.linear, [c(3, 4), c(5, 4)], 8 * 60),
    "Conv1d": (CONV, [c(2, 4, 9)], 2 * 7 * 6 * 8 * 2 * 3),
    "ConvTranspose1d": (BACK, [c(2, 4, 9)], 8 * 2 * 9 * 4 * 6 * 3),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers(name):
    function, inputs, expected = COMPLEX[name]
    assert flops(function, *inputs) == expected


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("packed", [False, True])
def test_recurrent_functions_cost_what_the_layer_costs(kind, packed):
    own = type("Own", (kind,), {})  # a class that is not known is followed by the functions that it calls

    def run(layer):
        def function(x):
            given = nn.utils.rnn.pack_padded_sequence(x, [7, 4], batch_first=True) if packed else x
            out = layer(given)[0]
            return out.data if packed else out

        network = Calls(function)
        network.layer = layer
        return plain_complexity(network, r(2, 7, 5), None)

    options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    layer, function = run(kind(5, 6, **options)), run(own(5, 6, **options))
    assert function.uncounted == ()
    assert function.flops_full_size() == layer.flops_full_size()


class Learned(nn.Module):
    """A function between two layers, whose size between them is learned."""

    def __init__(self, function, made=32):
        super().__init__()
        self.function, self.first, self.last = function, nn.Conv1d(4, made, 1, bias=False), nn.Conv1d(made, 3, 1)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


@pytest.mark.parametrize(
    ("function", "each"),
    [
        (lambda x: torch.einsum("bct,bct,bct->bct", x, x, x), 2 * 8),
        (lambda x: torch.einsum("...t,ts->...s", x, torch.ones(8, 8)), 2 * 64),
        (lambda x: F.interpolate(F.interpolate(x, 16, mode="linear"), 8, mode="linear"), 3 * 16 + 3 * 8),
        (lambda x: torch.addcmul(x, x, x), 2 * 8),
        (lambda x: x.cumsum(-1), 8),
        (lambda x: torch.lerp(x, x, torch.full((8,), 0.5)), 3 * 8),
    ],
)
def test_costs_are_functions_of_the_sizes(function, each):
    dynamic = dynamize(Learned(function), torch.randn(1, 4, 8))
    (width,) = dynamic.widths.values()
    whole = {n: dynamic.complexity.flops_at(dict.fromkeys(dynamic.widths, n)) for n in (10, 20)}
    layers = 8 * (2 * 4 + 2 * 3)
    assert whole[20] - whole[10] == 10 * (layers + each)
    width.set_lam(0.5)
    dynamic.complexity.flops_per_second().backward()
    assert width.theta.grad.item() == pytest.approx(16 * (layers + each), rel=1e-5)


def test_every_layer_that_is_taken_as_a_whole_has_a_price():
    assert set(LAYERS) == set(MODULES)
    assert nn.ReLU in MODULES
    assert ACTIVATIONS["ReLU"] == 1


def test_a_function_has_one_price():
    tables = [set(FUNCTIONS), set(FREE_FUNCTIONS), set(PER_INPUT), set(PER_OUTPUT)]
    for i, one in enumerate(tables):
        for other in tables[i + 1 :]:
            assert one & other <= {"softmax"}
    assert all(function_name(name) == name for table in tables for name in table)
    assert math.isclose(flops(torch.sin, r(2)), 2)
