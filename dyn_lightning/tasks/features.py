"""Features inside a network, watched while it runs: of which layers, along which dimension, and how far from others.

Dimension letters: B batch, F features (of the watched dimension).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.inputs import tensors_in
from dyn_lightning.layers import DynamicLayer
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.widths.layout import Layout

_LEAST = 1e-6


@dataclass(frozen=True)
class Feature:
    """What a layer or block answers.

    Attributes:
        name: of the module in its network.
        dim: dimension of the features.
        size: their number at full size.
        layout: the learned sizes that they follow; None where they stay.
    """

    name: str
    dim: int
    size: int
    layout: Layout | None


def feature_of(network: nn.Module, name: str) -> Feature:
    """What is known of a module's answer; of a block what is known of its last layer's.

    Raises:
        SettingError: for a name that the network does not have, or a module without a layer that tells.
    """
    modules = dict(network.named_modules())
    if name not in modules:
        raise SettingError(f"features: no layer is called {name!r}; there are {', '.join(n for n in modules if n)}")
    for module in reversed(list(modules[name].modules())):
        if (found := _answer(module)) is not None:
            return Feature(name, *found)
    raise SettingError(f"features: {name} holds no layer whose size is known: name a layer inside or behind it")


def _answer(module: Any) -> tuple[int, int, Layout | None] | None:
    """(dimension, full size, layout) of what a layer answers; None of one that is not known."""
    followers = (*_NORMS, nn.LayerNorm, nn.RMSNorm)
    layout: Layout | None = None
    if isinstance(module, DynamicLayer):
        layout = module.in_width if isinstance(module, followers) else module.out_width
    if isinstance(module, nn.Linear):
        return -1, module.out_features, layout
    if isinstance(module, nn.modules.conv._ConvNd):
        if isinstance(module, DynamicLayer) and layout is None and module.layouts()["bias"][0] is not None:
            layout = module.layouts()["bias"][0]  # depthwise
        return -1 - len(module.kernel_size), module.out_channels, layout
    if isinstance(module, nn.RNNBase):
        size = module.proj_size or module.hidden_size
        return -1, size * (2 if module.bidirectional else 1), layout
    if isinstance(module, _ATTENTION):
        return _answer(module.out_proj)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return -1, module.normalized_shape[-1], layout
    if isinstance(module, nn.GroupNorm):
        return 1, module.num_channels, layout
    if isinstance(module, _NORMS):
        return 1, int(module.num_features), layout  # type: ignore[arg-type]
    return None


_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def whole_features(network: nn.Module) -> list[str]:
    """Layers whose output stays whole while what they read is learned: where imitation costs no map.

    Of an attention's output projection it is the attention, which others call.
    """
    modules = dict(network.named_modules())
    inside = {f"{n}.out_proj": n for n, m in modules.items() if isinstance(m, _ATTENTION)}
    found: dict[str, None] = {}
    for name, module in modules.items():
        if not isinstance(module, DynamicLayer) or not isinstance(module, _PRODUCERS):
            continue
        answer = _answer(module)
        if module.widths() and answer is not None and answer[2] is None:
            found[str(inside.get(name, name))] = None
    return [name for name in found if name not in inside]


_ATTENTION = (nn.MultiheadAttention, SlimMultiheadAttention)
_PRODUCERS = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, *_ATTENTION)


@contextmanager
def watching(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What the named modules answer in calls within the block: the last answer of each, its first tensor.

    Hooks stand for the block alone: none is copied, pickled, exported or left behind.
    """
    seen: dict[str, Tensor] = {}
    modules = dict(network.named_modules())

    def see(name: str) -> Any:
        def hook(_module: nn.Module, _args: object, output: Any) -> None:
            found = tensors_in(output)
            if found:
                seen[name] = found[0]

        return hook

    with ExitStack() as stack:
        for name in names:
            handle = modules[name].register_forward_hook(see(name))
            stack.callback(handle.remove)
        yield seen


def imitation_loss(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Mean absolute error over the teacher's mean absolute value, and the cosine's part, 0-d; zero where both agree.

    As DPHuBERT (arXiv 2305.17651, section 2.3) has it, ``L1 − log σ(cos)``, the absolute error relative, so that
    layers of any scale count alike, and the cosine's part less what it is at a cosine of 1.

    Args:
        student, teacher: of one shape.
        dim: of the features, along which the cosine is.

    Raises:
        UserError: where the shapes differ.
    """
    if student.shape != teacher.shape:
        raise UserError(f"a feature is {tuple(student.shape)}, its teacher's {tuple(teacher.shape)}")
    student, teacher = student.float(), teacher.float()
    l1 = (student - teacher).abs().mean() / teacher.abs().mean().clamp_min(_LEAST)
    cosine = F.cosine_similarity(student, teacher, dim=dim)
    return l1 + (F.softplus(-cosine) - F.softplus(-cosine.new_ones(()))).mean()
