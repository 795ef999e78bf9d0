"""Layers as JSON values: a layer's kind, and the constructor's arguments that made it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from dyn_lightning.errors import ArtifactError
from dyn_lightning.features.spectral import MelFilterBank
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.modules.stacked_rnn import StackedRNN

# A layer of a class in this table is described by those constructor's arguments that it keeps as attributes of the
# same name. To add a class whose constructor's arguments are all kept, name it here.
KINDS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        *(nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag),
        *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
        *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
        *(nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.PReLU),
        *(nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell, nn.MultiheadAttention),
        *(StackedRNN, SlimMultiheadAttention, MelFilterBank),
    )
}
_STACK = ("input_size", "dropout", "batch_first", "bidirectional")
_RECURRENT = (*_STACK, "hidden_size", "num_layers", "bias")
# Arguments of classes whose constructors do not name them.
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "RNN": (*_RECURRENT, "nonlinearity"),
    "GRU": _RECURRENT,
    "LSTM": (*_RECURRENT, "proj_size"),
    "StackedRNN": (*_STACK, "kind", "hidden_sizes", "bias", "proj_size", "nonlinearity"),
}
# Arguments that are kept in another form; None where they are not to be given.
_KEPT_AS: dict[tuple[str, str], Any] = {
    ("StackedRNN", "bias"): lambda layer: bool(layer.layers[0].bias),
    ("StackedRNN", "proj_size"): lambda layer: layer.layers[0].proj_size or None,
    ("StackedRNN", "nonlinearity"): lambda layer: getattr(layer.layers[0], "nonlinearity", None),
    ("MultiheadAttention", "bias"): lambda layer: layer.in_proj_bias is not None,
    ("MultiheadAttention", "add_bias_kv"): lambda layer: layer.bias_k is not None,
    ("SlimMultiheadAttention", "heads"): lambda layer: layer.num_heads,
}
_PLACES = ("device", "dtype", "process_group")


def is_known(layer: nn.Module) -> bool:
    """Whether :func:`describe_layer` takes it: the class itself, not one derived of it."""
    return KINDS.get(type(layer).__name__) is type(layer)


def describe_layer(layer: nn.Module) -> dict[str, Any]:
    """Kind, sizes and options of a layer as JSON values, from which :func:`build_layer` makes it again.

    Raises:
        ArtifactError: if layers of this class are not known.
    """
    kind = type(layer).__name__
    if not is_known(layer):
        raise ArtifactError(f"{kind} cannot be described, only {', '.join(KINDS)}")
    options = {}
    for name in _ARGUMENTS.get(kind) or inspect.signature(KINDS[kind]).parameters:
        if (kind, name) in _KEPT_AS:
            value = _KEPT_AS[kind, name](layer)
            if value is not None:
                options[name] = value
        elif hasattr(layer, name) and name not in _PLACES and not name.startswith("_"):
            value = getattr(layer, name)
            # Some layers keep whether they were to have a bias, most the bias itself or None.
            options[name] = value is not None if name == "bias" and not isinstance(value, bool) else value
    return {"kind": kind, "options": options}


def build_layer(description: Mapping[str, Any]) -> nn.Module:
    """The layer that :func:`describe_layer` described, with fresh weights.

    Raises:
        ArtifactError: for an unknown kind, or options that its class refuses.
    """
    kind = description.get("kind")
    if kind not in KINDS:
        raise ArtifactError(
            f"unknown layer kind {kind!r} (known: {', '.join(KINDS)}); load with the version that wrote it"
        )
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in description.get("options", {}).items()}
    try:
        return KINDS[kind](**options)
    except (AssertionError, TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        raise ArtifactError(f"a {kind} of the options {options} cannot be built ({error})") from error
