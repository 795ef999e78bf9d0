"""What a network is called with, and calls of it in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass

from torch import Tensor, nn
from torch.utils import _pytree as pytree


def tensors_in(tree: object) -> list[Tensor]:
    """Every tensor in nested containers, packed sequences and dataclasses included."""
    found: list[Tensor] = []
    for leaf in pytree.tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, tuple):
            found += tensors_in(tuple(leaf[:]))
        elif isinstance(leaf, dict):
            found += tensors_in(dict(leaf))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, f.name) for f in fields(leaf)])
    return found


def call_arguments(example_input: object) -> tuple[tuple[object, ...], dict[str, object]]:
    """An example input as positional and keyword arguments: a dict is keywords, a tuple positions."""
    if isinstance(example_input, dict):
        return (), example_input
    return (tuple(example_input) if isinstance(example_input, (tuple, list)) else (example_input,)), {}


@contextmanager
def modes_kept(network: nn.Module) -> Iterator[None]:
    """Whatever happens inside, each module's own mode, training or evaluation, is put back."""
    modes = {module: module.training for module in network.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode; each module's own mode is put back. Gradients are the caller's business."""
    with modes_kept(network):
        network.eval()
        yield
