"""Attention written by hand, in the forms that people write it in."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.registry import own


class FeedForward(nn.Sequential):
    """Two linear layers."""

    def __init__(self, size: int, hidden: int, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__(nn.Linear(size, hidden), activation(), nn.Dropout(0.0), nn.Linear(hidden, size))


class FusedAttention(nn.Module):
    """q, k and v of one linear layer, reshaped to (batch, time, 3, head, head size)."""

    def __init__(self, size: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, head_size
        self.qkv, self.project = nn.Linear(size, 3 * heads * head_size), nn.Linear(heads * head_size, size)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        qkv = self.qkv(x).reshape(batch, time, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        y = F.scaled_dot_product_attention(q, k, v)
        return self.project(y.transpose(1, 2).reshape(batch, time, -1))


class SeparateAttention(nn.Module):
    """Three linear layers; scores, softmax and weighting by matmul. v may have a head size of its own."""

    def __init__(self, size: int, heads: int, key_size: int, value_size: int, memory_size: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        memory_size = size if memory_size is None else memory_size
        self.q, self.k = nn.Linear(size, heads * key_size), nn.Linear(memory_size, heads * key_size)
        self.v, self.out = nn.Linear(memory_size, heads * value_size), nn.Linear(heads * value_size, size)

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        memory = x if memory is None else memory
        q, k, v = self.split(self.q(x)), self.split(self.k(memory)), self.split(self.v(memory))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        y = (scores.softmax(dim=-1) @ v).transpose(1, 2).contiguous()
        return self.out(y.flatten(2))


class PreNormLayer(nn.Module):
    """Norm, fused attention, skip; norm, feed-forward, skip."""

    def __init__(self, size: int, heads: int, head_size: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(size), FusedAttention(size, heads, head_size)
        self.norm2, self.feed_forward = nn.LayerNorm(size), FeedForward(size, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class PostNormLayer(nn.Module):
    """Attention by hand, skip, norm; feed-forward, skip, norm."""

    def __init__(self, size: int, heads: int, key_size: int, value_size: int, hidden: int) -> None:
        super().__init__()
        self.attention, self.norm1 = SeparateAttention(size, heads, key_size, value_size), nn.LayerNorm(size)
        self.feed_forward, self.norm2 = FeedForward(size, hidden, nn.ReLU), nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.feed_forward(x))


@own
def transformer_prenorm_fused() -> tuple[nn.Module, Tensor]:
    layers = [PreNormLayer(24, 4, 6, 40), PreNormLayer(24, 4, 5, 36)]
    return nn.Sequential(nn.Linear(7, 24), *layers, nn.LayerNorm(24), nn.Linear(24, 3)), torch.randn(3, 9, 7)


@own
def transformer_postnorm_separate() -> tuple[nn.Module, Tensor]:
    layers = [PostNormLayer(20, 4, 5, 5, 34), PostNormLayer(20, 2, 8, 7, 30)]
    return nn.Sequential(nn.Linear(7, 20), *layers, nn.Linear(20, 3)), torch.randn(3, 9, 7)


class VisionTransformer(nn.Module):
    """Patches by convolution, class token and positions as parameters; the class token is read out."""

    def __init__(self, size: int = 20, patches: int = 12) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, size, 4, 4)
        self.cls_token = nn.Parameter(0.1 * torch.randn(1, 1, size))
        self.pos_embed = nn.Parameter(0.1 * torch.randn(1, patches + 1, size))
        self.blocks = nn.Sequential(PreNormLayer(size, 2, 10, 36), PreNormLayer(size, 2, 10, 32))
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


@own
def vision_transformer() -> tuple[nn.Module, Tensor]:
    return VisionTransformer(), torch.randn(2, 3, 16, 12)


class DecoderOnly(nn.Module):
    """Causal language model: tied embedding, positions by embedding, a mask as buffer."""

    mask: Tensor

    def __init__(self, words: int = 29, size: int = 18, length: int = 10) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(words, size), nn.Embedding(length, size)
        self.norm1, self.attention = nn.LayerNorm(size), SeparateAttention(size, 3, 6, 6)
        self.norm2, self.feed_forward = nn.LayerNorm(size), FeedForward(size, 44)
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, words, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(length, length, dtype=torch.bool).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        x = self.embedding(tokens) + self.positions(torch.arange(time, device=tokens.device))
        x = x + self.attention(self.norm1(x), mask=self.mask[:time, :time])
        x = x + self.feed_forward(self.norm2(x))
        return self.head(self.norm(x))


@own
def decoder_language_model() -> tuple[nn.Module, Tensor]:
    return DecoderOnly(), torch.randint(29, (3, 8))


class RotaryGroupedQuery(nn.Module):
    """Rotary positions on half-swapped heads, two query heads to each key head, SwiGLU, RMS norm."""

    def __init__(self, size: int = 20, heads: int = 4, key_heads: int = 2, head_size: int = 6) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_size = heads, key_heads, head_size
        self.enter, self.norm1, self.norm2 = nn.Linear(7, size), nn.RMSNorm(size), nn.RMSNorm(size)
        self.q, self.k = nn.Linear(size, heads * head_size), nn.Linear(size, key_heads * head_size)
        self.v, self.o = nn.Linear(size, key_heads * head_size), nn.Linear(heads * head_size, size)
        self.gate, self.up, self.down = nn.Linear(size, 32), nn.Linear(size, 32), nn.Linear(32, size)
        self.out = nn.Linear(size, 3)

    def rotate(self, x: Tensor) -> Tensor:
        half = self.head_size // 2
        angles = torch.arange(x.shape[2])[:, None] / 100.0 ** (torch.arange(half) / half)
        cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
        return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        batch, time, _ = x.shape
        y = self.norm1(x)
        q = self.rotate(self.q(y).view(batch, time, self.heads, self.head_size).transpose(1, 2))
        k = self.rotate(self.k(y).view(batch, time, self.key_heads, self.head_size).transpose(1, 2))
        v = self.v(y).view(batch, time, self.key_heads, self.head_size).transpose(1, 2)
        repeats = self.heads // self.key_heads
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.o(y.reshape(batch, time, self.heads * self.head_size))
        y = self.norm2(x)
        return self.out(x + self.down(F.silu(self.gate(y)) * self.up(y)))


@own
def rotary_grouped_query() -> tuple[nn.Module, Tensor]:
    return RotaryGroupedQuery(), torch.randn(3, 6, 7)


class CrossAttention(nn.Module):
    """Perceiver: learned latents attend to the input; q/k and v sizes differ."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(4, 18))
        self.features = nn.Linear(7, 22)
        self.attention = SeparateAttention(18, 3, 4, 6, memory_size=22)
        self.norm, self.feed_forward, self.out = nn.LayerNorm(18), FeedForward(18, 26), nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        latents = self.latents.expand(x.shape[0], -1, -1)
        latents = latents + self.attention(latents, torch.tanh(self.features(x)))
        return self.out((latents + self.feed_forward(self.norm(latents))).mean(1))


@own
def perceiver_cross_attention() -> tuple[nn.Module, Tensor]:
    return CrossAttention(), torch.randn(3, 11, 7)


class LinearAttention(nn.Module):
    """Attention without softmax over time, by einsum, heads as a dimension of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.qkv, self.out = nn.Linear(7, 16), nn.Linear(16, 3 * 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.enter(x))
        q, k, v = self.qkv(x).split(24, dim=-1)
        q, k, v = (t.unflatten(-1, (4, 6)) for t in (q, k, v))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        kv = torch.einsum("bthd,bthe->bhde", k, v)
        z = 1 / torch.einsum("bthd,bhd->bth", q, k.sum(1))
        return self.out(torch.einsum("bthd,bhde,bth->bthe", q, kv, z).flatten(2))


@own
def linear_attention_einsum() -> tuple[nn.Module, Tensor]:
    return LinearAttention(), torch.randn(3, 8, 7)


class SelfAttentivePooling(nn.Module):
    """Several learned queries weigh the frames; their means are concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Sequential(nn.Conv1d(9, 20, 3, padding=1), nn.BatchNorm1d(20), nn.ReLU())
        self.project, self.queries = nn.Linear(20, 14), nn.Parameter(torch.randn(14, 2))
        self.out = nn.Linear(2 * 20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.frames(x).transpose(1, 2)
        weights = (torch.tanh(self.project(x)) @ self.queries).softmax(dim=1)
        return self.out((weights.transpose(1, 2) @ x).flatten(1))


@own
def self_attentive_pooling() -> tuple[nn.Module, Tensor]:
    return SelfAttentivePooling(), torch.randn(3, 9, 12)
