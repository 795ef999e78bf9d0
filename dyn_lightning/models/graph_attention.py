"""Graph attention between the nodes of a fully connected graph, after AASIST (arXiv 2110.01200).

B batch, N nodes, D features of a node.
"""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def node_norm(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch normalisation of each feature over batch and nodes: (B, N, D) → (B, N, D)."""
    return norm(x.transpose(1, 2)).transpose(1, 2)


class GraphAttention(nn.Module):
    """Each node takes a weighted mean of all nodes; the weights come from the product of two nodes' features.

    Shapes: (B, N, in_features) → (B, N, out_features).
    """

    def __init__(self, in_features: int, out_features: int, temperature: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        self.temperature = temperature
        self.dropout = nn.Dropout(dropout)
        self.pairs = nn.Linear(in_features, out_features)
        self.score = nn.Linear(out_features, 1, bias=False)
        self.attended = nn.Linear(in_features, out_features)
        self.itself = nn.Linear(in_features, out_features)
        self.norm = nn.BatchNorm1d(out_features)
        self.activation = nn.SELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x)
        pairs = torch.tanh(self.pairs(x.unsqueeze(2) * x.unsqueeze(1)))
        weights = F.softmax(self.score(pairs).squeeze(-1) / self.temperature, dim=-1)
        y = self.attended(torch.matmul(weights, x)) + self.itself(x)
        return self.activation(node_norm(self.norm, y))


class HeterogeneousGraphAttention(nn.Module):
    """Graph attention over nodes of two kinds, with a master node that gathers from all and gives to none.

    Each kind is first projected by a matrix of its own; a pair's score is read by one vector within the first
    kind, one within the second and one across.

    Shapes: (B, N₁, in_features), (B, N₂, in_features) and the master (B or 1, 1, in_features) → the same with
    out_features.
    """

    def __init__(self, in_features: int, out_features: int, temperature: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        self.temperature = temperature
        self.project_first = nn.Linear(in_features, in_features)
        self.project_second = nn.Linear(in_features, in_features)
        self.dropout = nn.Dropout(dropout)
        self.pairs = nn.Linear(in_features, out_features)
        self.score_first = nn.Linear(out_features, 1, bias=False)
        self.score_second = nn.Linear(out_features, 1, bias=False)
        self.score_across = nn.Linear(out_features, 1, bias=False)
        self.attended = nn.Linear(in_features, out_features)
        self.itself = nn.Linear(in_features, out_features)
        self.norm = nn.BatchNorm1d(out_features)
        self.activation = nn.SELU()
        self.master_pairs = nn.Linear(in_features, out_features)
        self.master_score = nn.Linear(out_features, 1, bias=False)
        self.master_attended = nn.Linear(in_features, out_features)
        self.master_itself = nn.Linear(in_features, out_features)

    def forward(self, first: Tensor, second: Tensor, master: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = first.size(1)
        x = self.dropout(torch.cat((self.project_first(first), self.project_second(second)), dim=1))
        y = self.attended(torch.matmul(self.weights(x, n), x)) + self.itself(x)
        y = self.activation(node_norm(self.norm, y))
        scores = self.master_score(torch.tanh(self.master_pairs(x * master)))
        gathered = torch.matmul(F.softmax(scores / self.temperature, dim=1).transpose(1, 2), x)
        return y[:, :n], y[:, n:], self.master_attended(gathered) + self.master_itself(master)

    def weights(self, x: Tensor, n: int) -> Tensor:
        """(B, N, N): what each node takes of each, of which the first ``n`` are of the first kind."""
        pairs = torch.tanh(self.pairs(x.unsqueeze(2) * x.unsqueeze(1)))
        of_first = torch.cat((self.score_first(pairs[:, :n, :n]), self.score_across(pairs[:, :n, n:])), dim=2)
        of_second = torch.cat((self.score_across(pairs[:, n:, :n]), self.score_second(pairs[:, n:, n:])), dim=2)
        scores = torch.cat((of_first, of_second), dim=1).squeeze(-1)
        return F.softmax(scores / self.temperature, dim=-1)


class GraphPool(nn.Module):
    """Keeps a share of the nodes, those of the highest learned scores, each times its score.

    Shapes: (B, N, features) → (B, max(⌊share·N⌋, 1), features), in the order of the scores.
    """

    def __init__(self, share: float, features: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.share = share
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(features, 1)

    def left(self, n_nodes: int) -> int:
        """Nodes that are left of so many: in integers alone, so that exports keep it open."""
        share = Fraction(self.share).limit_denominator(1000)
        return max(n_nodes * share.numerator // share.denominator, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.sigmoid(self.score(self.dropout(x)))
        kept = scores.topk(self.left(x.size(1)), dim=1).indices
        return torch.gather(x * scores, 1, kept.expand(-1, -1, x.size(2)))
