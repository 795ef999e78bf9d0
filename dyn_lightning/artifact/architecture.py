"""How a network was built, as JSON values: its class and arguments, and each of its layers."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

import dyn_lightning
import dyn_lightning.layers  # what layers can be described
from dyn_lightning.errors import ArtifactError
from dyn_lightning.modules.kinds import build_layer, describe_layer, is_known

MEND = "Give the arguments that the network was made from (init_args, or backbone=)"


def walk(module: nn.Module, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, nn.Module]]:
    """Every module once under its first name; known layers are not entered."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    yield name, module
    if not is_known(module):
        for child_name, child in module._modules.items():
            if child is not None:
                yield from walk(child, f"{name}.{child_name}" if name else child_name, seen)


def describe(module: nn.Module) -> dict[str, object]:
    """A known layer is described; of others the class and what would tell another construction apart."""
    if is_known(module):
        return describe_layer(module)
    description: dict[str, object] = {"class": type(module).__name__}
    if module._modules:
        description["attributes"] = {
            k: v for k, v in vars(module).items() if _is_scalar(v) and not k.startswith("_") and k != "training"
        }
    else:
        description["repr"] = module.extra_repr()
    return description


def _is_scalar(value: Any) -> bool:
    return type(value) in (bool, int, float, str)


def guess_backbone(small: nn.Module) -> dict[str, object]:
    cls = type(small)
    kept = {name: getattr(small, name, None) for name in inspect.signature(cls).parameters}
    init_args = {name: value for name, value in kept.items() if _is_scalar(value)}
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args}


def rebuild(network: nn.Module, descriptions: Mapping[str, Mapping[str, object]]) -> None:
    """Replace a full-size network's layers by those described; whatever is not replaced must be the same."""
    modules = dict(walk(network))
    if modules.keys() != descriptions.keys():
        odd = sorted(modules.keys() ^ descriptions.keys())
        raise ArtifactError(f"the backbone has other modules than the artifact: {', '.join(odd)}. {MEND}")
    replaced: dict[int, nn.Module] = {}
    for name, description in descriptions.items():
        module = modules[name]
        if "kind" in description:
            _check_no_larger(name, module, description)
            replaced[id(module)] = build_layer(description)
            continue
        found, expected = describe(module), {k: v for k, v in description.items() if k not in ("sizes", "tensors")}
        if found != expected:
            raise ArtifactError(f"{name or 'the backbone'} is {found}, was {dict(description)}. {MEND}")
        _resize(module, description)
    for parent in list(network.modules()):
        for child_name, child in parent._modules.items():
            if id(child) in replaced:
                parent._modules[child_name] = replaced[id(child)]


def _check_no_larger(name: str, module: nn.Module, description: Mapping[str, Any]) -> None:
    """Raise ArtifactError where a layer's options are of another form than in the full-size network, or larger."""
    if not is_known(module) or type(module).__name__ != description["kind"]:
        return
    full = describe_layer(module)["options"]
    for key, value in description.get("options", {}).items():
        old = full.get(key)
        if old is None or value is None:
            continue
        pairs = list(zip(_several(value), _several(old), strict=False))
        same = len(_several(value)) == len(_several(old)) and all(type(a) is type(b) for a, b in pairs)
        if not same or any(_is_larger(a, b) for a, b in pairs):
            raise ArtifactError(f"{name}: its {key} is {value}, in the full-size network {old}. {MEND}")


def _is_larger(new: object, old: Any) -> bool:
    """Whether one integer is no share of another: larger, or of another sign."""
    return type(new) is int and not (min(old, 0) <= new <= max(old, 0) and (new == 0) == (old == 0))


def _several(value: Any) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def learned_sizes(full: nn.Module, small: nn.Module) -> dict[str, dict[str, Any]]:
    """What became smaller outside the layers: integers in the modules' attributes (``self.num_heads``), and parameters
    and buffers that belong to no known layer. Module name → ``sizes`` and ``tensors`` (their shapes).
    """
    others, learned = dict(walk(small)), {}
    for name, module in walk(full):
        other = others.get(name)
        if other is None or is_known(module) or type(other) is not type(module):
            continue
        sizes = {k: v for k, v in vars(other).items() if k[0] != "_" and _is_smaller(v, vars(module).get(k))}
        before, after = _own_tensors(module), _own_tensors(other)
        tensors = {k: list(t.shape) for k, t in after.items() if k in before and _is_smaller(t.shape, before[k].shape)}
        if sizes or tensors:
            learned[name] = {"sizes": sizes, "tensors": tensors}
    return learned


def _own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers that a module holds itself and that are saved."""
    saved = {**module._parameters, **module._buffers}
    return {k: t for k, t in saved.items() if t is not None and k not in module._non_persistent_buffers_set}


def check_constants(network: nn.Module, small: nn.Module) -> None:
    """Raise ArtifactError where a buffer that is not saved is another than in the network to be saved."""
    expected = dict(small.named_buffers())
    saved = small.state_dict().keys()
    for name, buffer in network.named_buffers():
        if name not in saved and name in expected and not torch.equal(buffer.cpu(), expected[name].cpu()):
            raise ArtifactError(f"its buffer {name} is not saved, and the class alone makes another one")


def _is_smaller(new: object, old: object) -> bool:
    if type(new) is int and type(old) is int:
        return 0 < new < old
    if not isinstance(new, (tuple, list)) or not isinstance(old, (tuple, list)) or len(new) != len(old):
        return False
    pairs = list(zip(new, old, strict=True))
    return all(type(x) is int for pair in pairs for x in pair) and new != old and all(0 < a <= b for a, b in pairs)


def _resize(module: nn.Module, description: Mapping[str, Any]) -> None:
    """Set what :func:`learned_sizes` found; only integers that are there, and only to smaller ones."""
    for name, size in description.get("sizes", {}).items():
        old = vars(module).get(name)
        if not _is_smaller(size, old):
            raise ArtifactError(f"{name} cannot become {size}: it is {old}. {MEND}")
        vars(module)[name] = tuple(size) if isinstance(old, tuple) else size
    for name, shape in description.get("tensors", {}).items():
        old = _own_tensors(module).get(name)
        if old is None or not _is_smaller(tuple(shape), tuple(old.shape)):
            raise ArtifactError(f"the tensor {name} cannot take the shape {shape}. {MEND}")
        new = torch.empty(shape, dtype=old.dtype)
        if name in module._parameters:
            module._parameters[name] = nn.Parameter(new, requires_grad=old.requires_grad)
        else:
            module._buffers[name] = new


def check_state(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in state.items()}
    odd = [k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)]
    if odd:
        lines = (f"{k}: expected {expected.get(k)}, found {found.get(k)}" for k in sorted(odd)[:5])
        raise ArtifactError("; ".join(lines))


def can_instantiate(entry: Mapping[str, object] | None, trusted: bool) -> bool:
    """Whether :func:`instantiate` would import the class, and it is there."""
    if entry is None or not (trusted or _is_ours(str(entry.get("class_path")))):
        return False
    module, _, name = str(entry.get("class_path")).rpartition(".")
    try:
        return hasattr(importlib.import_module(module), name)
    except (ImportError, ValueError):
        return False


def _is_ours(class_path: str) -> bool:
    return class_path.startswith(f"{dyn_lightning.__name__}.")


def instantiate(entry: Mapping[str, Any] | None, trusted: bool) -> nn.Module:
    if entry is None:
        raise ArtifactError("does not say how to make the backbone. Pass backbone=, a fresh full-size network")
    path = str(entry.get("class_path"))
    module, _, name = path.rpartition(".")
    if not (trusted or _is_ours(path)):
        raise ArtifactError(
            f"names the class {path}, which is not of this package and is not imported. Pass backbone=, "
            "a fresh full-size network of your own, or trusted=True if you trust the file's author"
        )
    try:
        cls = getattr(importlib.import_module(module), name)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise TypeError("it is no nn.Module")
        network: nn.Module = cls(**entry.get("init_args", {}))
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        raise ArtifactError(f"the backbone {path} cannot be made ({error}). Pass backbone=") from error
    return network
