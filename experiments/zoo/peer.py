"""Torch-Pruning as its documentation recommends it.

That is: ``BasePruner`` with ``GroupMagnitudeImportance(p=2)``, the layers that make the network's output ignored, the
number of heads of each attention given, one step at a ratio of 0.5, and afterwards the attributes that attention
modules keep of their sizes set right, as in its examples for timm and transformers. Nothing else is adapted.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from dyn_lightning.inputs import call_arguments, tensors_in

HEADS = ("num_heads", "num_attention_heads", "n_heads", "nhead", "heads")
KEY_HEADS = ("num_key_value_heads", "key_heads")
FUSED = ("qkv", "qkv_proj", "in_proj", "c_attn")
QUERIES = ("q", "query", "q_proj", "q_lin", "linear_q", "query_proj")
KEYS_VALUES = ("k", "v", "key", "value", "k_proj", "v_proj", "k_lin", "v_lin", "linear_k", "linear_v", "key_proj")
HEAD_SIZES = ("head_dim", "head_size", "attention_head_size", "attention_head_dim", "d_k", "key_value_proj_dim")
ALL_HEADS_SIZES = ("all_head_size", "inner_dim", "attn_dim")
MAKERS = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase, nn.Embedding, nn.MultiheadAttention)
VIEWS = ("TBackward", "Transpose", "View", "Permute", "Expand", "Squeeze", "Unsqueeze", "Slice", "Split", "Clone")


def pruned(backbone: nn.Module, example: Any, ratio: float = 0.5) -> nn.Module:
    """A copy of the backbone that Torch-Pruning has made smaller. Raises what Torch-Pruning raises."""
    import torch_pruning as tp

    network = copy.deepcopy(backbone).eval()
    ignored = output_layers(network, example)
    heads = numbers_of_heads(network)

    def forward(model: nn.Module, given: Any) -> Any:
        args, kwargs = call_arguments(given)
        return model(*args, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tp.pruner.BasePruner(
            network,
            example,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=ignored,
            num_heads=heads,
            in_channel_groups={},
            out_channel_groups={},
            forward_fn=forward,
            output_transform=lambda out: [x for x in tensors_in(out) if x.grad_fn is not None],
        )
        pruner.step()
    set_attention_sizes(network)
    return network


def numbers_of_heads(network: nn.Module) -> dict[nn.Module, int]:
    """``num_heads`` as its examples fill it: for each layer of queries, keys or values, the heads it makes."""
    found: dict[nn.Module, int] = {}
    for module in network.modules():
        heads = _attribute(module, HEADS)
        if heads is None:
            continue
        if isinstance(module, nn.MultiheadAttention):
            found[module] = heads
            continue
        key_heads = _attribute(module, KEY_HEADS) or heads
        for names, number in (((*FUSED, *QUERIES), heads), (KEYS_VALUES, key_heads)):
            for name in names:
                layer = getattr(module, name, None)
                if isinstance(layer, nn.Linear):
                    found[layer] = number
    return found


def set_attention_sizes(network: nn.Module) -> None:
    """Put right what attention modules remember of their sizes."""
    for module in network.modules():
        heads = _attribute(module, HEADS)
        if heads is None or isinstance(module, nn.MultiheadAttention):
            continue
        for names, parts in ((QUERIES, 1), (FUSED, 3)):
            for layer in (getattr(module, name, None) for name in names):
                if isinstance(layer, nn.Linear):
                    size = layer.out_features // parts
                    _set_existing(module, HEAD_SIZES, size // heads)
                    _set_existing(module, ALL_HEADS_SIZES, size)


def output_layers(network: nn.Module, example: Any) -> list[nn.Module]:
    """The layers whose outputs reach the network's output without passing another layer that mixes channels.

    Found by walking autograd's graph back from the output.
    """
    owners: dict[int, list[nn.Module]] = {}
    for module in network.modules():
        parameters = module.parameters() if isinstance(module, nn.MultiheadAttention) else module.parameters(False)
        for p in parameters:
            owners.setdefault(id(p), []).append(module)
    args, kwargs = call_arguments(example)
    pending = [x.grad_fn for x in tensors_in(network(*args, **kwargs)) if x.grad_fn is not None]
    seen: set[Any] = set()
    found: list[nn.Module] = []
    while pending:
        node: Any = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        inputs = [n for n, _ in node.next_functions if n is not None]
        layers = [m for p in map(_parameter, inputs) if p is not None for m in owners.get(id(p), [])]
        makers = [m for m in layers if isinstance(m, MAKERS)]
        found += [m for m in dict.fromkeys(makers) if m not in found]
        if not makers or all(_follows(m) for m in makers):
            pending += inputs
    return found


def _follows(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.conv._ConvNd) and 1 < module.groups == module.in_channels


def _parameter(node: Any) -> torch.Tensor | None:
    """The parameter behind an autograd node, through views alone."""
    while node is not None:
        variable = getattr(node, "variable", None)
        if variable is not None:
            return variable
        inputs = [n for n, _ in node.next_functions if n is not None]
        if len(inputs) != 1 or not node.name().startswith(VIEWS):
            return None
        node = inputs[0]
    return None


def _attribute(module: nn.Module, names: tuple[str, ...]) -> int | None:
    values = [getattr(module, name, None) for name in names]
    return next((v for v in values if isinstance(v, int)), None)


def _set_existing(module: nn.Module, names: tuple[str, ...], value: int) -> None:
    for name in names:
        if isinstance(getattr(module, name, None), int):
            setattr(module, name, value)
