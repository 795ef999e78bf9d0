"""What ``fit``, ``validate`` and ``test`` say at their end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from dyn_lightning.callbacks import Consolidate
from dyn_lightning.callbacks.final_checkpoint import final_checkpoint
from dyn_lightning.inference.predictors import predictor_named
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.module.artifact import summary
from dyn_lightning.runs.environment import typed
from dyn_lightning.runs.folder import CONFIG
from dyn_lightning.runs.measures import info_by_name

About = Mapping[str, MetricInfo]
"""Metric → what it is, as far as the task or a callback says."""


def shown(name: str, value: float, about: About) -> str:
    """A metric for people, as ``score`` and the report say it; of one that nobody declared its name tells."""
    return (about.get(name) or info_by_name(name)).shown(value)


def metric_lines(metrics: Mapping[str, Any], about: About, indent: str = "") -> list[str]:
    """Metrics in one line for each data set: ``val: loss 0.1235, eer 6.51 %``.

    Args:
        metrics: ``<data set>/<metric>`` → value; those of training are left out.
        about: what they are.
        indent: before each line.
    """
    sets: dict[str, list[str]] = {}
    for key, value in metrics.items():
        name = key.partition("/dataloader_idx_")[0]
        group, _, last = name.rpartition("/")
        if group and not group.startswith("train"):
            text = f"{last} {shown(name, float(value), about)}"
            if text not in sets.setdefault(group, []):
                sets[group].append(text)
    return [f"{indent}{group}: {', '.join(texts)}" for group, texts in sets.items()]


def end_of_fit(trainer: Trainer, folder: Path, metrics: Mapping[str, Any], results: str | None) -> str:
    """The block of lines that a fit ends with: artifact, best checkpoint, metrics, and the next command.

    Args:
        trainer: after the fit.
        folder: of the run.
        metrics: of its best checkpoint, where they were measured.
        results: file that the record was appended to.
    """
    lines = [""]
    callbacks: Iterable[object] = trainer.callbacks  # type: ignore[attr-defined]
    made = next((c for c in callbacks if isinstance(c, Consolidate) and c.written is not None), None)
    if made is not None and made.report is not None and made.written is not None:
        lines += summary(made.report, made.written).splitlines()
        lines.append(f"artifact: {_short(made.written)}")
    best, score = _best(trainer)
    if best:
        lines.append(f"best checkpoint: {_short(best)}" + (f" ({score})" if score else ""))
    lines += metric_lines(metrics, _about(trainer))
    if results is not None:
        lines.append(f"record: a line of {_short(results)}")
    lines.append(f"next: {_next(trainer, folder, None if made is None else made.written, best)}")
    return "\n".join(lines)


def _next(trainer: Trainer, folder: Path, artifact: Path | None, checkpoint: str) -> str:
    """The command that most will want: the small network on audio, else what there is to see of it."""
    module: object = trainer.lightning_module
    if artifact is not None and _predictor(module) and not lacking_for_predict(module):
        trusted = ["--trusted"] if "." in _predictor(module) else []  # a class of the user's own
        return f"{typed(['dyn-lightning', 'predict', *trusted, '--artifact', str(artifact)])} --audio FILE"
    if checkpoint and (folder / CONFIG).is_file():
        return typed(["dyn-lightning", "test", "-c", str(folder / CONFIG), "--ckpt_path", str(checkpoint)])
    return typed(["dyn-lightning", "fit", "-c", str(folder / CONFIG)])


def lacking_for_predict(module: Any) -> str:
    """What ``predict`` will want of the network that its attributes do not say; "" where nothing is lacking.

    Raises:
        SettingError: where the task names a predictor that there is not.
    """
    name = _predictor(module)
    if not name:
        return ""
    network = getattr(module, "network", None)
    wanted = predictor_named(name, type(module.task).__name__).wanted_attributes
    absent = [attribute for attribute in wanted if getattr(network, attribute, None) is None]
    if not absent:
        return ""
    return (
        f"the network has no {', '.join(absent)}: predict has to know. Set them as attributes "
        "(self.hop_length = 256) in its __init__, in samples, Hz and seconds"
    )


def _predictor(module: Any) -> str:
    """The predictor that the task names; "" for none."""
    return str(getattr(getattr(module, "task", None), "predictor", ""))


def _about(trainer: Trainer) -> About:
    found: About = getattr(trainer.lightning_module, "metric_info", {})
    return found


def _best(trainer: Trainer) -> tuple[str, str]:
    """The checkpoint that ships, and what it was best in."""
    path = final_checkpoint(trainer)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None and path in callback.best_k_models:
            value = shown(callback.monitor, float(callback.best_k_models[path]), _about(trainer))
            return path, f"{callback.monitor} {value}"
    return path, ""


def _short(path: str | os.PathLike[str]) -> str:
    """A path from the working directory where it lies below that."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
