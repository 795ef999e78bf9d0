"""Shapes of torch's functions that tracing would otherwise tie to the length of the example.

torch.export learns a function's output shape by running it on tensors without data. Recurrent layers are run step by
step for that, ``max_pool1d`` in C++ without symbols, ``max_pool2d`` with a condition on the remainder of its stride, so
all hold the example's number of frames fast, though none depends on it. Here they answer by their formula; the traced
graph keeps the functions as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._decomp import global_decomposition_table
from torch.fx.experimental import _config as symbolic_shapes


def _gru(
    input: Tensor,
    hx: Tensor,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    if hx.shape[1] != input.shape[0 if batch_first else 1]:
        raise RuntimeError(f"{input.shape[0 if batch_first else 1]} items, but a state for {hx.shape[1]}")
    features = hx.shape[-1] * (2 if bidirectional else 1)
    return input.new_empty((*input.shape[:-1], features)), hx.new_empty(hx.shape)


def _lstm(input: Tensor, hx: Sequence[Tensor], *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    output, hidden = _gru(input, hx[0], *args)
    return output, hidden, hx[1].new_empty(hx[1].shape)


def _max_pool(dims: int) -> Callable[..., Tensor]:
    def shape(
        input: Tensor,
        kernel_size: Any,
        stride: object = (),
        padding: object = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Tensor:
        kernel, pad, spread = (_each(v, dims) for v in (kernel_size, padding, dilation))
        step = _each(stride, dims) or kernel
        if ceil_mode and max(step) > 1:
            raise RuntimeError(
                f"max_pool{dims}d with ceil_mode and a stride has no exportable length: use ceil_mode=False"
            )
        sizes = input.shape[-dims:]
        room = [n + 2 * p - d * (k - 1) - 1 for n, k, p, d in zip(sizes, kernel, pad, spread, strict=True)]
        return input.new_empty((*input.shape[:-dims], *(r // s + 1 for r, s in zip(room, step, strict=True))))

    return shape


def _each(value: Any, dims: int) -> list[int]:
    """An integer a dimension, given as one for all or as a sequence; none for an empty one."""
    values = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    return values * dims if len(values) == 1 else values


_SHAPES: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.gru.input: _gru,
    torch.ops.aten.lstm.input: _lstm,
    torch.ops.aten.rnn_tanh.input: _gru,
    torch.ops.aten.rnn_relu.input: _gru,
    torch.ops.aten.max_pool1d.default: _max_pool(1),
    torch.ops.aten.max_pool2d.default: _max_pool(2),
}
_KEYS = (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd)


@contextlib.contextmanager
def any_length() -> Iterator[None]:
    """While active, tracing leaves the length of recurrent layers and of max pooling open, and sizes of 1 as well.

    For tracing alone: the functions compute nothing on tensors that pass through Python dispatch meanwhile.
    """
    table = global_decomposition_table["post_autograd"]
    decompositions = {op: table.get(op) for op in _SHAPES}
    kernels = {op: {key: op.py_kernels.get(key) for key in _KEYS} for op in _SHAPES}
    config: Any = symbolic_shapes
    try:
        for op, shape in _SHAPES.items():
            table[op] = shape
            _set_kernels(op, dict.fromkeys(_KEYS, shape))
        with config.patch(backed_size_oblivious=True):  # or a batch of one would hold for every batch
            yield
    finally:
        for op in _SHAPES:
            _restore(table, op, decompositions[op])
            _set_kernels(op, kernels[op])


def _set_kernels(op: Any, kernels: dict[DispatchKey, object]) -> None:
    for key, kernel in kernels.items():
        _restore(op.py_kernels, key, kernel)
    op._dispatch_cache.clear()


def _restore(table: Any, key: Any, value: object) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
