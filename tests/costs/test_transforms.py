"""Prices of what resamples and filters: each beside what it costs by hand."""

import pytest
import torch
import torch.nn.functional as F
from torchaudio.functional import lfilter

from tests.costs.counting import counted, flops, r


@pytest.mark.parametrize(("mode", "reach"), [("bilinear", 1), ("bicubic", 2)])
@pytest.mark.parametrize("out", [(3, 4), (5, 12), (16, 4)])
def test_antialiased(mode, reach, out):
    """The filters, read off the weights that torch gives unit impulses, are what is multiplied and added up."""
    n_in = (9, 8)

    def taps(dim):
        impulses = torch.eye(n_in[dim]).reshape(n_in[dim], 1, 1, -1)
        weights = F.interpolate(impulses, (1, out[dim]), mode=mode, antialias=True)[:, 0, 0]
        inside = weights != 0  # at a filter's very edge a weight is 0 that is counted, or the other way round
        return int(inside.sum())

    columns, rows = taps(0), taps(1)
    passes = (2 * rows - out[1]) * n_in[0] + (2 * columns - out[0]) * out[1]
    found = flops(lambda x: F.interpolate(x, out, mode=mode, antialias=True), r(2, 3, *n_in))
    edges = 2 * 2 * (out[0] * out[1] + out[1] * n_in[0])
    assert 6 * passes <= found <= 6 * (passes + edges)
    if (mode, out) == ("bilinear", (3, 4)):
        # 9 → 3: three inputs to either side of a centre, less at the ends: 5 + 6 + 4; 8 → 4: 3 + 4 + 4 + 3.
        assert found == 6 * ((2 * 14 - 4) * 9 + (2 * 15 - 3) * 4)


def cubic(t):
    """Keys' weights (a = −3/4) of four neighbours, at a distance t from the second."""
    a = -0.75

    def near(x):
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    u = 1.0 - t
    return [far(t + 1.0), near(t), near(u), far(u + 1.0)]


def test_grid_sample_bicubic():
    weights, each = counted(cubic, torch.tensor(0.3))
    assert sum(w.value for w in weights) == pytest.approx(1.0)
    # 12 places of 2 coordinates: scaled and shifted (4), rounded and its distance (2)
    # 36 outputs: five sums of four products
    expected = 12 * 2 * (4 + 2 + each) + 36 * 5 * (4 + 3)
    grid = r(2, 2, 3, 2)
    assert flops(lambda x, g: F.grid_sample(x, g, "bicubic", align_corners=False), r(2, 3, 5, 5), grid) == expected


def test_recursive_filter():
    a, b = torch.tensor([1.0, -0.5, 0.2]), torch.tensor([0.4, 0.3, 0.1])

    def filtered(x):
        y = []
        for t in range(len(x)):
            past = [x[t - k] * float(b[k]) for k in range(3) if t >= k]
            value = past[0]
            for term in past[1:]:
                value = value + term
            for k in (1, 2):
                if t >= k:
                    value = value - y[t - k] * float(a[k])
            y.append(value)
        return y

    x = 0.1 * r(50)
    y, done = counted(filtered, x)
    torch.testing.assert_close(torch.tensor([v.value for v in y]), lfilter(x, a, b))
    # Ours takes the zeros before the start for samples (a product and a sum each, 6 of them), divides both sets of
    # coefficients by the first (6), and limits the result to ±1.
    found = flops(lambda x: lfilter(x, a, b), x)
    assert done < found <= done + 2 * 6 + 6 + 2 * 50


def test_small_ones():
    assert flops(torch.linalg.vander, r(4)) == 4 * 3  # 1 is there already; three more powers
    assert flops(lambda x: torch.cumulative_trapezoid(x, dx=0.5), r(3, 9)) == 3 * 8 * 4
    assert flops(lambda x: torch.gradient(x)[0], r(8, 3)) == 2 * 2 * 24
    assert flops(lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127), r(3, 4)) == 7 * 12
    # each of 5 × 2 × 4 outputs: 3 taps × 6 inputs, a bias
    assert flops(torch.conv_tbc, r(7, 2, 6), r(3, 6, 4), r(4)) == 40 * (2 * 18 + 1)
    pooled = flops(lambda x: F.fractional_max_pool2d(x, 2, output_size=3), r(1, 2, 8, 8))
    assert pooled == 2 * 9 * 3  # a maximum of four
    assert flops(lambda x: F.fractional_max_pool3d(x, 2, output_size=2), r(1, 2, 6, 6, 6)) == 2 * 8 * 7
    assert flops(lambda x: torch.ops.aten.mul.Tensor(x, x), r(3, 4)) == 12
    assert flops(lambda x: (x.mT.mH, x.T), r(3, 4)) == 0
