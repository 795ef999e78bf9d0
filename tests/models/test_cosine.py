import pytest
import torch
from torch import nn

from dyn_lightning.models.cosine import CosineClassifier, make_classifier


def test_cosines_equal_torchs_and_ignore_lengths() -> None:
    torch.manual_seed(0)
    classifier = CosineClassifier(6, 3)
    x = torch.randn(5, 6)
    expected = torch.cosine_similarity(x[:, None], classifier.weight[None], dim=-1)
    torch.testing.assert_close(classifier(x), expected)
    with torch.no_grad():
        classifier.weight.mul_(7)
    torch.testing.assert_close(classifier(0.01 * x), expected)
    torch.testing.assert_close(classifier(classifier.weight), torch.cosine_similarity(
        classifier.weight[:, None], classifier.weight[None], dim=-1
    ))  # fmt: skip


def test_an_embedding_of_zeros_is_finite() -> None:
    classifier = CosineClassifier(6)
    x = torch.zeros(2, 6, requires_grad=True)
    classifier(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_classifiers_by_name() -> None:
    linear, cosine = make_classifier("linear", 6, 2), make_classifier("cosine", 6, 1)
    assert type(linear) is nn.Linear
    assert linear(torch.randn(3, 6)).shape == (3, 2)
    assert type(cosine) is CosineClassifier
    assert cosine(torch.randn(3, 6)).shape == (3, 1)
    with pytest.raises(ValueError, match="classifier='quadratic'"):
        make_classifier("quadratic", 6, 2)  # type: ignore[arg-type]
