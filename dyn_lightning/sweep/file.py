"""A W&B sweep file read, and the runs that it asks for, each with the command line that W&B's agent would run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dyn_lightning.errors import FileError
from dyn_lightning.files import read_text
from dyn_lightning.runs import config_hash
from dyn_lightning.sweep.space import Parameter, SweepError, draw, grid_values, read_parameter

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
_METHODS = ("grid", "random", "bayes", "custom")
_KEYS = (
    *("apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity", "project", "method"),
    *("command", "name", "run_cap", "metric", "metrics", "scheduler", "early_terminate", "parameters"),
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_ENVIRONMENT = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
_MACRO = re.compile(r"\$\{(.*)\}", re.S)


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        path: of the file.
        method: grid, random, bayes or custom.
        parameters: in order of name, as W&B has them.
        command: with its macros.
        program: what ``${program}`` stands for.
        metric: name of what is optimised, if any.
        goal: minimize or maximize.
        run_cap: most runs, if any.
        early_terminate: whether the file has W&B's server end runs early.
    """

    path: Path
    method: str
    parameters: tuple[Parameter, ...]
    command: tuple[str, ...]
    program: str | None
    metric: str | None
    goal: str
    run_cap: int | None
    early_terminate: bool


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Attributes:
        key: hash of the command line: the same run in every call, in whatever order.
        parameters: name → value.
        command: as the agent would run it.
    """

    key: str
    parameters: Mapping[str, Any]
    command: tuple[str, ...]


def read_sweep(path: str | os.PathLike[str]) -> Sweep:
    """Read a sweep file.

    Raises:
        SweepError: if it is missing, no YAML, or not what W&B takes.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(read_text(path))
    except FileError as error:
        raise SweepError(str(error)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SweepError(f"{path}: is no YAML ({error})") from error
    try:
        return _parse(path, content)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from error


def _parse(path: Path, content: object) -> Sweep:
    if not isinstance(content, Mapping):
        raise SweepError("must be a mapping with method and parameters")
    if strange := [str(key) for key in content if key not in _KEYS]:
        raise SweepError(f"unknown keys {', '.join(strange)}; there are {', '.join(_KEYS)}")
    method, parameters = _method(content), _parameters(content)
    metric, goal = _metric(content, method)
    command, program = _command(content)
    return Sweep(
        path=path,
        method=method,
        parameters=parameters,
        command=command,
        program=program,
        metric=metric,
        goal=goal,
        run_cap=_run_cap(content),
        early_terminate="early_terminate" in content,
    )


def _method(content: Mapping[str, object]) -> str:
    method: object = content.get("method")
    if method not in _METHODS:
        raise SweepError(f"method={method!r} must be one of {', '.join(_METHODS)}")
    return str(method)


def _parameters(content: Mapping[str, object]) -> tuple[Parameter, ...]:
    parameters = content.get("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise SweepError("must name parameters")
    if strange := [str(name) for name in parameters if not isinstance(name, str) or not _NAME.fullmatch(name)]:
        raise SweepError(f"names of parameters are letters, digits, dots, - and _, not {', '.join(strange)}")
    return tuple(read_parameter(name, parameters[name]) for name in sorted(parameters))


def _metric(content: Mapping[str, object], method: str) -> tuple[str | None, str]:
    """What is optimised, if anything, and whether it is to be small or large."""
    metric = content.get("metric") or {}
    if not isinstance(metric, Mapping) or (metric and "name" not in metric):
        raise SweepError(f"metric must be a mapping with a name, got {metric!r}")
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise SweepError(f"metric's goal={goal!r} must be minimize or maximize")
    if method == "bayes" and not metric:
        raise SweepError("method: bayes needs a metric")
    return metric.get("name"), goal


def _run_cap(content: Mapping[str, object]) -> int | None:
    run_cap = content.get("run_cap")
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise SweepError(f"run_cap={run_cap!r} must be a number of runs, 1 or more")
    return run_cap


def _command(content: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """The command with its macros, and what ``${program}`` stands for."""
    command = content.get("command") or DEFAULT_COMMAND
    if isinstance(command, str) or not isinstance(command, Sequence):
        raise SweepError(f"command must be a list of words, got {command!r}")
    program = content.get("program")
    if "${program}" in command and program is None:
        raise SweepError("needs a program, or a command without ${program}")
    return tuple(str(word) for word in command), program


def runs_of(sweep: Sweep, *, max_runs: int | None = None, seed: int = 0) -> list[SweepRun]:
    """The runs of a grid or of a random search, without those that would be equal.

    Args:
        sweep: the file.
        max_runs: at most so many, the file's ``run_cap`` being the other limit.
        seed: of the random search; run i is the same however many are asked for.

    Raises:
        SweepError: for another method, a parameter that fits no grid, or a random search without an end.
    """
    limits = [limit for limit in (sweep.run_cap, max_runs) if limit is not None]
    limit = min(limits) if limits else None
    if sweep.method == "grid":
        names = [parameter.name for parameter in sweep.parameters]
        try:
            lists = [grid_values(parameter) for parameter in sweep.parameters]
        except SweepError as error:
            raise SweepError(f"{sweep.path}: {error}") from error
        points = (dict(zip(names, values, strict=True)) for values in product(*lists))
    elif sweep.method == "random":
        if limit is None:
            raise SweepError(f"{sweep.path}: a random search has no end: give --max_runs, or run_cap in the file")
        points = (
            {parameter.name: draw(parameter, rng) for parameter in sweep.parameters}
            for rng in (np.random.default_rng((seed, number)) for number in range(limit))
        )
    else:
        raise SweepError(
            f"{sweep.path}: method: {sweep.method} needs W&B's server, which chooses each run by those before: "
            "run it with wandb sweep and wandb agent, or use method: grid or random here"
        )
    runs: dict[str, SweepRun] = {}
    for point in points:
        if limit is not None and len(runs) >= limit:
            break
        run = _run(sweep, {name: as_json(value) for name, value in point.items()})
        runs.setdefault(run.key, run)
    return list(runs.values())


def _run(sweep: Sweep, parameters: Mapping[str, Any]) -> SweepRun:
    command = command_line(sweep.command, parameters, program=sweep.program)
    return SweepRun(config_hash({"command": command}), parameters, tuple(command))


def as_json(value: Any) -> Any:
    """A value as it reaches the agent: W&B's server sends whole numbers without a decimal point."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def command_line(command: Sequence[str], parameters: Mapping[str, Any], *, program: str | None = None) -> list[str]:
    """The words that W&B's agent runs for ``command``.

    Args:
        command: with the macros ``${env}``, ``${interpreter}``, ``${program}``, ``${args}`` and ``${envvar:NAME}``.
        parameters: name → value, rendered as ``--name=value`` each.
        program: what ``${program}`` stands for.

    Raises:
        SweepError: for another macro.
    """
    macros: dict[str, list[str]] = {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [] if program is None else [program],
        "args": [f"--{name}={value}" for name, value in parameters.items()],
    }
    words: list[str] = []
    for given in command:
        # a variable that is absent leaves its name, as with the agent
        word = _ENVIRONMENT.sub(lambda match: os.environ.get(match[1], match[1]), given)
        macro = _MACRO.fullmatch(word)
        if macro is None:
            words.append(word)
        elif macro[1] in macros:
            words += macros[macro[1]]
        else:
            raise SweepError(
                f"command: {word} is not for this command line: use ${{args}}, which writes --name=value for every "
                "parameter (others drop options that are false, or the dashes)"
            )
    return words
