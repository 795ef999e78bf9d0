import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dyn_lightning.errors import SettingError
from dyn_lightning.layers import Linear
from dyn_lightning.widths import BOUNDARIES
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width


def test_starts_full_and_learning() -> None:
    width = Width(10)
    assert (width.size, width.active, width.current, width.lam.item(), width.k.item()) == (
        10,
        10,
        10,
        1.0,
        10.0,
    )
    assert width.learning
    assert width.noisy
    assert not width.frozen


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2048), st.floats(0.0, 1.0))
def test_sizes_follow_lam(full: int, position: float) -> None:
    width = Width(full)
    lam = (1 + position * (full - 1)) / full
    width.set_lam(lam)
    k = lam * full
    if abs(k - round(k)) > 5e-3:
        assert (width.size, width.active) == (math.floor(k), math.ceil(k))
        faded = Width(width.full_size, multiple_of=width.multiple_of, boundary="attenuation")
        faded.set_lam(width.lam.item())
        assert faded.amplitudes[0].value == pytest.approx(1 - (math.ceil(k) - k), abs=1e-3)
    assert width.k.item() == pytest.approx(k, rel=1e-5)


@pytest.mark.parametrize("full", [1, 2, 3, 7, 64, 80, 257, 1000, 1023])
def test_integers_set_through_lam_are_exact(full: int) -> None:
    width = Width(full)
    for size in range(1, full + 1):
        width.set_lam(size / full)
        assert (width.size, width.active) == (size, size)


def test_three_states() -> None:
    width = Width(8)
    width.set_lam(0.55)
    assert width.current == 5  # K = 4.4, training and learning: the boundary unit is computed
    width.eval()
    assert width.current == 4
    width.train().set_learning(False)
    assert (width.current, width.learning, width.noisy) == (4, False, False)
    width.set_learning(True)
    width.freeze(7)
    assert (width.current, width.size, width.active, width.learning, width.noisy) == (7, 7, 7, False, False)
    width.set_lam(0.1)
    assert width.size == 7
    width.unfreeze()
    assert (width.size, width.learning) == (1, True)


def test_noise_only_while_learning_in_training() -> None:
    width, x = Width(8), torch.randn(16, 5)
    width.set_lam(0.55)
    assert not torch.equal(width.noise(x, 1), x)
    for quiet in (lambda: width.eval(), lambda: width.train().set_learning(False), lambda: width.freeze(5)):
        quiet()
        assert width.noise(x, 1) is x


@pytest.mark.parametrize("name", BOUNDARIES)
@pytest.mark.parametrize("alpha", [0.06, 0.3, 0.5, 0.7, 0.94])
def test_gradient_is_that_of_the_expected_loss(name: str, alpha: float) -> None:
    """A quadratic loss behind a linear read-out, whose expectation over the noise is known in closed form."""
    torch.manual_seed(0)
    full, kept = 8, 5
    features = torch.randn(60_000, full, dtype=torch.float64) + 0.5
    target, readout = (
        2.0 * features[:, kept] + features[:, 0],
        torch.linspace(0.5, 1.5, full, dtype=torch.float64),
    )
    sigma = features[:, kept].std(correction=0)

    def expected(k: float) -> Tensor:
        a, b = BOUNDARIES[name](torch.tensor(kept + 1 - k, dtype=torch.float64))
        mean = features[:, :kept] @ readout[:kept] + readout[kept] * a * features[:, kept]
        return (mean - target).square().mean() + (readout[kept] * b * sigma) ** 2

    k, step = kept + 1 - alpha, 1e-4
    slope = (expected(k + step) - expected(k - step)) / (2 * step)

    width = Width(full, boundary=name)
    width.set_lam(k / full)
    found = []
    for rows in torch.arange(len(features)).chunk(20):
        seen = width.noise(features[rows, : width.active], 1) @ readout[: width.active]
        (gradient,) = torch.autograd.grad((seen - target[rows]).square().mean(), width.theta)
        found.append(gradient / k)  # dL/dθ = K · dL/dK
    mean, error = torch.stack(found).mean(), torch.stack(found).std() / math.sqrt(20)
    assert float(error) < 0.1
    assert float(mean) == pytest.approx(float(slope), abs=4 * float(error) + 1e-3)


@pytest.mark.parametrize(
    ("name", "noise_costs"),
    # The feature is estimated by its own value: (1 − a)² + b² of its variance, at the end of the segment.
    [("taper", 1.0), ("rotation", 2.0), ("paper", 2.0 - 2.0 * math.sqrt(0.05)), ("attenuation", 1.0)],
)
def test_jump_at_an_integer(name: str, noise_costs: float) -> None:
    """Just above an integer the boundary unit is all noise (2σ²), at the integer it is absent (σ²)."""
    torch.manual_seed(0)
    features = 3.0 * torch.randn(200_000, 4)
    width = Width(4, boundary=name)

    def loss(k: float) -> float:
        width.set_lam(k / 4)
        estimate = torch.nn.functional.pad(width.noise(features[:, : width.active], 1), (0, 4 - width.active))
        return float((estimate[:, 3] - features[:, 3]).square().mean() / 9.0)

    right, left = loss(3.003), loss(3.0)
    print(f"{name}: {right:.3f}σ² just above the integer, {left:.3f}σ² at it")
    assert left == pytest.approx(1.0, rel=0.02)
    assert right == pytest.approx(noise_costs, rel=0.02)
    assert loss(3.999999) == pytest.approx(2.0 - 2.0 * math.sqrt(0.95) if name == "paper" else 0.0, abs=0.01)


def test_nothing_past_the_boundary_is_computed() -> None:
    width = Width(8)
    width.set_lam(0.55)
    layer, reader = Linear(3, 8, out_width=width), Linear(8, 2, in_width=width)
    with torch.no_grad():
        layer.weight[5:] = math.nan
        layer.bias[5:] = math.nan
        reader.weight[:, 5:] = math.nan
    hidden = layer(torch.randn(16, 3))
    assert hidden.shape == (16, 5)
    out = reader(hidden)
    assert torch.isfinite(out).all()
    out.square().sum().backward()
    assert width.theta.grad is not None
    assert torch.isfinite(width.theta.grad)
    assert width.theta.grad != 0
    assert layer.weight.grad is not None
    assert reader.weight.grad is not None
    assert (layer.weight.grad[5:] == 0).all()
    assert (layer.weight.grad[:5] != 0).all()
    assert (reader.weight.grad[:, 5:] == 0).all()


@pytest.mark.parametrize("name", BOUNDARIES)
def test_lam_is_driven_through_everything_without_nan(name: str) -> None:
    torch.manual_seed(0)
    width, x = Width(4, boundary=name), torch.randn(4, 4)
    optimizer, seen = torch.optim.SGD([width.theta], lr=0.0), set()
    for step in range(1200):
        with torch.no_grad():
            width.theta.add_(0.01 * (-1) ** (step // 200 + 1) + 1e-3 * torch.randn(()))
        width.clamp_()
        if step % 50 == 0:
            width.set_lam(round(width.k.item()) / 4)
        optimizer.zero_grad()
        width.noise(x[:, : width.active], 1).square().sum().backward()
        assert width.theta.grad is not None
        assert torch.isfinite(width.theta.grad)
        seen.add((width.size, width.active))
    assert seen == {(1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4)}


def test_clamp() -> None:
    width = Width(8, lam_min=0.25)
    for theta, lam in ((0.3, 1.0), (-9.0, 0.25), (-0.5, math.exp(-0.5))):
        with torch.no_grad():
            width.theta.fill_(theta)
        width.clamp_()
        assert width.lam.item() == pytest.approx(lam)
    assert Width(8).lam_min == pytest.approx(1 / 8)
    assert Width(8, lam_min=0.01).lam_min == pytest.approx(1 / 8)


def test_frozen_lam_stays_in_the_graph_with_a_zero_gradient() -> None:
    width = Width(8)
    width.freeze(6)
    assert width.lam.item() == pytest.approx(6 / 8)
    assert width.k.item() == pytest.approx(6.0)
    width.lam.square().backward()
    assert width.theta.grad is not None
    assert float(width.theta.grad) == 0.0


def test_gradient_of_lam_while_learning() -> None:
    width = Width(8)
    width.set_lam(0.5)
    width.lam.backward()
    assert float(width.theta.grad) == pytest.approx(0.5)  # dλ/dθ = λ


@pytest.mark.parametrize(("full", "multiple", "sizes"), [(20, 8, {8, 16, 20}), (16, 8, {8, 16}), (5, 5, {5})])
def test_units(full: int, multiple: int, sizes: set[int]) -> None:
    width, seen = Width(full, multiple_of=multiple), set()
    for step in range(1, 101):
        width.set_lam(max(step / 100, width.lam_min))
        assert width.active - width.size in {0, width.boundary_size}
        seen.add(width.size)
    assert seen == sizes
    assert width.units == len(sizes)


def test_freezing_rounds_down_to_units_and_keeps_its_size_whatever_the_unit() -> None:
    width = Width(20, multiple_of=8)
    for asked, given_ in ((20, 20), (19, 16), (8, 8), (3, 8)):
        width.freeze(asked)
        assert (width.size, width.active) == (given_, given_)
    other = Width(20)
    width.freeze(16)
    other.load_state_dict(width.state_dict())
    assert other.size == 16


def test_a_short_last_unit_is_noisy_as_a_whole() -> None:
    width = Width(20, multiple_of=8)
    width.set_lam(0.9)
    x = torch.randn(50, 20)
    changed = (width.noise(x, 1) != x).any(0)
    assert changed.tolist() == [False] * 16 + [True] * 4


def test_a_resampled_width_interpolates_what_it_cuts() -> None:
    width = Width(4, resampled=True)
    x = torch.randn(2, 4, 3)
    both = Layout(width).take(x, 1)  # while learning, of four and of three samples
    assert torch.equal(both[:, :4], x)  # K = N
    assert torch.equal(both[:, 4:], torch.zeros(2, 3, 3))
    width.set_learning(False)
    assert torch.equal(Layout(width).take(x, 1), x)
    width.set_learning(True)
    width.freeze(1)
    # the only sample stands for every point
    torch.testing.assert_close(Layout(width).take(x, 1), x.sum(1, keepdim=True))
    assert Layout(width).in_use() is None


def test_a_resampled_width_learns_without_noise() -> None:
    width = Width(6, resampled=True)
    width.set_lam(4.4 / 6)
    x = torch.randn(50, 5)
    assert width.noise(x, 1) is x
    weights = torch.randn(3, 6)
    assert (Layout(width).take(weights, 1).shape, Layout(width).take(weights, 1, kept=True).shape) == (
        (3, 5 + 4),
        (3, 4),
    )
    Layout(width).take(weights, 1).square().sum().backward()
    assert width.theta.grad is not None
    assert width.theta.grad != 0
    width.set_learning(False)
    assert Layout(width).take(weights, 1).shape == (3, 4)
    assert not Layout(width).take(weights, 1).requires_grad


@pytest.mark.parametrize(("dim", "batch_dim"), [(-1, 0), (2, 1), (1, 0), (0, 1), (0, 2)])
def test_probes_stand_on_every_sample(dim: int, batch_dim: int) -> None:
    x = torch.randn(5, 2, 3)
    width = Width(x.shape[dim])
    width.probes = []
    y = width.noise(x, dim, batch_dim=batch_dim)
    (probe,) = width.probes
    assert torch.equal(y, x)
    assert probe.shape == (x.shape[batch_dim], x.shape[dim])
    (gradient,) = torch.autograd.grad(y.square().sum(), probe)
    torch.testing.assert_close(gradient, 2 * x.square().movedim((batch_dim, dim), (0, 1)).sum(2))


def test_a_probe_on_a_parameter_has_no_samples() -> None:
    width, x = Width(3), torch.randn(3, 4)
    width.probes = []
    y = width.noise(x, 0, batch_dim=None)
    (probe,) = width.probes
    assert torch.equal(y, x)
    assert probe.shape == (1, 3)
    (gradient,) = torch.autograd.grad(y.square().sum(), probe)
    torch.testing.assert_close(gradient[0], 2 * x.square().sum(1))


def test_elements_apart_are_no_samples_of_one_another() -> None:
    torch.manual_seed(0)
    width, x = Width(3, boundary="rotation"), torch.ones(2000, 2, 3)
    x[:, 1] = -9.0  # each constant over the samples, so that it has no spread of its own
    width.set_lam(0.9)
    a, _ = width.amplitudes
    apart = width.noise(x, 2, apart=(1,))
    torch.testing.assert_close(apart[..., 2], a.value * x[..., 2])
    assert width.noise(x, 2)[..., 2].std(0).min() > 1


def test_deepcopy_is_independent() -> None:
    width = Width(8)
    twin = copy.deepcopy(width)
    twin.set_lam(0.5)
    twin.freeze()
    assert (width.size, width.frozen, twin.size) == (8, False, 4)


def test_state_dict_round_trip() -> None:
    width, other = Width(8), Width(8)
    width.set_lam(0.3)
    width.set_learning(False)
    width.freeze(3)
    other.load_state_dict(width.state_dict())
    assert (other.size, other.frozen, other.learning) == (3, True, False)
    other.unfreeze()
    assert (other.lam.item(), other.learning) == (pytest.approx(0.3), False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"full_size": 0}, "an element at least"),
        ({"full_size": 8, "multiple_of": 9}, "multiple_of=9"),
        ({"full_size": 8, "multiple_of": 0}, "multiple_of=0"),
        ({"full_size": 8, "lam_min": 0.0}, "lam_min"),
        ({"full_size": 8, "lam_min": 1.5}, "lam_min"),
        ({"full_size": 8, "boundary": "cliff"}, "rotation"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Width(**arguments)


def test_bad_values() -> None:
    width = Width(8)
    for lam in (0.0, -1.0, 1.01, math.nan):
        with pytest.raises(ValueError, match="λ must lie"):
            width.set_lam(lam)
    for size in (0, 9):
        with pytest.raises(ValueError, match="cannot freeze"):
            width.freeze(size)


def test_limits_are_set_in_one_place():
    width = Width(12)
    width.limit(0.5, 3)
    assert (width.lam_min, width.multiple_of, width.units) == (0.5, 3, 4)
    width.limit(lam_min=0.01)
    assert width.lam_min == 0.25, "never below one unit"
    width.limit(multiple_of=6)
    assert (width.lam_min, width.units) == (0.5, 2), "the unit has grown"


@pytest.mark.parametrize("limits", [(0.0, None), (1.5, None), (math.nan, 2), (0.5, 0), (None, 13), (None, 1.5)])
def test_limits_that_cannot_be_are_refused_and_change_nothing(limits):
    width = Width(12)
    with pytest.raises(SettingError, match=r"lam_min|multiple_of"):
        width.limit(*limits)
    assert (width.lam_min, width.multiple_of) == (1 / 12, 1)
