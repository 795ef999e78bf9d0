"""What each source of a command line says by itself: its configuration files in their order, and its options."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dyn_lightning.costs.budgets import WAYS as FLOPS_WAYS
from dyn_lightning.errors import SettingError
from dyn_lightning.files import read_text

CONFIG = ("-c", "--config")
OPTIONS = "the command line"
WAYS = (*FLOPS_WAYS, "limit")
_ENDINGS = (".yaml", ".yml", ".json")
MOVED = {
    "dyn_lightning.data.filter_bank.": "dyn_lightning.data.synthetic_spectra.",
    "dyn_lightning.report.wandb_report.": "dyn_lightning.callbacks.wandb_report.",
    "dyn_lightning.sweep.ScoreAtBudget": "dyn_lightning.callbacks.ScoreAtBudget",
    "dyn_lightning.sweep.score_at_budget.": "dyn_lightning.callbacks.score_at_budget.",
}
"""How class paths that configurations may name began in version 0.1.0 → how they do now."""
GONE = {
    "--audit": "what public counters count has its own command: python -m experiments.audit -c FILE [--ckpt_path FILE]"
}
"""Options of version 0.1.0 → what stands in their place."""


def options(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of every option, given as ``--name value`` or ``--name=value``, in their order."""
    for i, argument in enumerate(args):
        if not argument.startswith("-") or argument == "-":
            continue
        name, equals, value = argument.partition("=")
        following = args[i + 1] if i + 1 < len(args) else ""
        yield name, value if equals else following


def files_first(args: Sequence[str]) -> list[str]:
    """The command, then its configurations in their order, then its options: what is given by hand holds.

    A run's own configuration names every option, ``ckpt_path: null`` among them; behind ``--ckpt_path FILE`` it would
    take that back.
    """
    files: list[str] = []
    others: list[str] = []
    following = False
    for argument in args[1:]:
        chosen = files if following or argument in CONFIG or argument.startswith("--config=") else others
        chosen.append(argument)
        following = argument in CONFIG
    return [*args[:1], *files, *others]


def with_nulls(args: Sequence[str]) -> list[str]:
    """The same command line, where Python's None stands as YAML's null, also within a list or dict.

    W&B's agent writes values as Python does; YAML would read the text "None".

    >>> with_nulls(["fit", "--a=None", "--b", "None", "--c={'x': None, 'y': True}", "--d=None.ckpt"])
    ['fit', '--a=null', '--b', 'null', '--c={"x": null, "y": true}', '--d=None.ckpt']
    """
    found = []
    for argument in args:
        if argument.startswith("-"):
            name, equals, value = argument.partition("=")
            found.append(f"{name}{equals}{_as_yaml(value)}")
        else:
            found.append(_as_yaml(argument))
    return found


def _as_yaml(value: str) -> str:
    if value != "None" and not (value.startswith(("{", "[")) and "None" in value):
        return value
    try:
        return json.dumps(ast.literal_eval(value))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value  # is no Python


def flag(args: Sequence[str], name: str) -> bool:
    """Whether a switch is on: ``--name`` alone, or with true."""
    values = [value for found, value in options(args) if found == name]
    return bool(values) and (values[-1].startswith("-") or values[-1].lower() in ("", "true", "yes", "1"))


def configurations(args: Sequence[str]) -> list[tuple[str, object]]:
    """(file, content) of the configurations; those that cannot be read are left to whoever parses them."""
    found = []
    for name, value in options(args):
        if name in CONFIG:
            content = _yaml(value)
            if content is not None:
                found.append((value, content))
    return found


def check_readable(args: Sequence[str]) -> None:
    """Raises SettingError, naming the file, where a configuration is no UTF-8 text: who parses it says no name."""
    for name, value in options(args):
        if (name in CONFIG or value.endswith(_ENDINGS)) and Path(value).is_file() and "\0" in read_text(value):
            raise SettingError(f"{value}: is no UTF-8 text. Save the file as UTF-8")


def check_moved(args: Sequence[str]) -> None:
    """Raises SettingError where a configuration or an option names what an earlier version had elsewhere."""
    for name, _ in options(args):
        if name in GONE:
            raise SettingError(f"{name}: {GONE[name]}")
    named = [(path, text) for path, content in configurations(args) for text in _strings(content)]
    for source, text in [*named, *((OPTIONS, value) for _, value in options(args))]:
        for old, new in MOVED.items():
            if text.startswith(old):
                raise SettingError(f"{source}: write {new}{text.removeprefix(old)} in place of {text}")


def given_strings(args: Sequence[str]) -> set[str]:
    """Every string that the user gave, in configurations and on the command line."""
    found = {value for _, value in options(args)}
    for _, content in configurations(args):
        found |= set(_strings(content))
    for _, value in options(args):
        if value.startswith(("{", "[")):
            found |= set(_strings(_parsed(value)))
    return found


def displaced_budgets(args: Sequence[str], checkpoint: Mapping[str, object] | None = None) -> list[str]:
    """Options that take back the budgets which a later source states in another way.

    A budget is a share, a share of all, FLOPs per second, or another limit: one of them on the command line takes the
    place of another in a file, and in a later file of one in a file before. Both in one source stay, and are refused
    later.

    Args:
        args: the command line.
        checkpoint: the model's settings in a checkpoint, which come first.
    """
    budgets: list[tuple[str, str]] = []  # (source, way), in their order
    kind: str | None = None
    for source, objective in _objectives(args, checkpoint):
        if (named := objective.get("class_path")) is not None:
            if kind is not None and named.rpartition(".")[2] != kind.rpartition(".")[2]:
                budgets.clear()  # the arguments of another class are dropped
            kind = named
        budgets += [(source, way) for way in WAYS if objective.get(way) not in (None, "null", "None", "")]
    if not budgets:
        return []
    last = budgets[-1][0]
    kept = {way for source, way in budgets if source == last}
    return [f"--model.objective.init_args.{way}=null" for way in WAYS if way in {w for _, w in budgets} - kept]


def _objectives(args: Sequence[str], checkpoint: Mapping[str, object] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(source, what it says of the objective, without ``init_args`` in between), in their order."""
    if checkpoint is not None:
        yield "the checkpoint", _flat(checkpoint.get("objective"))
    for number, (name, value) in enumerate(options(args)):
        if name in CONFIG:
            content = _yaml(value)
            model = content.get("model") if isinstance(content, Mapping) else None
            yield f"{number} {value}", _flat(model.get("objective") if isinstance(model, Mapping) else None)
        elif name == "--model.objective":
            parsed = _yaml(value) if value.endswith(_ENDINGS) else _parsed(value)
            yield OPTIONS, _flat(parsed)
        elif name.startswith("--model.objective."):
            setting = name.removeprefix("--model.objective.").removeprefix("init_args.")
            yield OPTIONS, {setting.partition(".")[0]: value}


def _flat(objective: object) -> dict[str, Any]:
    if isinstance(objective, str):
        return {"class_path": objective}
    if not isinstance(objective, Mapping):
        return {}
    inner = objective.get("init_args")
    return {**{k: v for k, v in objective.items() if k != "init_args"}, **(inner if isinstance(inner, Mapping) else {})}


def _yaml(path: str) -> Any:
    try:
        return _parsed(read_text(path))
    except (OSError, ValueError):
        return None


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
