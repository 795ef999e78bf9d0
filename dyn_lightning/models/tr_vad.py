"""TrVAD: frame-wise voice activity detection by a Transformer whose attention is among mel bands."""

from __future__ import annotations

from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.features.spectral import (
    FixedScaling,
    LogCompression,
    MelFilterBank,
    Spectrogram,
    check_min_samples,
)


class BandAttention(nn.Module):
    """Attention among bands: each band of the answer is a weighted mean of the bands of the values.

    As cross-covariance attention (El-Nouby et al., arXiv 2106.09681, section 3.2) it maps bands onto bands, of which
    there are as many in every utterance, and not frames onto frames. Scores are ``queryᵀ·key / frames``, so that they
    do not grow with the length of the audio.

    Shapes: (batch, frames, bands) → the same.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.query = nn.Linear(bands, bands, bias=False)
        self.key = nn.Linear(bands, bands, bias=False)
        self.value = nn.Linear(bands, bands, bias=False)
        self.softmax = nn.Softmax(-1)
        self.output = nn.Linear(bands, bands, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x).transpose(1, 2) @ self.key(x) / x.size(1)
        weights = self.softmax(scores)  # (batch, bands, bands)
        return self.output(self.value(x) @ weights.transpose(1, 2))


class ConvolutionalFeedForward(nn.Module):
    """Two depthwise-separable convolutions over time, SELU behind all but the last.

    Shapes: (batch, frames, bands) → the same.
    """

    def __init__(self, bands: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise1 = _depthwise(bands, kernel_size)
        self.pointwise1 = nn.Conv1d(bands, bands, 1, bias=False)
        self.depthwise2 = _depthwise(bands, kernel_size)
        self.pointwise2 = nn.Conv1d(bands, bands, 1, bias=False)
        self.activation = nn.SELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.depthwise1(x.transpose(1, 2)))
        x = self.activation(self.pointwise1(x))
        x = self.activation(self.depthwise2(x))
        return self.pointwise2(x).transpose(1, 2)


class BandBlock(nn.Module):
    """x + attention among bands, + convolutional feed-forward, each behind a LayerNorm.

    Shapes: (batch, frames, bands) → the same.
    """

    def __init__(self, bands: int, kernel_size: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(bands)
        self.attention = BandAttention(bands)
        self.norm2 = nn.LayerNorm(bands)
        self.feed_forward = ConvolutionalFeedForward(bands, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class TrVAD(nn.Module):
    """Audio to one logit of speech per frame (arXiv 2601.13704, table of voice activity detection).

    Conv1d(b → b, 9) → SELU → two :class:`BandBlock` → Linear(b → 2) on b log-mel bands, 80 in the paper. Nothing but
    the LayerNorms and the last layer has a bias. The logit is the difference of the two outputs, speech minus none.

    The paper does not print this stack: it is one that meets both of its counts exactly, at all eight sizes. They are
    ``21b² + 46b + 2`` parameters and, for one second (59 frames), ``59·(50b² + 136b + 16) + 2b(4b - 1)`` FLOPs, by
    prices of the layers and 2 per multiply-add of the attention's products, ``8b²`` a frame, without the front end.
    Other stacks meet them too, so that what is shared with the paper's network is its cost and the attention.

    Not causal: every logit depends on the whole utterance through the attention, and every convolution looks
    ``kernel_size // 2`` frames ahead; the convolutions alone reach 20 frames to either side. Frames are not padded
    away: logit i belongs to STFT frame i, whose centre is ``first_frame_centre_s + i·hop_length / sample_rate``
    seconds into the audio.

    Args:
        n_mels: bands b.
        num_layers: blocks.
        kernel_size: frames that each convolution spans; odd.
        sample_rate, n_fft, hop_length: of the front end, in Hz and samples.

    Shapes: audio (batch, samples) → logits (batch, frames), frames = 1 + (samples - n_fft) // hop_length.

    Raises:
        SettingError: if the kernel is even, or the audio is shorter than one frame.
    """

    def __init__(
        self,
        n_mels: int = 80,
        num_layers: int = 2,
        kernel_size: int = 9,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 256,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise SettingError(f"kernel_size={kernel_size} must be odd: the frames could not stay where they are")
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.spectrogram = Spectrogram(n_fft, hop_length)
        self.mel = MelFilterBank(self.spectrogram.n_freqs, n_mels, sample_rate)
        self.log = LogCompression()
        self.scaling = FixedScaling()
        self.conv = nn.Conv1d(n_mels, n_mels, kernel_size, padding=kernel_size // 2, bias=False)
        self.activation = nn.SELU()
        self.blocks = nn.Sequential(*(BandBlock(n_mels, kernel_size) for _ in range(num_layers)))
        self.linear = nn.Linear(n_mels, 2)

    @property
    def min_samples(self) -> int:
        """The fewest samples that give a logit."""
        return self.n_fft

    @property
    def first_frame_centre_s(self) -> float:
        """Centre of the first logit's frame, in seconds from the first sample."""
        return self.n_fft / 2 / self.sample_rate

    def forward(self, audio: Tensor) -> Tensor:
        check_min_samples(audio, self.min_samples)
        log_mel = self.scaling(self.log(self.mel(self.spectrogram(audio))))
        x = self.activation(self.conv(log_mel)).transpose(1, 2)
        none, speech = self.linear(self.blocks(x)).unbind(-1)
        return speech - none


def _depthwise(channels: int, kernel_size: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels, bias=False)
