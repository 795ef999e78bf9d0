"""int8 by torch's own dynamic quantisation: weights in int8, activations quantised as they come, no calibration.

``torch.ao.quantization.quantize_dynamic`` is what torch has for recurrent layers: its successor torchao quantises
linear layers alone (no GRU, no LSTM), which in speech networks is the smaller part. torch marks it as deprecated; where
it is gone, quantisation is an error and all else goes on. Convolutions and norms stay in float32 with either.
"""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from dyn_lightning.errors import UserError
from dyn_lightning.inputs import call_arguments, evaluating, tensors_in

_CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
_QUANTISED = (nn.Linear, nn.GRU, nn.LSTM, *_CELLS)
_SCALES = ".scales"  # of a weight, one for each row


class QuantizationError(UserError, RuntimeError):
    """A network cannot be quantised; the message says why."""


@dataclass(frozen=True)
class Int8Report:
    """The int8 network beside the float one.

    Attributes:
        layers: those that are quantised.
        bytes, bytes_float: of the weights on disk.
        latency_ms, latency_ms_float: median time of a call on the example, in turns, on the CPU.
        largest_relative_difference: of the outputs on the example, over the largest output.
        metrics, metrics_float: what ``evaluate`` gave.
    """

    layers: list[str]
    bytes: int
    bytes_float: int
    latency_ms: float
    latency_ms_float: float
    largest_relative_difference: float
    metrics: dict[str, float]
    metrics_float: dict[str, float]

    def as_dict(self) -> dict[str, object]:
        """Primitives alone, for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """In two lines."""
        before = self.metrics_float
        pairs = [f"{k} {before[k]:.4g} → {v:.4g}" for k, v in self.metrics.items() if k in before]
        return (
            f"int8: {self.bytes_float / 1024:.0f} → {self.bytes / 1024:.0f} KiB, {self.latency_ms_float:.2f} → "
            f"{self.latency_ms:.2f} ms a call, outputs within {self.largest_relative_difference:.2g} of the largest\n  "
            + ", ".join([*pairs, f"{len(self.layers)} layers: {', '.join(self.layers)}"])
        )


def quantize(network: nn.Module) -> nn.Module:
    """A copy of a network, on the CPU in evaluation mode, with int8 weights in its linear and recurrent layers.

    Each row of a weight has a scale of its own. Layers that torch cannot quantise stay in float32: recurrent ones
    without bias or with a projection, linear ones inside attention.

    Raises:
        QuantizationError: if there is no such layer, or this torch has no ``quantize_dynamic``.
    """
    plain = copy.deepcopy(network).cpu().eval()
    names = quantizable(plain)
    if not names:
        raise QuantizationError(f"{type(network).__name__} has no linear or recurrent layer that can be quantised")
    with _without_deprecation():
        try:
            from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
        except ImportError as error:
            raise QuantizationError("this torch has no quantize_dynamic: install torch 2.11") from error
        return quantize_dynamic(plain, dict.fromkeys(names, per_channel_dynamic_qconfig), inplace=True)


def quantizable(network: nn.Module) -> list[str]:
    """Names of the layers that :func:`quantize` would quantise."""

    def fits(layer: Any) -> bool:
        if isinstance(layer, (nn.GRU, nn.LSTM)):
            return bool(layer.bias) and not layer.proj_size
        return type(layer) is nn.Linear or bool(layer.bias)

    return [name for name, layer in network.named_modules() if type(layer) in _QUANTISED and fits(layer)]


def int8_state(quantised: nn.Module) -> dict[str, Tensor]:
    """The tensors of what :func:`quantize` gave, under the float network's names, contiguous on the CPU.

    A quantised weight is an int8 tensor, and its rows' scales are named ``<weight>.scales``.
    """
    tensors: dict[str, Tensor] = {}
    packed = _quantised_layers(quantised)
    for name, layer in packed.items():
        weights, others = _unpack(layer)
        for key, weight in weights.items():
            tensors[f"{name}.{key}"] = weight.int_repr()
            tensors[f"{name}.{key}{_SCALES}"] = weight.q_per_channel_scales()
        tensors |= {f"{name}.{key}": value for key, value in others.items()}
    inside = tuple(f"{name}." for name in packed)
    tensors |= {k: v for k, v in quantised.state_dict().items() if not k.startswith(inside)}
    return {k: v.detach().contiguous().clone() for k, v in tensors.items()}


def from_int8_state(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The int8 network of what :func:`int8_state` gave.

    Args:
        network: a float network of the same layers, with any weights; it is altered.
        tensors: name → tensor.

    Raises:
        QuantizationError: names a tensor that is missing or does not fit.
    """
    inside = tuple(f"{name}." for name in quantizable(network))
    wanted = {k for k in network.state_dict() if not k.startswith(inside)}
    try:
        network.load_state_dict({k: tensors[k] for k in wanted}, strict=False)
        quantised = quantize(network)
        for name, layer in _quantised_layers(quantised).items():
            _pack(layer, {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
    except (KeyError, RuntimeError) as error:
        raise QuantizationError(f"the int8 tensors do not fit {type(network).__name__} ({error})") from error
    return quantised


def compare_int8(
    network: nn.Module,
    quantised: nn.Module,
    example_input: object,
    *,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    repeats: int = 50,
) -> Int8Report:
    """Size on disk, latency, outputs and metrics of a float network and its int8 form.

    Args:
        network: the float network, on the CPU.
        quantised: what :func:`quantize` made of it.
        example_input: a tensor, a tuple or a dict.
        evaluate: network → metrics; None for none.
        repeats: calls of each.
    """
    args, kwargs = call_arguments(example_input)
    times: tuple[list[float], list[float]] = ([], [])
    with evaluating(network), torch.inference_mode():
        expected, found = tensors_in(network(*args, **kwargs)), tensors_in(quantised(*args, **kwargs))
        for _ in range(repeats):
            for form, taken in zip((network, quantised), times, strict=True):
                start = time.perf_counter()
                form(*args, **kwargs)
                taken.append(time.perf_counter() - start)
    metrics = dict(evaluate(quantised)) if evaluate else {}
    with evaluating(network):
        metrics_float = dict(evaluate(network)) if evaluate else {}
    scale = max(float(x.abs().max()) for x in expected)
    largest = max(float((a - b).abs().max()) for a, b in zip(expected, found, strict=True))
    plain = {k: v.contiguous().clone() for k, v in network.state_dict().items()}
    return Int8Report(
        layers=list(_quantised_layers(quantised)),
        bytes=len(safetensors.torch.save(int8_state(quantised))),
        bytes_float=len(safetensors.torch.save(plain)),
        latency_ms=1e3 * statistics.median(times[1]),
        latency_ms_float=1e3 * statistics.median(times[0]),
        largest_relative_difference=largest / max(scale, torch.finfo(torch.float32).tiny),
        metrics=metrics,
        metrics_float=metrics_float,
    )


def _quantised_layers(network: nn.Module) -> dict[str, object]:
    """Layers with packed weights by name."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if type(layer).__module__.startswith("torch.ao.nn.quantized.dynamic") and hasattr(layer, "set_weight_bias")
    }


def _unpack(layer: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Quantised weights and float biases of a layer under their names in the float one."""
    if not hasattr(layer, "get_weight"):
        bias = layer.bias()
        return {"weight": layer.weight()}, {} if bias is None else {"bias": bias}
    return layer.get_weight(), layer.get_bias()


def _pack(layer: Any, tensors: Mapping[str, Tensor]) -> None:
    weights = {}
    for name, scales in tensors.items():
        if name.endswith(_SCALES):
            key = name.removesuffix(_SCALES)
            zeros = torch.zeros_like(scales, dtype=torch.int64)
            weights[key] = torch._make_per_channel_quantized_tensor(tensors[key], scales.double(), zeros, 0)
    biases = {k: v for k, v in tensors.items() if not k.endswith(_SCALES) and k not in weights}
    if isinstance(layer, torch.ao.nn.quantized.dynamic.Linear):
        layer.set_weight_bias(weights["weight"], biases.get("bias"))
    elif hasattr(layer, "_packed_weight_ih"):
        layer.set_weight_bias({"weight": weights, "bias": biases})
    else:
        layer.version = 2  # of the format in which activations have seven bits, as quantize_dynamic makes it
        layer.set_weight_bias({**weights, **biases})


@contextmanager
def _without_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.ao.quantization is deprecated")
        yield
