"""``fit --uniform_like`` and ``--uniform_share``: the baseline of a run's cost, uniformly narrower."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from torch import Tensor, nn

from dyn_lightning.errors import SettingError
from dyn_lightning.files import read_json
from dyn_lightning.module.artifact import short_count
from dyn_lightning.network.plain import example_input
from dyn_lightning.uniform import uniform_arguments

UNIT = "flops_per_second"


def add_uniform_options(parser: ArgumentParser) -> None:
    """Add ``--uniform_like`` and ``--uniform_share``."""
    parser.add_argument(
        "--uniform_like",
        type=str | None,
        default=None,
        help="fit: a baseline of this artifact's cost, the backbone with all its sizes narrower by one factor.",
    )
    parser.add_argument(
        "--uniform_share",
        type=float | None,
        default=None,
        help="fit: the same at this share of the learnable FLOPs.",
    )


def make_uniform(config: Namespace) -> str | None:
    """Turn the configuration of a fit into a uniform baseline, where it asks for one.

    The backbone's arguments become those of the narrower network, nothing is learned, and the options are taken out:
    the configuration that the run saves is that of a plain baseline.

    Args:
        config: of the command; changed in place.

    Returns:
        What was chosen, in one line; None where no baseline is asked for.

    Raises:
        SettingError: for both options, an artifact without its cost or of another unit, a backbone without sizes.
    """
    like, share = config.pop("uniform_like", None), config.pop("uniform_share", None)
    config.uniform_like = config.uniform_share = None
    if like is None and share is None:
        return None
    if like is not None and share is not None:
        raise SettingError("--uniform_like and --uniform_share: give one of them")
    model = config.model
    backbone, duration_s, shape = model.backbone, model.get("example_duration_s"), model.get("example_shape")
    flops = None if like is None else _cost_of(Path(like), "flops_per_call" if duration_s is None else UNIT)

    def example_of(network: nn.Module) -> Tensor:
        return example_input(network, duration_s, shape)

    arguments = {name: _made(value) for name, value in dict(backbone.get("init_args") or {}).items()}
    make = functools.wraps(found := _imported(backbone.class_path))(lambda **given: found(**given))
    make.__signature__ = inspect.signature(found)  # type: ignore[attr-defined]
    chosen, cost, budget = uniform_arguments(make, arguments, example_of, duration_s, share=share, flops=flops)
    full = {name: arguments.get(name, inspect.signature(found).parameters[name].default) for name in chosen}
    if backbone.get("init_args") is None:
        backbone.init_args = Namespace()
    for name, value in chosen.items():
        backbone.init_args[name] = list(value) if isinstance(value, (list, tuple)) else value
    model.dynamic, model.objective = [], None
    if config.get("name") is None:
        config.name = f"uniform {100 * share:g} %" if share is not None else f"uniform like {like}"
    unit = "FLOPs per call" if duration_s is None else "FLOPs per second"
    sizes = ", ".join(f"{name} {_told(full[name])} → {_told(value)}" for name, value in chosen.items())
    return f"uniform: {sizes}; {short_count(cost)} of {short_count(budget)} {unit}"


def _cost_of(artifact: Path, unit: str) -> float:
    path = artifact / "report.json"
    report = read_json(path)
    flops = report.get("flops") if isinstance(report, Mapping) else None
    if not isinstance(flops, (int, float)) or isinstance(flops, bool) or not flops > 0:
        raise SettingError(f"{path}: does not say what the network costs. Give the artifact of a run")
    if report.get("unit", unit) != unit:
        raise SettingError(f"{path}: counts {report['unit']}, and this run {unit}: give the same example_duration_s")
    return float(flops)


def _made(value: Any) -> Any:
    """An argument, and a module where the argument says of which class one is to be made."""
    if isinstance(value, (Namespace, dict)) and "class_path" in value:
        arguments = dict(value.get("init_args") or {})
        return _imported(value["class_path"])(**{k: _made(v) for k, v in arguments.items()})
    return value


def _imported(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def _told(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
