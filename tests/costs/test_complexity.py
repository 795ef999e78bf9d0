"""Complexity of whole networks: published counts, sizes, gradients and the table."""

import copy
import pickle

import pytest
import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.graph import Op
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.network.plain import plain_complexity
from dyn_lightning.widths.width import Width


class Tagger(nn.Module):
    """Convolutions with a residual sum and a depthwise one, two unequal GRU layers, a linear read-out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(5, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(12)
        self.depthwise = nn.Conv1d(12, 12, 3, padding=1, groups=12)
        self.activation = nn.PReLU(12)
        self.pointwise = nn.Conv1d(12, 12, 1)
        self.gru = nn.GRU(12, 10, 2, batch_first=True, bidirectional=True)
        self.read_out = nn.Linear(20, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.pointwise(self.activation(self.depthwise(x)))
        x, _ = self.gru(x.transpose(1, 2))
        return self.read_out(x)


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return dynamize(Tagger(), torch.randn(2, 5, 16), duration_s=0.5)


def linear_op(name, module, in_axis, out_axis, positions=7):
    return Op(name, "Linear", module, (((positions,), in_axis),), (((positions,), out_axis),))


def two_layers(duration_s=None, **options):
    """Linear(6 → w) and Linear(w → 4): FLOPs 7·(2·6·w + w) + 7·(2·w·4 + 4), parameters 7·w + 4·w + 4."""
    w = Width(8)
    ops = [
        linear_op("first", nn.Linear(6, 8), (6,), (w,)),
        linear_op("second", nn.Linear(8, 4), (w,), (4,)),
    ]
    return Complexity(ops, {"first": w}, duration_s, **options)


def test_counts_by_hand():
    complexity = two_layers(duration_s=0.5)
    assert complexity.flops_at({"first": 3}) == (7 * 13 * 3 + 7 * (8 * 3 + 4)) / 0.5
    assert complexity.flops_at({"first": 3}, "paper") == (7 * 12 * 3 + 7 * 8 * 3) / 0.5
    assert complexity.parameters_at({"first": 3}) == 11 * 3 + 4
    assert complexity.fixed_flops() == 28 / 0.5
    assert complexity.learnable_flops() + complexity.fixed_flops() == complexity.flops_full_size()
    complexity.widths["first"].freeze(5)
    assert complexity.flops_now() == complexity.flops_at({"first": 5})
    assert complexity.parameters_now() == 11 * 5 + 4


def test_unit_is_a_call_without_a_duration():
    per_call, per_second = two_layers(), two_layers(0.25)
    assert (per_call.unit, per_second.unit) == ("flops_per_call", "flops_per_second")
    assert per_second.flops_now() == 4 * per_call.flops_now()
    assert per_second.flops_per_second().item() == 4 * per_call.flops_per_second().item()


def test_a_layer_called_twice_has_its_parameters_once():
    w, layer = Width(6), nn.Linear(6, 6)
    complexity = Complexity([linear_op("layer", layer, (w,), (w,)) for _ in range(2)], {"w": w})
    assert complexity.parameters_at({"w": 4}) == 4 * 4 + 4
    assert complexity.flops_at({"w": 4}) == 2 * 7 * (2 * 4 * 4 + 4)


def test_parameters_of_no_layer_are_fixed():
    complexity = two_layers(parameters=7 * 8 + 9 * 4 + 100)
    assert complexity.parameters_at({"first": 3}) == 11 * 3 + 4 + 100


def test_unknown_kinds_are_listed_and_views_are_not():
    x = (((2,), (3,)),)
    complexity = Complexity([Op("net.einsum", "einsum", None, x, x), Op("net.reshape", "reshape", None, x, x)], {})
    assert complexity.uncounted == ("net.einsum (einsum)",)
    assert two_layers().uncounted == ()


def test_bad_arguments_are_named():
    for duration_s in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="duration_s"):
            two_layers(duration_s)
    with pytest.raises(ValueError, match=r"first \(Linear\) depends on a Width"):
        Complexity([linear_op("first", nn.Linear(6, 8), (6,), (Width(8),))], {})
    with pytest.raises(ValueError, match="missing or unknown: first, last"):
        two_layers().flops_at({"last": 3})
    with pytest.raises(ValueError, match="'macs' is not one of full, paper"):
        two_layers().flops_per_second("macs")


def test_sizes_below_full_count_the_consolidated_network(tagger):
    sizes = {"stem": 7, "gru-l0": 9, "gru-l1": 4}
    assert tagger.complexity.flops_full_size() > tagger.complexity.flops_at(sizes)
    for name, width in tagger.widths.items():
        width.freeze(sizes[name])
    small, _ = consolidate(tagger)
    recounted = plain_complexity(small, torch.randn(2, 5, 16), 0.5)
    assert tagger.complexity.parameters_now() == sum(p.numel() for p in small.parameters())
    for convention in ("full", "paper"):
        assert tagger.complexity.flops_now(convention) == recounted.flops_full_size(convention)
    assert tagger.complexity.uncounted == recounted.uncounted == ()


@pytest.mark.parametrize("convention", ["full", "paper"])
def test_differentiable_count_is_the_exact_one_at_integer_sizes(tagger, convention):
    for sizes in ((12, 10, 10), (7, 9, 4), (1, 1, 1)):
        for width, size in zip(tagger.widths.values(), sizes, strict=True):
            width.set_lam(size / width.full_size)
        value = tagger.complexity.flops_per_second(convention)
        assert value.shape == ()
        exact = tagger.complexity.flops_at(dict(zip(tagger.widths, sizes, strict=True)), convention)
        assert value.item() == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("convention", ["full", "paper"])
def test_gradient_is_that_of_finite_differences(tagger, convention):
    tagger.double()
    thetas = [width.theta for width in tagger.widths.values()]
    for width, lam in zip(tagger.widths.values(), (0.53, 0.81, 0.27), strict=True):
        width.set_lam(lam)
    gradients = torch.autograd.grad(tagger.complexity.flops_per_second(convention), thetas)
    for theta, gradient in zip(thetas, gradients, strict=True):
        values = []
        for step in (1e-5, -2e-5):
            theta.data += step
            values.append(tagger.complexity.flops_per_second(convention).item())
        theta.data += 1e-5
        assert gradient.item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-7)
        assert gradient > 0


@pytest.mark.parametrize("convention", ["full", "paper"])
def test_elasticities_are_relative_slopes_of_the_learnable_cost(tagger, convention):
    complexity = tagger.complexity
    for width, size in zip(complexity.widths.values(), (9, 8, 5), strict=True):
        width.set_lam(size / width.full_size)
    sizes = complexity.sizes_now
    learnable = complexity.flops_at(sizes, convention) - complexity.fixed_flops(convention)
    for (name, size), elasticity in zip(sizes.items(), complexity.elasticities(convention), strict=True):
        up, down = (complexity.flops_at({**sizes, name: size + step}, convention) for step in (1, -1))
        assert elasticity.item() == pytest.approx(size * (up - down) / 2 / learnable, rel=1e-5)


def test_frozen_widths_stay_in_the_graph_without_a_gradient(tagger):
    tagger.widths["stem"].freeze(7)
    tagger.complexity.flops_per_second().backward()
    assert tagger.widths["stem"].theta.grad == 0
    assert tagger.widths["gru-l0"].theta.grad > 0


def test_autocast_does_not_round_the_count(tagger):
    tagger.widths["stem"].set_lam(0.61)
    exact = tagger.complexity.flops_per_second().item()
    with torch.autocast("cpu", torch.bfloat16):
        assert tagger.complexity.flops_per_second().item() == exact


def test_copies_count_their_own_widths():
    complexity = two_layers()
    full_size = complexity.flops_per_second().item()
    copies = [copy.deepcopy(complexity), pickle.loads(pickle.dumps(complexity))]
    complexity.widths["first"].set_lam(0.5)
    for other in copies:
        assert other.flops_per_second().item() == full_size > complexity.flops_per_second().item()


def test_network_without_widths_has_a_constant_cost():
    complexity = Complexity([linear_op("only", nn.Linear(6, 4), (6,), (4,))], {})
    assert complexity.flops_per_second().item() == complexity.flops_full_size() == complexity.fixed_flops() == 364
    assert complexity.table()[0]["role"] == "FCL"


def test_table(tagger):
    tagger.widths["stem"].freeze(6)
    rows = {row["name"]: row for row in tagger.complexity.table()}
    assert {name: rows[name]["role"] for name in ("stem", "norm", "depthwise", "pointwise", "gru", "read_out")} == {
        "stem": "DCL",
        "norm": "ACL",
        "depthwise": "ACL",
        "pointwise": "DCL+ACL",
        "gru": "DCL+ACL",
        "read_out": "ACL",
    }
    assert "transpose" not in {row["kind"] for row in rows.values()}  # free, without parameters
    stem = rows["stem"]
    assert (stem["parameters_before"], stem["parameters_after"]) == (180, 90)
    assert stem["flops_per_second_before"] == 2 * 12 * 16 * (2 * 15) / 0.5 == 2 * stem["flops_per_second_after"]
    assert stem["flops_per_second_paper_before"] == 2 * 12 * 16 * (2 * 15 - 1) / 0.5
    for state, total in (
        ("before", tagger.complexity.flops_full_size()),
        ("after", tagger.complexity.flops_now()),
    ):
        assert sum(row[f"flops_per_second_{state}"] for row in rows.values()) == total
        assert sum(row[f"share_{state}"] for row in rows.values()) == pytest.approx(1.0)


class TestPublishedCRNNVAD:
    """Counts of arXiv 2601.13704 for one second of audio; its FLOPs leave the GRU out."""

    @staticmethod
    def paper_flops(complexity, sizes):
        """(all but the GRU, all) by the paper's convention."""
        gru = sum(row.flops["paper"].at(sizes) for row in complexity.rows if row.kind == "GRU")
        total = complexity.flops_at(sizes, "paper")
        return total - gru, total

    def test_baseline(self):
        complexity = dynamize(CRNNVAD(), torch.randn(1, 16000), duration_s=1.0).complexity
        published, total = self.paper_flops(complexity, complexity.full_sizes)
        assert complexity.parameters_now() == 673_873
        assert published == 57 * (480 * 80 + 1073) == 2_249_961
        assert total == 2_249_961 + 74_856_960
        assert round(total / 1e6, 1) == 77.1
        assert complexity.flops_full_size() > total  # the front end, gate biases
        assert complexity.uncounted == ()

    @pytest.mark.parametrize(("bands", "parameters"), [(41, 664_513), (21, 659_713), (13, 657_793)])
    def test_learned_number_of_bands(self, bands, parameters):
        """The published networks with learned bands are one polynomial at other sizes of its Width."""
        complexity = dynamize(CRNNVAD(), torch.randn(1, 16000), duration_s=1.0, dynamic=["mel"]).complexity
        published, total = self.paper_flops(complexity, {"mel": bands})
        assert complexity.parameters_at({"mel": bands}) == parameters
        assert published == 57 * (480 * bands + 1073)
        assert total == published + 74_856_960

    @pytest.mark.parametrize(("n", "parameters"), [(74, 666_487), (13, 603_657), (10, 601_143)])
    def test_as_many_channels_as_bands(self, n, parameters):
        complexity = dynamize(CRNNVAD(), torch.randn(1, 16000), dynamic=["mel", "conv"]).complexity
        assert complexity.parameters_at({"mel": n, "conv": n}) == parameters
