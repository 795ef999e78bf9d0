"""Sound artifacts from which hostile ones are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyn_lightning.artifact import save_artifact
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD

VAD = {"sample_rate": 16000, "threshold": 0.0, "task": "FrameDetection", "labels": ["speech"]}


class Mixed(nn.Module):
    """Calls of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.group = nn.GroupNorm(2, 4)
        self.gru = nn.GRU(8, 6, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(12, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer_norm = nn.LayerNorm(8)
        self.embedding = nn.Embedding(20, 8)
        self.up = nn.ConvTranspose1d(8, 4, 4, stride=2)
        self.instance = nn.InstanceNorm1d(4, affine=True)
        self.register_buffer("window", torch.hann_window(16))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = x[:, None]
        y = F.relu(self.norm(self.conv(F.pad(y, (1, 1, 1, 1), mode="reflect"))))[..., 1:-1, 1:-1]
        y = F.max_pool2d(self.group(y), 3, stride=1, padding=1)
        y = F.avg_pool2d(F.interpolate(y, scale_factor=2.0, mode="bilinear"), 2).mean(1)
        z, _ = self.lstm(self.gru(y)[0])
        places = torch.arange(z.shape[1], device=x.device)
        z = z + self.embedding(places % 20) * (2.0**0.5)
        z = self.layer_norm(z + self.attention(z, z, z)[0])
        scores = torch.einsum("btc,bsc->bts", z, z).softmax(-1)
        z = torch.where(z > 0, z, z.clamp(min=-1.0)).masked_fill(z > 3.0, 0.0)
        up = self.instance(self.up(z.transpose(1, 2))).repeat(1, 2, 1).flip(-1)
        top, index = up.topk(3, dim=1)
        spectrum = torch.stft(x.flatten(1), 16, 8, window=self.window, return_complex=True).abs().to(torch.float64)
        rolled = torch.cat([top.gather(1, index.clamp(max=2)), up.roll(1, 1)], 1)
        total = spectrum.sum(-1).float().cumsum(-1) ** 2
        return {"scores": scores, "rolled": rolled, "total": total, "std": z.std(1) + float(z.shape[1] // 2)}


def small_vad() -> nn.Module:
    """A consolidated voice activity detector."""
    torch.manual_seed(0)
    dynamic = dynamize(CRNNVAD(8, 6, 5, hop_length=512).eval(), torch.randn(1, 16000), duration_s=1.0)
    for width in dynamic.widths.values():
        width.set_lam(0.6)
    return consolidate(dynamic.eval())[0]


def make_seeds(folder: Path) -> dict[str, Path]:
    """Three artifacts: one of a class of this package, two that are known by their calls alone."""
    torch.manual_seed(0)
    foreign: dict[str, Any] = {"class_path": "elsewhere.Network", "init_args": {}}
    vad = small_vad()
    seeds = {name: folder / name for name in ("own", "calls", "mixed")}
    save_artifact(vad, seeds["own"], metadata=VAD)
    save_artifact(vad, seeds["calls"], metadata=VAD, backbone=foreign, example_input=torch.randn(2, 16000))
    save_artifact(Mixed().eval(), seeds["mixed"], metadata={}, backbone=foreign, example_input=torch.randn(2, 9, 8))
    return seeds


def input_of(name: str, length: int) -> Tensor:
    """An input of a seed's network; ``length`` is 0 or 1, for two sizes."""
    torch.manual_seed(1)
    return torch.randn(2, 9 + length, 8) if name == "mixed" else torch.randn(1, 16000 + 3000 * length)
