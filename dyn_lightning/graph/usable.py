"""Networks that cannot be read as they are: what is compiled is unwrapped, the rest is refused in one line."""

from __future__ import annotations

import copy
import warnings
from typing import TypeVar

import torch
from torch import nn

from dyn_lightning.errors import SettingError
from dyn_lightning.graph.declared import LAYERS, is_leaf

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def usable(network: AnyModule) -> AnyModule:
    """The network, or one that shares its tensors in which compiled modules are what they were compiled from.

    Raises:
        SettingError: where a module is scripted or traced, or has no parameters yet, or is a layer by itself.
    """
    compiled = {name: m for name, m in network.named_modules() if _original(m) is not None}
    if compiled:
        named = ", ".join(name or "the network" for name in compiled)
        warnings.warn(
            f"dynamize: {named} is compiled: what it was compiled from is taken. Compile what consolidate gives, or "
            "use DynamicModule(…, compile=True)",
            stacklevel=3,
        )
    while (original := _original(network)) is not None:
        network = original
    inner = {id(m): _original(m) for m in network.modules() if _original(m) is not None}
    if inner:
        tensors = {id(x): x for x in (*network.parameters(), *network.buffers())}
        network = copy.deepcopy(network, {**tensors, **inner})
    for name, module in network.named_modules():
        what = name or "the network"
        if isinstance(module, torch.jit.ScriptModule):
            raise SettingError(
                f"dynamize: {what} is a scripted or traced module (torch.jit), whose code cannot be followed. Give the "
                "nn.Module that it was made of"
            )
        own = (*module._parameters.values(), *module._buffers.values())
        if any(isinstance(x, (nn.UninitializedParameter, nn.UninitializedBuffer)) for x in own):
            raise SettingError(
                f"dynamize: {what} is a {type(module).__name__} that has no parameters yet. Call the network once with "
                "the example input first"
            )
    if is_leaf(network) and (LAYERS[type(network)].names or [*network.parameters()]):
        raise SettingError(
            f"dynamize: the network is a {type(network).__name__} by itself. Put it into a module, as "
            "nn.Sequential(layer), or into one of your own"
        )
    return network


def _original(module: AnyModule) -> AnyModule | None:
    """What a module was compiled from, if it was."""
    found = getattr(module, "_orig_mod", None)
    compiled = isinstance(found, nn.Module)  # torch.compile says as well that it answers what it was given
    return found if compiled else None
