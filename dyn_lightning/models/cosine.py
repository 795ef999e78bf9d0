"""Classifiers on the sphere."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.errors import SettingError

Classifier = Literal["linear", "cosine"]


class CosineClassifier(nn.Module):
    """Cosines between an embedding and one learned direction for each class, in [−1, 1].

    Losses with a margin (e.g. arXiv 2010.13995, one-class softmax: ``num_classes=1``, the direction of bona fide
    speech) scale them.

    Shapes: embedding (batch, in_features) → cosines (batch, num_classes).
    """

    def __init__(self, in_features: int, num_classes: int = 1) -> None:
        super().__init__()
        self.in_features = in_features
        self.num_classes = num_classes
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        nn.init.kaiming_uniform_(self.weight, a=0.25)

    def forward(self, embedding: Tensor) -> Tensor:
        return F.linear(F.normalize(embedding, dim=-1), F.normalize(self.weight, dim=-1))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, num_classes={self.num_classes}"


def make_classifier(kind: Classifier, in_features: int, num_classes: int) -> nn.Module:
    """The last layer of a network: ``linear`` gives logits, ``cosine`` cosines.

    Raises:
        SettingError: for an unknown kind.
    """
    if kind == "linear":
        return nn.Linear(in_features, num_classes)
    if kind == "cosine":
        return CosineClassifier(in_features, num_classes)
    raise SettingError(f"classifier={kind!r} is unknown: use linear or cosine")
