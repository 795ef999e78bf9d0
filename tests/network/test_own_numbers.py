"""A layer's integers say how large its parameters are, also where the code uses these without calling the layer."""

import inspect
import itertools
import json
import warnings
from typing import Any

import pytest
import torch
import torch.nn.utils.prune
from torch import Tensor, nn

from dyn_lightning import consolidate, dynamize
from dyn_lightning.modules.kinds import build_layer, describe_layer

N = 12
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Between(nn.Module):
    """Convolutions around a layer whose code runs without the layer's being called: no hook sees it."""

    def __init__(self, layer: nn.Module, spatial: int = 1, out: int = N) -> None:
        super().__init__()
        self.first = nn.Sequential(CONV[spatial](3, 5, 1), CONV[spatial](5, N, 1))
        self.layer, self.last = layer, CONV[spatial](out, 2, 1)

    def middle(self, x: Tensor) -> Tensor:
        return self.layer.forward(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x)))


class Last(Between):
    """The same, of features that come last."""

    def middle(self, x: Tensor) -> Tensor:
        y = self.layer.forward(x.transpose(1, 2))
        return (y[0] if isinstance(y, tuple) else y).transpose(1, 2)


class Pair(Between):
    def middle(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        return self.layer.forward(x, x).transpose(1, 2)


class Attend(Between):
    def middle(self, x: Tensor) -> Tensor:
        x = x.permute(2, 0, 1)
        return self.layer.forward(x, x, x)[0].permute(1, 2, 0)


class Step(Between):
    def middle(self, x: Tensor) -> Tensor:
        y = self.layer.forward(x[..., 0])
        return (y[0] if isinstance(y, tuple) else y)[..., None]


class Called(Between):
    """Called as layers are: one whose weight is computed is followed by its functions."""

    def middle(self, x: Tensor) -> Tensor:
        return self.layer(x.mT).mT if isinstance(self.layer, nn.Linear) else self.layer(x)


class Look(Between):
    def middle(self, x: Tensor) -> Tensor:
        entries = torch.arange(6).reshape(2, 3)
        y = self.layer.forward(entries)
        return x * (y if y.dim() == 2 else y.mean(1))[..., None]


BARE: dict[str, tuple[type[Between], nn.Module, int]] = {
    "Linear": (Last, nn.Linear(N, 8), 1),
    "Bilinear": (Pair, nn.Bilinear(N, N, 8), 1),
    "Embedding": (Look, nn.Embedding(7, N), 1),
    "EmbeddingBag": (Look, nn.EmbeddingBag(7, N), 1),
    **{f"Conv{n}d": (Between, CONV[n](N, 8, 1), n) for n in CONV},
    "Conv1d, groups": (Between, nn.Conv1d(N, 8, 1, groups=2), 1),
    "Conv1d, depthwise": (Between, nn.Conv1d(N, 2 * N, 1, groups=N), 1),
    "ConvTranspose1d": (Between, nn.ConvTranspose1d(N, 8, 1), 1),
    "ConvTranspose1d, groups": (Between, nn.ConvTranspose1d(N, 8, 1, groups=2), 1),
    "ConvTranspose1d, depthwise": (Between, nn.ConvTranspose1d(N, N, 1, groups=N), 1),
    "ConvTranspose2d": (Between, nn.ConvTranspose2d(N, 8, 1), 2),
    "ConvTranspose3d": (Between, nn.ConvTranspose3d(N, 8, 1), 3),
    **{f"BatchNorm{n}d": (Between, getattr(nn, f"BatchNorm{n}d")(N), n) for n in CONV},
    "SyncBatchNorm": (Between, nn.SyncBatchNorm(N), 1),
    **{f"InstanceNorm{n}d": (Between, getattr(nn, f"InstanceNorm{n}d")(N, affine=True), n) for n in CONV},
    "LayerNorm": (Last, nn.LayerNorm(N), 1),
    "RMSNorm": (Last, nn.RMSNorm(N), 1),
    "GroupNorm": (Between, nn.GroupNorm(2, N), 1),
    "GroupNorm, each": (Between, nn.GroupNorm(N, N), 1),
    "PReLU": (Between, nn.PReLU(N), 1),
    "RNN": (Last, nn.RNN(N, 8), 1),
    "GRU": (Last, nn.GRU(N, 8), 1),
    "LSTM": (Last, nn.LSTM(N, 8), 1),
    "RNNCell": (Step, nn.RNNCell(N, 8), 1),
    "GRUCell": (Step, nn.GRUCell(N, 8), 1),
    "LSTMCell": (Step, nn.LSTMCell(N, 8), 1),
    "MultiheadAttention": (Attend, nn.MultiheadAttention(N, 3), 1),
}
SIZES = {"in_features", "in1_features", "in_channels", "num_features", "num_channels", "normalized_shape", "input_size",
         "embedding_dim", "embed_dim", "num_parameters"}  # fmt: skip
# Made of other layers, or of which others are made.
OTHERS = {"AdaptiveLogSoftmaxWithLoss", "RNNBase", "RNNCellBase"}


def test_every_layer_of_torch_with_a_size_is_tried() -> None:
    kinds = {name: kind for name, kind in vars(nn).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    sized = {name for name, kind in kinds.items() if SIZES & inspect.signature(kind).parameters.keys()}
    sized |= {"RNN", "GRU", "LSTM"}  # whose constructors do not name their arguments
    assert {name.split(",")[0] for name in BARE} == sized - OTHERS - {n for n in sized if n.startswith("Lazy")}


def halved(network: nn.Module, x: Tensor, *others: float) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dynamic = dynamize(network.eval(), x)
    for width, lam in zip(dynamic.widths.values(), itertools.cycle((0.5, *others)), strict=False):
        width.set_lam(lam)
    return consolidate(dynamic, [x])[0]


@pytest.mark.parametrize("name", BARE)
def test_none_ships_stale(name: str) -> None:
    kind, layer, spatial = BARE[name]
    small: Any = halved(kind(layer, spatial, _out(layer)), torch.randn(2, 3, *(4,) * spatial))
    again = build_layer(json.loads(json.dumps(describe_layer(small.layer))))
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in small.layer.state_dict().items()
    }
    assert type(again) is type(layer)


def _out(layer: Any) -> int:
    return next((getattr(layer, k) for k in ("out_features", "out_channels", "hidden_size") if hasattr(layer, k)), N)


NORMS = {
    "old weight norm": nn.utils.weight_norm,
    "weight norm": nn.utils.parametrizations.weight_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "pruned": lambda layer: nn.utils.prune.l1_unstructured(layer, "weight", 0.5),
}


@pytest.mark.parametrize("size", [8, N])
@pytest.mark.parametrize("wrap", NORMS)
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d, nn.Linear])
def test_weights_that_are_computed(wrap: str, kind: Any, size: int) -> None:
    options = (1,) if kind is not nn.Linear else ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = NORMS[wrap](kind(N, size, *options))
    small: Any = halved(Called(layer, 1, size), torch.randn(2, 3, 4), 0.75)
    out, inside = (1, 0) if kind is nn.ConvTranspose1d else (0, 1)
    names = ("in_features", "out_features") if kind is nn.Linear else ("in_channels", "out_channels")
    shape = small.layer.weight.shape
    assert tuple(getattr(small.layer, n) for n in names) == (shape[inside], shape[out]) == (9, size // 2)
