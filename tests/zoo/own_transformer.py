"""torch.nn's own attention and Transformers, and the Conformer built on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.own_attention import FeedForward
from tests.zoo.registry import own


@own
def nn_transformer_encoder() -> tuple[nn.Module, Tensor]:
    layer = nn.TransformerEncoderLayer(24, 4, 38, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(7, 24), encoder, nn.Linear(24, 3)), torch.randn(3, 9, 7)


@own
def nn_transformer_encoder_prenorm() -> tuple[nn.Module, Tensor]:
    layer = nn.TransformerEncoderLayer(18, 3, 30, dropout=0.0, activation="gelu", norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(18))
    return nn.Sequential(nn.Linear(7, 18), encoder, nn.Linear(18, 3)), torch.randn(9, 3, 7)


class Translator(nn.Module):
    """nn.Transformer between embeddings and a linear layer."""

    def __init__(self, size: int = 20) -> None:
        super().__init__()
        self.features, self.words = nn.Linear(7, size), nn.Embedding(17, size)
        self.transformer = nn.Transformer(size, 4, 2, 2, 34, dropout=0.0, batch_first=True)
        self.out = nn.Linear(size, 17)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.out(self.transformer(self.features(features), self.words(tokens), tgt_mask=mask))


@own
def nn_transformer_encoder_decoder() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return Translator(), (torch.randn(3, 9, 7), torch.randint(17, (3, 5)))


class MultiheadNet(nn.Module):
    """nn.MultiheadAttention of a sequence with itself and with another of other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(7, 20), nn.Linear(6, 14)
        self.itself = nn.MultiheadAttention(20, 4, batch_first=True)
        self.other = nn.MultiheadAttention(20, 5, kdim=14, vdim=14, batch_first=True)
        self.norm, self.out = nn.LayerNorm(20), nn.Linear(20, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        x, y = self.left(left), torch.tanh(self.right(right))
        x = self.norm(x + self.itself(x, x, x, need_weights=False)[0])
        return self.out(x + self.other(x, y, y)[0])


@own
def nn_multihead_attention() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return MultiheadNet(), (torch.randn(3, 5, 7), torch.randn(3, 8, 6))


class FunctionNet(nn.Module):
    """F.multi_head_attention_forward called by hand, with weights of its own and those of a subclass of torch's."""

    def __init__(self, size: int = 20, heads: int = 4) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.left, self.right = nn.Linear(7, size), nn.Linear(6, 14)
        self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(14, size), nn.Linear(14, size)
        self.project = nn.Linear(size, 13)
        self.itself = type("Own", (nn.MultiheadAttention,), {})(size, heads, add_bias_kv=True)
        self.norm, self.out = nn.LayerNorm(size), nn.Linear(13, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        x, y = self.left(left).transpose(0, 1), torch.tanh(self.right(right)).transpose(0, 1)
        x = self.norm(x + self.itself(x, x, x, need_weights=False)[0])
        bias = torch.cat([self.query.bias, self.key.bias, self.value.bias])
        made, _ = F.multi_head_attention_forward(
            x, y, y, self.size, self.heads, None, bias, None, None, False, 0.0, self.project.weight, self.project.bias,
            training=self.training, use_separate_proj_weight=True, q_proj_weight=self.query.weight,
            k_proj_weight=self.key.weight, v_proj_weight=self.value.weight,
        )  # fmt: skip
        return self.out(made.transpose(0, 1))


@own
def attention_by_function() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return FunctionNet(), (torch.randn(3, 5, 7), torch.randn(3, 8, 6))


class ConvolutionModule(nn.Module):
    """Pointwise convolution with GLU, depthwise convolution, batch norm, pointwise convolution."""

    def __init__(self, size: int, kernel: int = 7) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.pointwise1 = nn.Conv1d(size, 2 * size, 1)
        self.depthwise = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.batch_norm = nn.BatchNorm1d(size)
        self.pointwise2 = nn.Conv1d(size, size, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.glu(self.pointwise1(self.norm(x).transpose(1, 2)), dim=1)
        return self.pointwise2(F.silu(self.batch_norm(self.depthwise(x)))).transpose(1, 2)


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, norm."""

    def __init__(self, size: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.LayerNorm(size), FeedForward(size, hidden, nn.SiLU))
        self.norm, self.attention = nn.LayerNorm(size), nn.MultiheadAttention(size, heads, batch_first=True)
        self.convolution = ConvolutionModule(size)
        self.second = nn.Sequential(nn.LayerNorm(size), FeedForward(size, hidden, nn.SiLU))
        self.last = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.first(x)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.convolution(x)
        return self.last(x + 0.5 * self.second(x))


class Conformer(nn.Module):
    """Subsampling by convolutions, flattened channels × bands, blocks, logits."""

    def __init__(self, size: int = 18, bands: int = 12) -> None:
        super().__init__()
        self.subsample = nn.Sequential(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 10, 3, 2), nn.ReLU())
        self.enter = nn.Linear(10 * (((bands - 1) // 2 - 1) // 2), size)
        self.blocks = nn.Sequential(ConformerBlock(size, 3, 40), ConformerBlock(size, 3, 36))
        self.out = nn.Linear(size, 6)

    def forward(self, features: Tensor) -> Tensor:
        x = self.subsample(features.unsqueeze(1))
        batch, channels, time, bands = x.size()
        x = self.enter(x.transpose(1, 2).contiguous().view(batch, time, channels * bands))
        return self.out(self.blocks(x)).log_softmax(-1)


@own
def conformer() -> tuple[nn.Module, Tensor]:
    return Conformer(), torch.randn(3, 30, 12)


class RelativePositions(nn.Module):
    """Transformer-XL's attention: two biases of each head, positions of their own, a relative shift."""

    def __init__(self, size: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.head_size = heads, size // heads
        self.enter, self.out = nn.Linear(7, size), nn.Linear(size, 3)
        self.q, self.k, self.v = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)
        self.position, self.o = nn.Linear(10, size, bias=False), nn.Linear(size, size)
        self.u = nn.Parameter(0.1 * torch.randn(heads, self.head_size))
        self.w = nn.Parameter(0.1 * torch.randn(heads, self.head_size))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        batch, time, _ = x.shape
        angles = torch.arange(time - 1, -time, -1.0)[:, None] * torch.arange(1, 6) / 7
        position = self.position(torch.cat([angles.sin(), angles.cos()], -1)).view(-1, self.heads, self.head_size)
        q = self.q(x).view(batch, time, self.heads, self.head_size)
        k = self.k(x).view(batch, time, self.heads, self.head_size).permute(0, 2, 3, 1)
        v = self.v(x).view(batch, time, self.heads, self.head_size).transpose(1, 2)
        content = (q + self.u).transpose(1, 2) @ k
        relative = (q + self.w).transpose(1, 2) @ position.permute(1, 2, 0)  # (batch, head, time, 2·time − 1)
        relative = F.pad(relative, (1, 0)).view(batch, self.heads, 2 * time, time)[:, :, 1:]
        relative = relative.reshape(batch, self.heads, time, 2 * time - 1)[..., :time]
        weights = ((content + relative) / self.head_size**0.5).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(batch, time, self.heads * self.head_size)
        return self.out(x + self.o(y))


@own
def relative_position_attention() -> tuple[nn.Module, Tensor]:
    return RelativePositions(), torch.randn(3, 6, 7)


class Squeezed(nn.Module):
    """Attention over channels' groups of a spectrogram: windows by reshape, heads by chunk, rolled."""

    def __init__(self, channels: int = 12, window: int = 4) -> None:
        super().__init__()
        self.window = window
        self.enter, self.norm = nn.Conv2d(1, channels, 3, padding=1), nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.feed_forward, self.out = FeedForward(channels, 26), nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x).permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape
        w = self.window
        y = torch.roll(self.norm(x), shifts=(-1, -1), dims=(1, 2))
        y = (
            y.view(batch, height // w, w, width // w, w, channels)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(-1, w * w, channels)
        )
        y = self.attention(y, y, y)[0].view(batch, height // w, width // w, w, w, channels)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)
        x = x + torch.roll(y, shifts=(1, 1), dims=(1, 2))
        return self.out((x + self.feed_forward(x)).mean((1, 2)))


@own
def shifted_window_attention() -> tuple[nn.Module, Tensor]:
    return Squeezed(), torch.randn(2, 1, 8, 12)
