"""Detection in every frame, e.g. of voice activity.

B batch, T time (STFT frames).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dyn_lightning.checks import positive
from dyn_lightning.errors import SettingError
from dyn_lightning.losses import soft_binary_cross_entropy
from dyn_lightning.metrics.eer import EER, EERBySNR
from dyn_lightning.tasks.base import Batch, Task, TaskMetrics


def align_target(output: Tensor, target: Tensor) -> Tensor:
    """Cut targets per STFT frame to the frames that a network without padding answers for: the middle ones.

    Args:
        output: (B, T_out).
        target: (B, T), T ≥ T_out.

    Returns:
        (B, T_out), from frame (T − T_out) // 2 on.

    Raises:
        ValueError: if there are fewer targets than outputs.
    """
    surplus = target.shape[1] - output.shape[1]
    if output.shape[0] != target.shape[0] or surplus < 0:
        raise SettingError(
            f"outputs {tuple(output.shape)} and targets {tuple(target.shape)} do not match: data and network "
            "must agree in n_fft and hop_length"
        )
    return target[:, surplus // 2 : surplus // 2 + output.shape[1]]


class FrameDetection(Task):
    """Binary detection in every frame, e.g. of voice activity: cross-entropy on logits (B, T_out).

    ``batch["target"]`` is (B, T) with 1 present, 0 absent and below 0 not scored. Metrics: ``eer`` in [0, 1]
    over all frames, and by signal-to-noise ratio where ``batch["meta"]["snr_db"]`` is known.

    Args:
        positive_weight: weight of frames with target 1, positive.
    """

    def __init__(self, positive_weight: float = 1.0) -> None:
        super().__init__()
        positive(positive_weight=positive_weight)
        self.positive_weight = positive_weight

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        target = align_target(output, batch["target"])
        scored = target >= 0
        losses = F.binary_cross_entropy_with_logits(
            output,
            target.clamp_min(0).to(output.dtype),
            pos_weight=output.new_tensor(self.positive_weight),
            reduction="none",
        )
        return (losses * scored).sum() / scored.sum().clamp_min(1)

    def distillation_loss(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return soft_binary_cross_entropy(output, teacher, temperature)

    def new_metrics(self) -> TaskMetrics:
        return DetectionMetrics()


class DetectionMetrics(TaskMetrics):
    """``eer``, ``threshold`` (a logit), and ``eer_<bin>`` by signal-to-noise ratio in dB."""

    def __init__(self) -> None:
        super().__init__()
        self.eer = EER()
        self.eer_by_snr = EERBySNR()

    def update(self, output: Tensor, batch: Batch) -> None:
        scores, target = output.detach().float(), align_target(output, batch["target"])
        self.eer.update(scores, target)
        snr_db = batch.get("meta", {}).get("snr_db")
        if snr_db is not None and not bool(snr_db.isnan().any()):
            self.eer_by_snr.update(scores, target, snr_db)

    def compute(self) -> dict[str, Tensor | float]:
        found: dict[str, Tensor | float] = {"eer": self.eer.compute(), "threshold": self.eer.threshold}
        if self.eer_by_snr.update_called:
            found.update({f"eer_snr_db_{label}": v for label, v in self.eer_by_snr.compute().items()})
        return found
