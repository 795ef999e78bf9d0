"""Conformer encoder for frame-wise detection: attention and convolution between two half feed-forward layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.features.spectral import (
    FixedScaling,
    LogCompression,
    MelFilterBank,
    Spectrogram,
)


class FeedForward(nn.Module):
    """LayerNorm → Linear → SiLU → Linear. Shapes: (batch, frames, d_model) → the same."""

    def __init__(self, d_model: int, d_hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, d_hidden)
        self.activation = nn.SiLU()
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(d_hidden, d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.expand(self.norm(x)))
        return self.dropout(self.contract(self.dropout(x)))


class SelfAttention(nn.Module):
    """LayerNorm → multi-head self-attention over all frames. Shapes: (batch, frames, d_model) → the same.

    Raises:
        SettingError: if ``num_heads`` does not divide ``d_model``.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if d_model % num_heads:
            raise SettingError(f"d_model={d_model} cannot be divided among num_heads={num_heads}")
        self.head_dim = d_model // num_heads
        self.norm = nn.LayerNorm(d_model)
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        attended = nn.functional.scaled_dot_product_attention(
            self._heads(self.query(x)), self._heads(self.key(x)), self._heads(self.value(x))
        )
        return self.dropout(self.output(attended.transpose(1, 2).flatten(2)))

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, frames, heads · head_dim) → (batch, heads, frames, head_dim)"""
        return x.reshape(x.size(0), x.size(1), -1, self.head_dim).transpose(1, 2)


class ConvolutionModule(nn.Module):
    """LayerNorm → pointwise, GLU → depthwise, BatchNorm, SiLU → pointwise.

    Shapes: (batch, frames, d_model) → the same.

    Raises:
        SettingError: if ``kernel_size`` is even: the frames could not stay where they are.
    """

    def __init__(self, d_model: int, kernel_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise SettingError(f"kernel_size={kernel_size} must be odd")
        self.norm = nn.LayerNorm(d_model)
        self.expand = nn.Conv1d(d_model, 2 * d_model, 1)
        self.gate = nn.GLU(dim=1)
        self.depthwise = nn.Conv1d(d_model, d_model, kernel_size, padding=kernel_size // 2, groups=d_model)
        self.batch_norm = nn.BatchNorm1d(d_model)
        self.activation = nn.SiLU()
        self.contract = nn.Conv1d(d_model, d_model, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gate(self.expand(self.norm(x).transpose(1, 2)))
        x = self.activation(self.batch_norm(self.depthwise(x)))
        return self.dropout(self.contract(x).transpose(1, 2))


class ConformerBlock(nn.Module):
    """x + ½ FF, + attention, + convolution, + ½ FF, LayerNorm (Gulati et al., arXiv 2005.08100, section 2).

    Without positional encoding: the depthwise convolutions tell frames apart.
    Shapes: (batch, frames, d_model) → the same.
    """

    def __init__(self, d_model: int, num_heads: int, d_hidden: int, kernel_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.feed_forward1 = FeedForward(d_model, d_hidden, dropout)
        self.attention = SelfAttention(d_model, num_heads, dropout)
        self.convolution = ConvolutionModule(d_model, kernel_size, dropout)
        self.feed_forward2 = FeedForward(d_model, d_hidden, dropout)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward1(x)
        x = x + self.attention(x)
        x = x + self.convolution(x)
        x = x + 0.5 * self.feed_forward2(x)
        return self.norm(x)


class Conformer(nn.Module):
    """Audio, or features, to one logit per frame, by a stack of Conformer blocks.

    Args:
        d_model: size of the residual stream.
        num_layers: blocks.
        num_heads: of each self-attention.
        d_hidden: hidden size of each feed-forward layer; None: 4 · d_model.
        kernel_size: frames that each depthwise convolution spans; odd.
        dropout: probability, at the places of the Conformer's paper.
        n_mels: bands of the log-mel front end, or features of the input.
        sample_rate, n_fft, hop_length: of the front end, in Hz and samples.
        audio: whether the input is audio; otherwise it is features.

    Shapes: audio (batch, samples) or features (batch, n_mels, frames) → logits (batch, frames).

    Raises:
        SettingError: if the heads do not divide ``d_model`` or the kernel is even.
    """

    def __init__(
        self,
        d_model: int = 144,
        num_layers: int = 6,
        num_heads: int = 4,
        d_hidden: int | None = None,
        kernel_size: int = 31,
        dropout: float = 0.0,
        n_mels: int = 80,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 256,
        audio: bool = True,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.front_end: nn.Module = nn.Identity()
        if audio:
            spectrogram = Spectrogram(n_fft, hop_length)
            mel = MelFilterBank(spectrogram.n_freqs, n_mels, sample_rate)
            self.front_end = nn.Sequential(spectrogram, mel, LogCompression(), FixedScaling())
        self.project = nn.Linear(n_mels, d_model)
        d_hidden = 4 * d_model if d_hidden is None else d_hidden
        self.blocks = nn.Sequential(
            *(ConformerBlock(d_model, num_heads, d_hidden, kernel_size, dropout) for _ in range(num_layers))
        )
        self.linear = nn.Linear(d_model, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.front_end(x).transpose(1, 2)
        return torch.squeeze(self.linear(self.blocks(self.project(features))), 2)
