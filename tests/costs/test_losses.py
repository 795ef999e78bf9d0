"""Prices of losses: each beside the loss written down with numbers that count, which also gives torch's value."""

import math
from itertools import chain

import pytest
import torch
import torch.nn.functional as F

from dyn_lightning.network.plain import plain_complexity
from tests.costs.counting import Calls, Number, counted, flops, mean, total

NEVER = -1e30
SIGNS = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
CLASSES = torch.tensor([0, 2, 1, 2])
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])


def log_of_sum(terms):
    largest = terms[0]
    for term in terms[1:]:
        largest = largest.most(term)
    return total([(term - largest).exp() for term in terms]).log() + largest


def ctc(log_probs, targets):
    """Graves et al. (2006), equations 6 to 8, in logarithms: every state has three that it may come from."""
    losses = []
    for item, labels in enumerate(targets):
        states = [0, *(x for label in labels for x in (int(label), 0))]
        before = [Number(0.0)] + [Number(NEVER)] * (len(states) - 1)
        for step in log_probs:
            now = []
            for place, label in enumerate(states):
                skips = place > 1 and label not in (0, states[place - 2])
                came = [before[place], before[place - 1] if place else Number(NEVER)]
                came.append(before[place - 2] if skips else Number(NEVER))
                now.append(log_of_sum(came) + step[item][label])
            before = now
        losses.append(-log_of_sum(before[-2:]) / len(labels))
    return mean(losses)


def test_ctc():
    torch.manual_seed(0)
    x, targets = torch.randn(9, 2, 6).log_softmax(-1), torch.tensor([[1, 2, 2], [5, 1, 3]])
    lengths = torch.tensor([9, 9]), torch.tensor([3, 3])
    value, done = counted(ctc, x, targets.tolist())
    assert value.value == pytest.approx(float(F.ctc_loss(x, targets, *lengths)), rel=1e-4)
    # What begins: no state but the first has anything behind it, which the price does not tell apart.
    assert flops(lambda x: F.ctc_loss(x, targets, *lengths), x) == done
    flat = flops(lambda x: F.ctc_loss(x, targets.flatten(), *lengths), x)
    assert flat == done


def multi_margin(x, y):
    return mean([
        total([(1 - row[t] + value).most(0.0) for j, value in enumerate(row) if j != t]) / len(row)
        for row, t in zip(x, y, strict=True)
    ])  # fmt: skip


def cosine_embedding(x, y, target):
    def row(a, b, t):
        dot, one, other = (total([p * q for p, q in zip(u, v, strict=True)]) for u, v in ((a, b), (a, a), (b, b)))
        cos = dot / ((one + 1e-12) * (other + 1e-12)).sqrt()
        return (1 - cos).chosen(t > 0) + (cos - 0.0).most(0.0).chosen(t < 0)

    return mean([row(*given) for given in zip(x, y, target, strict=True)])


def distance(a, b):
    return total([(d := p - q) * d for p, q in zip(a, b, strict=True)]).sqrt()


def triplet(x, y, z):
    return mean([(distance(a, b) - distance(a, c) + 1.0).most(0.0) for a, b, c in zip(x, y, z, strict=True)])


def swapped(x, y, z):
    rows = zip(x, y, z, strict=True)
    return mean([(distance(a, b) - distance(a, c).least(distance(b, c)) + 1.0).most(0.0) for a, b, c in rows])


def each(function):
    """A loss that is the mean of what a function of single elements gives."""
    return lambda *given: mean([function(*x) for x in zip(*map(chain.from_iterable, given), strict=True)])


def log_sigmoid(x):
    Number.done += 4  # an exponential, a sum, a division, a logarithm
    return Number(-math.log1p(math.exp(-x.value)))


def soft_labels(x, y):
    def row(a, b):
        terms = [p * log_sigmoid(q) + (1 - p) * log_sigmoid(-q) for p, q in zip(b, a, strict=True)]
        return mean([-term for term in terms])

    return mean([row(*given) for given in zip(x, y, strict=True)])


X, Y, Z = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(1))
CASES = {
    "multi_margin": (F.multi_margin_loss, multi_margin, [X, CLASSES]),
    "cosine_embedding": (F.cosine_embedding_loss, cosine_embedding, [X, Y, [1, -1, 1, -1]]),
    "triplet": (F.triplet_margin_loss, triplet, [X, Y, Z]),
    "triplet with swap": (lambda *x: F.triplet_margin_loss(*x, swap=True), swapped, [X, Y, Z]),
    "triplet with distance": (F.triplet_margin_with_distance_loss, triplet, [X, Y, Z]),
    "soft_margin": (F.soft_margin_loss, each(lambda x, y: (-y * x).exp().log1p()), [X, SIGNS]),
    "ranking": (
        lambda x, y, t: F.margin_ranking_loss(x, y, t, margin=0.5),
        each(lambda x, y, t: (-t * (x - y) + 0.5).most(0.0)), [X, Y, SIGNS],
    ),
    "hinge": (
        F.hinge_embedding_loss,
        each(lambda x, t: (1 - x).most(0.0).chosen(t.value < 0) + x.chosen(t.value > 0)), [X, SIGNS],
    ),
    "gaussian": (
        F.gaussian_nll_loss,
        each(lambda x, y, v: ((v := v.most(1e-6)).log() + (d := x - y) * d / v) * 0.5), [X, Y, Z.abs() + 0.1],
    ),
    "poisson": (
        lambda x, y: F.poisson_nll_loss(x, y, log_input=False),
        each(lambda x, y: x - y * (x + 1e-8).log()), [X.abs(), Y.abs()],
    ),
    "soft margin of labels": (F.multilabel_soft_margin_loss, soft_labels, [X, LABELS.float()]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_losses(name):
    loss, algorithm, given = CASES[name]
    tensors = [x if isinstance(x, torch.Tensor) else torch.tensor(x) for x in given]
    value, done = counted(algorithm, *(x if x is not CLASSES else x.tolist() for x in given))
    assert value.value == pytest.approx(float(loss(*tensors)), rel=1e-4)
    complexity = plain_complexity(Calls(loss), tensors, None)
    (row,) = [row for row in complexity.rows if "loss" in row.kind]
    assert row.flops["full"].at({}) == done
    assert complexity.uncounted == ()


def test_pairs_of_labels_at_most():
    classes = 6
    x, target = torch.randn(2, classes), torch.tensor([[0, 1, 2, -1, 0, 0]] * 2)
    pairs = 2 * 3 * 3  # three that are, three that are not, in two rows: as many pairs as there can be
    expected = 4 * pairs + 2 * 2
    assert flops(lambda x: F.multilabel_margin_loss(x, target), x) == expected


def test_a_distance_of_ones_own_has_no_price():
    loss = Calls(lambda *x: F.triplet_margin_with_distance_loss(*x, distance_function=F.pairwise_distance))
    with pytest.warns(UserWarning, match=r"no price.*triplet_margin_with_distance_loss"):
        plain_complexity(loss, (X, Y, Z), None)
