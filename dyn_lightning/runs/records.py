"""What is kept of a finished run: one JSON line."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dyn_lightning.errors import UserError
from dyn_lightning.files import append_line, read_text, replace_lines
from dyn_lightning.module import DynamicModule
from dyn_lightning.runs import environment
from dyn_lightning.runs.history import brief_history
from dyn_lightning.runs.identity import file_of_checkpoint
from dyn_lightning.runs.latest import is_same_run, latest_records, left_out


def append_result(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Append one JSON line to a file; several processes may do so at once.

    Args:
        path: a ``.jsonl`` file; made, with its folders, where absent.
        record: JSON values; NaN and infinities become null.

    Raises:
        TypeError: if a value is not JSON.
        FileError: if the line cannot be written as a whole; then none of it is.
    """
    append_line(path, json.dumps(_finite(record), sort_keys=True, allow_nan=False))


def keep_result(path: str | os.PathLike[str], record: Mapping[str, Any], *, went_on_from: str | None) -> None:
    """Append the record of a run; of one that went on from a checkpoint, in place of the line that it left before.

    A run that was stopped after its record was written, and then goes on, has one line all the same. With another
    configuration, such as more epochs, it is another run.

    Args:
        path: see :func:`append_result`.
        record: see :func:`append_result`.
        went_on_from: the checkpoint, if any.

    Raises:
        TypeError: if a value is not JSON.
        FileError: if the file cannot be written; it is then as it was.
    """
    if went_on_from is None:
        append_result(path, record)
        return
    former = file_of_checkpoint(went_on_from)

    def replaced(line: str) -> bool:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return False
        return isinstance(found, dict) and is_same_run(found, record, former)

    replace_lines(path, json.dumps(_finite(record), sort_keys=True, allow_nan=False), replaced)


def read_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All records of a file that :func:`append_result` wrote, as :func:`read_lines` gives them."""
    return [record for _, record in read_lines(path)]


def read_lines(path: str | os.PathLike[str]) -> list[tuple[int, dict[str, Any]]]:
    """Line number and record of each line of a file that :func:`append_result` wrote.

    A line that was cut off, by a full disk or a power cut, is left out, which is said once.

    Raises:
        UserError: names the file that cannot be read, or the line that is no JSON object.
    """
    records = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if _is_cut_off(line, error):
                _say(f"{path}, line {number}: is cut off, and is left out")
                continue
            raise UserError(f"{path}, line {number}: is no JSON ({error}). Remove the line") from error
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: is no JSON object. Remove the line")
        records.append((number, record))
    return records


def _is_cut_off(line: str, error: Exception) -> bool:
    """Whether a line is the beginning of a JSON object, and no more; or the zeros of a power cut."""
    if "\0" in line:
        return True
    if not (line.startswith("{") and isinstance(error, json.JSONDecodeError)):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(line.rstrip())


@functools.cache
def _say(text: str) -> None:
    """Say something on stderr, once in a process: a journal is read again and again."""
    logging.getLogger(__name__).warning(text)


def read_runs(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The latest record of each run of a file; says on the error output where others are left out.

    Raises:
        FileError: as :func:`read_results`.
    """
    records = read_results(path)
    latest = latest_records(records)
    if note := left_out(len(records) - len(latest)):
        _say(f"{path}: {note}")
    return latest


def result_record(
    module: DynamicModule,
    *,
    metrics: Mapping[str, Any],
    config: Mapping[str, object],
    seed: int | None,
    dataset: str,
    wall_time_s: float,
    history: Mapping[str, Sequence[float]] | None = None,
    command: str | None = None,
) -> dict[str, object]:
    """The record of a finished run: what was run and with what, what came out, and what it cost.

    Args:
        module: after the run; its sizes are those kept.
        metrics: name → value, of validation and test.
        config: everything that decides the run, as JSON values; its hash tells runs apart.
        seed: of the run.
        dataset: name of the data set.
        wall_time_s: duration of the run.
        history: of ``ComplexityLogger``; what changed in it is kept, see ``brief_history``.
        command: that makes the run again; this process's own when absent.
    """
    complexity = module.complexity
    unit, full, now = complexity.unit, complexity.full_sizes, complexity.sizes_now
    device = _device_of(module)
    record = {
        "config_hash": config_hash(config),
        "config": dict(config),
        "seed": seed,
        "dataset": dataset,
        "metrics": {name: float(value) for name, value in metrics.items()},
        "metric_info": {name: found.as_dict() for name, found in module.metric_info.items() if name in metrics},
        unit: complexity.flops_at(now),
        f"{unit}_before": complexity.flops_at(full),
        f"{unit}_fixed": complexity.fixed_flops(),
        f"{unit}_paper": complexity.flops_at(now, "paper"),
        f"{unit}_paper_before": complexity.flops_at(full, "paper"),
        "parameters": complexity.parameters_at(now),
        "parameters_before": complexity.parameters_at(full),
        "widths": {name: [now[name], full[name]] for name in full},
        "phase": module.phase,
        "wall_time_s": round(wall_time_s, 3),
        "finished_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": environment.versions(device),
        "device": environment.device_name(device),
        "platform": environment.platform_name(),
        "threads": torch.get_num_threads(),
    }
    known = {
        "command": environment.command_line() if command is None else command,
        "revision": environment.revision(),
        "history": brief_history(history or {}),
    }
    return record | {name: value for name, value in known.items() if value}


def _device_of(module: DynamicModule) -> torch.device:
    """Where a module was trained: Lightning brings it back to the CPU afterwards."""
    try:
        device: torch.device = module.trainer.strategy.root_device
    except (RuntimeError, ReferenceError):  # never trained, or its trainer is gone
        device = module.device
    return device


def config_hash(config: Mapping[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a configuration, whatever the order of its keys."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
