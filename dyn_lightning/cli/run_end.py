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
from dyn_lightning.module.artifact import summary
from dyn_lightning.runs.environment import typed
from dyn_lightning.runs.folder import CONFIG

PREDICTED = ("FrameDetection", "SpoofDetection")
"""Tasks that ``predict`` does."""
OF_FRAMES = ("sample_rate", "hop_length", "first_frame_centre_s")
"""What a network of frames says of them by its attributes."""

_SHARES = ("eer", "accuracy", "error_rate", "miss_rate", "false_alarm_rate", "recall", "precision", "f1")


def shown(name: str, value: float) -> str:
    """A metric for people: four digits, and a share of 1 in percent, as ``score`` and the report say it.

    >>> shown("test/eer_A01", 0.0651234), shown("val/loss", 0.123456)
    ('6.51 %', '0.1235')
    """
    last = name.rpartition("/")[2]
    if any(last == share or last.startswith(f"{share}_") for share in _SHARES) and not last.endswith("_at_budget"):
        return f"{100 * value:.2f} %"
    return f"{value:.4g}"


def metric_lines(metrics: Mapping[str, Any], indent: str = "") -> list[str]:
    """Metrics in one line for each data set: ``val: loss 0.1235, eer 6.51 %``.

    Args:
        metrics: ``<data set>/<metric>`` → value; those of training are left out.
        indent: before each line.
    """
    sets: dict[str, list[str]] = {}
    for name, value in metrics.items():
        group, _, last = name.partition("/dataloader_idx_")[0].rpartition("/")
        if group and not group.startswith("train"):
            text = f"{last} {shown(name, float(value))}"
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
    callbacks: Iterable[Any] = trainer.callbacks  # type: ignore[attr-defined]
    made = next((c for c in callbacks if isinstance(c, Consolidate) and c.written is not None), None)
    if made is not None and made.report is not None and made.written is not None:
        lines += summary(made.report, made.written).splitlines()
        lines.append(f"artifact: {_short(made.written)}")
    best, score = _best(trainer)
    if best:
        lines.append(f"best checkpoint: {_short(best)}" + (f" ({score})" if score else ""))
    lines += metric_lines(metrics)
    if results is not None:
        lines.append(f"record: a line of {_short(results)}")
    lines.append(f"next: {_next(trainer, folder, None if made is None else made.written, best)}")
    return "\n".join(lines)


def _next(trainer: Trainer, folder: Path, artifact: Path | None, checkpoint: str) -> str:
    """The command that most will want: the small network on audio, else what there is to see of it."""
    module: Any = trainer.lightning_module
    task = getattr(getattr(module, "task", None), "name", None)
    if artifact is not None and task in PREDICTED and not lacking_for_predict(module):
        return f"{typed(['dyn-lightning', 'predict', '--artifact', str(artifact)])} --audio FILE"
    if checkpoint and (folder / CONFIG).is_file():
        return typed(["dyn-lightning", "test", "-c", str(folder / CONFIG), "--ckpt_path", str(checkpoint)])
    return typed(["dyn-lightning", "fit", "-c", str(folder / CONFIG)])


def lacking_for_predict(module: Any) -> str:
    """What ``predict`` will want of a network of frames that its attributes do not say; "" where nothing is lacking."""
    if getattr(getattr(module, "task", None), "name", None) != PREDICTED[0]:
        return ""
    network = getattr(module, "network", None)
    absent = [name for name in OF_FRAMES if getattr(network, name, None) is None]
    if not absent:
        return ""
    return (
        f"the network has no {', '.join(absent)}: predict cannot place its frames in time. Set them as attributes "
        "(self.hop_length = 256) in its __init__, in samples, Hz and seconds"
    )


def _best(trainer: Trainer) -> tuple[str, str]:
    """The checkpoint that ships, and what it was best in."""
    path = final_checkpoint(trainer)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None and path in callback.best_k_models:
            return path, f"{callback.monitor} {shown(callback.monitor, float(callback.best_k_models[path]))}"
    return path, ""


def _short(path: str | os.PathLike[str]) -> str:
    """A path from the working directory where it lies below that."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
