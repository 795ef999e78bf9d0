"""Recurrent networks and small networks of linear layers: cells in loops, projections, tied weights, several inputs."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.registry import own


class CellLoop(nn.Module):
    """A GRU cell and an LSTM cell, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(5, 12)
        self.gru, self.lstm = nn.GRUCell(12, 18), nn.LSTMCell(18, 14)
        self.out = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.gru.hidden_size)
        state = (x.new_zeros(x.shape[0], self.lstm.hidden_size), x.new_zeros(x.shape[0], self.lstm.hidden_size))
        outputs = []
        for t in range(x.shape[1]):
            h = self.gru(torch.tanh(self.enter(x[:, t])), h)
            state = self.lstm(h, state)
            outputs.append(self.out(state[0]))
        return torch.stack(outputs, dim=1)


@own
def cells_in_a_loop() -> tuple[nn.Module, Tensor]:
    return CellLoop(), torch.randn(3, 4, 5)


class ProjectedLstm(nn.Module):
    """LSTM with a projection of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 20, num_layers=2, proj_size=9, batch_first=True)
        self.out = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, (h, _) = self.lstm(x)
        return self.out(y + h[-1][:, None])


@own
def lstm_projection() -> tuple[nn.Module, Tensor]:
    return ProjectedLstm(), torch.randn(3, 7, 6)


class BidirectionalGru(nn.Module):
    """Last states of both directions of a stacked GRU, with a given first state."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.rnn = nn.Linear(6, 10), nn.GRU(10, 14, num_layers=2, bidirectional=True, batch_first=True)
        self.first, self.out = nn.Parameter(0.1 * torch.randn(4, 1, 14)), nn.Linear(28, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first.expand(-1, x.shape[0], -1).contiguous()
        _, h = self.rnn(F.relu(self.enter(x)), first)
        return self.out(torch.cat([h[-2], h[-1]], dim=-1))


@own
def bidirectional_gru() -> tuple[nn.Module, Tensor]:
    return BidirectionalGru(), torch.randn(3, 8, 6)


class HandGru(nn.Module):
    """A GRU by hand: one linear layer for all gates, cut into three."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.inputs, self.states = nn.Linear(5, 3 * size), nn.Linear(size, 3 * size)
        self.size, self.out = size, nn.Linear(size, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[0], self.states.in_features)
        for t in range(x.shape[1]):
            reset_x, update_x, new_x = self.inputs(x[:, t]).chunk(3, -1)
            reset_h, update_h, new_h = self.states(h).chunk(3, -1)
            update = torch.sigmoid(update_x + update_h)
            new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
            h = update * h + (1 - update) * new
        return self.out(h)


@own
def gru_by_hand() -> tuple[nn.Module, Tensor]:
    return HandGru(), torch.randn(3, 4, 5)


class LanguageModel(nn.Module):
    """Embedding and output layer share their weight."""

    def __init__(self, words: int = 31, size: int = 18) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(words, size), nn.LSTM(size, 22, batch_first=True)
        self.project, self.norm = nn.Linear(22, size), nn.LayerNorm(size)
        self.out = nn.Linear(size, words, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.out(self.norm(x + self.project(self.rnn(x)[0])))


@own
def tied_language_model() -> tuple[nn.Module, Tensor]:
    return LanguageModel(), torch.randint(31, (3, 6))


class TwoInputs(nn.Module):
    """Audio features and a speaker's name; FiLM by the second."""

    def __init__(self) -> None:
        super().__init__()
        self.audio, self.speaker = nn.Conv1d(7, 18, 3, padding=1), nn.Embedding(9, 10)
        self.film, self.mix = nn.Linear(10, 2 * 18), nn.Conv1d(18, 12, 1)
        self.out = nn.ModuleDict({"mask": nn.Conv1d(12, 7, 1), "vad": nn.Conv1d(12, 1, 1)})

    def forward(self, features: Tensor, speaker: Tensor) -> dict[str, Tensor]:
        scale, shift = self.film(self.speaker(speaker))[..., None].chunk(2, dim=1)
        x = F.relu(self.mix(torch.tanh(self.audio(features) * (1 + scale) + shift)))
        return {name: layer(x) for name, layer in self.out.items()}


@own
def dict_input_film() -> tuple[nn.Module, dict[str, Tensor]]:
    return TwoInputs(), {"features": torch.randn(3, 7, 11), "speaker": torch.tensor([0, 4, 8])}


class Bilinear(nn.Module):
    """Two towers, compared by nn.Bilinear, by their product and by their difference."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(8, 14), nn.ReLU(), nn.Linear(14, 10))
        self.right = nn.Sequential(nn.Linear(6, 18), nn.ReLU(), nn.Linear(18, 10))
        self.compare, self.out = nn.Bilinear(10, 10, 12), nn.Linear(12 + 20, 2)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        left, right = self.left(pair[0]), self.right(pair[1])
        both = [torch.tanh(self.compare(left, right)), left * right, (left - right).abs()]
        return self.out(torch.cat(both, dim=-1))


@own
def tuple_input_towers() -> tuple[nn.Module, tuple[tuple[Tensor, Tensor]]]:
    return Bilinear(), ((torch.randn(4, 8), torch.randn(4, 6)),)


class Highway(nn.Module):
    """Highway layers between two linear ones."""

    def __init__(self, size: int = 22) -> None:
        super().__init__()
        self.enter, self.out = nn.Linear(9, size), nn.Linear(size, 4)
        self.plain = nn.ModuleList([nn.Linear(size, size) for _ in range(2)])
        self.gate = nn.ModuleList([nn.Linear(size, size) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for plain, gate in zip(self.plain, self.gate, strict=True):
            g = torch.sigmoid(gate(x))
            x = torch.lerp(x, F.relu(plain(x)), g)
        return self.out(x)


@own
def highway() -> tuple[nn.Module, Tensor]:
    return Highway(), torch.randn(4, 9)


class MixerBlock(nn.Module):
    """Linear layers over time, then over channels."""

    def __init__(self, time: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.time = nn.Sequential(nn.Linear(time, 20), nn.GELU(), nn.Linear(20, time))
        self.channels = nn.Sequential(nn.Linear(channels, 26), nn.GELU(), nn.Linear(26, channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.time(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


@own
def mlp_mixer() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(5, 16), MixerBlock(9, 16), MixerBlock(9, 16), nn.Linear(16, 3)), torch.randn(3, 9, 5)


@own
def mlp_autoencoder() -> tuple[nn.Module, Tensor]:
    sizes = (15, 24, 12, 7, 12, 20, 15)
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ELU()]
    return nn.Sequential(*layers[:-1]), torch.randn(4, 15)


class Experts(nn.Module):
    """A mixture of experts: all are run, stacked and weighed by a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(6, 16)
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(16, h), nn.GELU(), nn.Linear(h, 16)) for h in (10, 14, 18)]
        )
        self.router, self.out = nn.Linear(16, 3), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        weights = self.router(x).softmax(-1).unsqueeze(-2)  # (batch, 1, expert)
        stacked = torch.stack([expert(x) for expert in self.experts], dim=-2)  # (batch, expert, feature)
        return self.out(x + (weights @ stacked).squeeze(-2))


@own
def mixture_of_experts() -> tuple[nn.Module, Tensor]:
    return Experts(), torch.randn(5, 6)


class Seq2Seq(nn.Module):
    """GRU encoder, GRU-cell decoder with additive attention over the encoder's frames."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(6, 14, batch_first=True, bidirectional=True)
        self.keys, self.query, self.energy = nn.Linear(28, 10), nn.Linear(18, 10), nn.Linear(10, 1, bias=False)
        self.embedding, self.cell = nn.Embedding(11, 8), nn.GRUCell(8 + 28, 18)
        self.out = nn.Linear(18 + 28, 11)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        memory, _ = self.encoder(features)
        keys = self.keys(memory)
        h = memory.new_zeros(memory.shape[0], self.cell.hidden_size)
        logits = []
        for step in self.embedding(tokens).unbind(1):
            scores = self.energy(torch.tanh(keys + self.query(h).unsqueeze(1))).squeeze(-1)
            context = torch.bmm(scores.softmax(-1).unsqueeze(1), memory).squeeze(1)
            h = self.cell(torch.cat([step, context], -1), h)
            logits.append(self.out(torch.cat([h, context], -1)))
        return torch.stack(logits, 1)


@own
def seq2seq_additive_attention() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return Seq2Seq(), (torch.randn(3, 7, 6), torch.randint(11, (3, 4)))
