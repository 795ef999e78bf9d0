"""Which checkpoint of a run ships: the best of those that have the final sizes, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from dyn_lightning.module.checkpoint_io import read_checkpoint
from dyn_lightning.module.phases import PHASES


def final_checkpoint(trainer: Trainer) -> str:
    """The best checkpoint with the final sizes, of the first callback that has one; "" where there is none.

    A score from before the sizes are final belongs to a larger network. Lightning's own ``ModelCheckpoint`` counts it
    all the same, so that its best one is as a rule of the warm-up.
    """
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            for path in _best_first(callback):
                if has_final_sizes(path):
                    return path
    return ""


def has_final_sizes(checkpoint: str) -> bool:
    """Whether a checkpoint was written when the sizes were final; those of a network without learned sizes are."""
    phase = read_checkpoint(checkpoint, mmap=True).get("state_dict", {}).get("_phase")
    return phase is not None and int(phase) == PHASES.index("settle")


def _best_first(callback: ModelCheckpoint) -> Iterator[str]:
    """Paths of the checkpoints that a callback kept and that are still there, the best one first."""
    scores = {path: float(score) for path, score in callback.best_k_models.items()}
    ranked = sorted(scores, key=lambda path: scores[path], reverse=callback.mode == "max")
    for path in dict.fromkeys([*([callback.best_model_path] if callback.best_model_path else []), *ranked]):
        if Path(path).is_file():
            yield path
