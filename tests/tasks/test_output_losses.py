"""Distances of outputs against torch's own, their curvature against autograd's Hessian, and the choice by looking."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.tasks.output_losses import check_loss, choose, distance, named_outputs, root_of_curvature

KINDS = ["kl", "bce", "kl_probabilities", "bce_probabilities", "cosine"]


def output(kind: str, items: int = 2) -> Tensor:
    torch.manual_seed(3)
    x = torch.randn(items, 3, 4, dtype=torch.float64)
    return {"kl_probabilities": x.softmax(-1), "bce_probabilities": x.sigmoid()}.get(kind, x)


def test_divergences_are_torch_s():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    kl = F.kl_div((a / 2).log_softmax(-1), (b / 2).softmax(-1), reduction="batchmean")
    torch.testing.assert_close(distance("kl", a, b, 2.0), 4 * kl)
    torch.testing.assert_close(
        distance("kl_probabilities", a.softmax(-1), b.softmax(-1)), distance("kl", a, b), rtol=1e-4, atol=1e-6
    )
    bernoulli = torch.distributions.Bernoulli
    expected = torch.distributions.kl_divergence(bernoulli(logits=b), bernoulli(logits=a)).mean()
    torch.testing.assert_close(distance("bce", a, b), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(distance("l1", a, b), F.l1_loss(a, b) / b.abs().mean())
    torch.testing.assert_close(distance("cosine", a, b), F.cosine_embedding_loss(a, b, torch.ones(5)))


@pytest.mark.parametrize("kind", [*KINDS, "l1"])
def test_zero_where_both_agree(kind: Any):
    x = output(kind)
    assert abs(float(distance(kind, x, x))) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_root_is_one_of_the_hessian(kind: Any):
    teacher = output(kind, items=1)
    flat = teacher.flatten()
    # float32 inside: a Hessian by differences of autograd's gradient, columns one by one
    hessian = torch.autograd.functional.hessian(lambda x: distance(kind, x.view_as(teacher), teacher), flat)
    columns = [root_of_curvature(kind, teacher, v.view_as(teacher)).flatten() for v in torch.eye(len(flat))]
    root = torch.stack(columns, 1).double()
    torch.testing.assert_close(root @ root.T, hessian, rtol=1e-3, atol=1e-4)


def test_of_a_signal_it_is_that_of_the_relative_squared_error():
    teacher, v = torch.randn(1, 6), torch.eye(6)
    root = torch.stack([root_of_curvature("l1", teacher, e[None])[0] for e in v], 1)
    torch.testing.assert_close(root @ root.T, 2 / 6 / teacher.square().mean() * torch.eye(6))


def test_chosen_by_looking():
    logits = torch.randn(8, 5)
    assert choose("output", logits.softmax(-1)) == "kl_probabilities"
    assert choose("output", logits.sigmoid()) == "bce_probabilities"
    assert choose("output", torch.rand(40)) == "bce_probabilities"
    assert choose("output", torch.rand(4)) == "l1"  # by chance, for all that is known
    assert choose("output", logits.log_softmax(-1)) == "kl"
    assert choose("output", F.normalize(logits, dim=-1)) == "cosine"
    assert choose("head.logits", logits) == "kl"
    assert choose("logits", logits[:, 0]) == "bce"
    assert choose("speaker_embedding", logits) == "cosine"
    assert choose("output", logits) == choose("mask", torch.ones(8, 5)) == "l1"


def test_outputs_by_their_paths():
    x, y, z = torch.zeros(1), torch.ones(1), torch.tensor([2])
    found = named_outputs({"a": x, "b": [y, {"c": x, "ids": z}], "none": None})
    assert [name for name, _ in found] == ["a", "b.0", "b.1.c"]
    assert named_outputs(x)[0][0] == "output"
    assert named_outputs(3) == []


def test_what_cannot_be():
    with pytest.raises(SettingError, match="outputs='mse' is unknown: use one of kl, bce"):
        check_loss("mse")
    with pytest.raises(UserError, match=r"output is \(2, 3\), its teacher's \(2, 4\)"):
        distance("l1", torch.zeros(2, 3), torch.zeros(2, 4))
