"""What stands in a checkpoint, seen through before it is loaded: sizes that exist, weights that are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.errors import UserError
from dyn_lightning.widths.width import Width

MEND = "Give another checkpoint of the run"


def check_state(content: Mapping[str, Any], module: nn.Module, file: str) -> None:
    """See that a checkpoint's sizes and weights can be those of a module.

    Keys that are missing or too many are left to ``load_state_dict``.

    Args:
        content: of the checkpoint.
        module: into which it is to be loaded.
        file: the checkpoint's name.

    Raises:
        UserError: names the file and what is wrong in it.
    """
    state = content.get("state_dict")
    if not isinstance(state, Mapping):
        raise UserError(f"{file}: is no checkpoint of a fit, it has no state_dict. {MEND}")
    widths: Mapping[str, Width] = getattr(module, "widths", {})
    units = content.get("widths", {})
    for name in units.keys() & widths.keys():
        _check_units(units[name], widths[name], name, file)
    for name, width in module.named_modules():
        if isinstance(width, Width):
            _check_width({k: state.get(f"{name}.{k}") for k in ("_frozen_size", "_samples")}, width, name, file)
    for key, most in (("_phase", 2), ("_search_steps", 2**62)):
        if key in state and not _whole(state[key], 0, most):
            raise UserError(f"{file}: {key.strip('_')} is {_told(state[key])}, which cannot be. {MEND}")
    for name, _ in module.named_parameters():
        if isinstance(value := state.get(name), Tensor) and not bool(value.isfinite().all()):
            raise UserError(f"{file}: {name} holds NaN or infinity: training had failed by then. {MEND}")
    network = getattr(module, "network", None)
    for name, _ in network.named_buffers() if isinstance(network, nn.Module) else ():
        if isinstance(value := state.get(f"network.{name}"), Tensor) and bool(value.isnan().any()):
            raise UserError(f"{file}: network.{name} holds NaN: training had failed by then. {MEND}")
    if isinstance(threshold := state.get("threshold"), Tensor) and bool(threshold.isinf().any()):
        raise UserError(f"{file}: the threshold is {_told(threshold)}, which decides nothing. {MEND}")


def _check_units(units: Any, width: Width, name: str, file: str) -> None:
    """See that [``multiple_of``, ``lam_min``] can be those of a width."""
    try:
        multiple_of, lam_min = units
        width.check_limits(float(lam_min), multiple_of)
    except (TypeError, ValueError, OverflowError) as error:
        told = f"multiple_of and lam_min of {name} are {units}: not of {width.full_size}"
        raise UserError(f"{file}: {told}. {MEND}") from error


def _check_width(state: Mapping[str, object], width: Width, name: str, file: str) -> None:
    full = width.full_size
    for value, low in ((state["_frozen_size"], -1), (state["_samples"], 1)):
        if value is not None and not (_whole(value, low, full) and not bool((torch.as_tensor(value) == 0).any())):
            raise UserError(f"{file}: the size of {name} is {_told(value)}: it must lie in 1…{full}. {MEND}")


def _whole(value: Any, low: int, high: int) -> bool:
    """Whether a tensor holds whole numbers in [low, high] alone."""
    if not isinstance(value, Tensor) or value.is_complex():
        return False
    x = value.double()
    return bool(((x == x.floor()) & (x >= low) & (x <= high)).all())


def _told(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value
