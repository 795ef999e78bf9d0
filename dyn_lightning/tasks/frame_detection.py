"""Detection in every frame, e.g. of voice activity.

B batch, T time (STFT frames).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.checks import positive
from dyn_lightning.errors import SettingError
from dyn_lightning.features.frames import OutputFrames
from dyn_lightning.metrics import info
from dyn_lightning.metrics.eer import EER, EERBySNR
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.tasks.base import Batch, Task, TaskMetrics
from dyn_lightning.tasks.losses import soft_binary_cross_entropy

_STRAY_OUTPUTS = 8  # that a network may lack whose frames are not known, or a tenth of all


def align_target(
    output: Tensor, target: Tensor, n_samples: int | None = None, outputs: OutputFrames | None = None
) -> Tensor:
    """Cut targets per STFT frame to the frames that a network without padding answers for.

    Args:
        output: (B, T_out).
        target: (B, T), T ≥ T_out.
        n_samples: of the audio, which the frames are counted in.
        outputs: which frames the network answers for. None where it does not say so: the middle ones then, of which at
            most eight or a tenth may be absent.

    Returns:
        (B, T_out).

    Raises:
        SettingError: there are fewer targets than outputs, or not those of the network's own frames.
    """
    surplus = target.shape[1] - output.shape[1]
    shapes = f"outputs {tuple(output.shape)} and targets {tuple(target.shape)}"
    if output.shape[0] != target.shape[0] or surplus < 0:
        raise SettingError(f"{shapes} do not match: data and network must agree in n_fft and hop_length")
    if surplus == 0:
        return target
    if outputs is None:
        if surplus > max(_STRAY_OUTPUTS, target.shape[1] // 10):
            raise SettingError(
                f"{shapes}: which frames the outputs belong to is not known. Give the network the attributes "
                "sample_rate, n_fft, hop_length and first_frame_centre_s, and the data these frames"
            )
        return target[:, surplus // 2 : surplus // 2 + output.shape[1]]
    frames, first = outputs.frames, outputs.first
    if n_samples is not None and frames.count(n_samples) != target.shape[1]:
        raise SettingError(
            f"{shapes} do not match: the network's frames (n_fft={frames.n_fft}, hop_length={frames.hop_length}) are "
            f"{frames.count(n_samples)} in {n_samples} samples. Have the data label these (in VADDataModule: "
            "data.follow(network) before setup)"
        )
    if not first <= surplus <= 2 * first:
        raise SettingError(
            f"{shapes} do not match: by its first_frame_centre_s the network leaves out {first} frames at the "
            "beginning, and as many at most at the end. Mend this attribute, or hop_length where it gives fewer outputs"
        )
    return target[:, first : first + output.shape[1]]


def _samples_in(audio: object) -> int | None:
    return audio.shape[1] if isinstance(audio, Tensor) and audio.dim() == 2 else None


class FrameDetection(Task):
    """Binary detection in every frame, e.g. of voice activity: cross-entropy on logits (B, T_out).

    ``batch["target"]`` is (B, T) with 1 present, 0 absent and below 0 not scored. Metrics: ``eer`` in [0, 1]
    over all frames, and by signal-to-noise ratio where ``batch["meta"]["snr_db"]`` is known.

    Args:
        positive_weight: weight of frames with target 1, positive.
    """

    output_name = "logits"
    predictor = "segments"

    def __init__(self, positive_weight: float = 1.0) -> None:
        super().__init__()
        positive(positive_weight=positive_weight)
        self.positive_weight = positive_weight
        self.outputs: OutputFrames | None = None

    def follow(self, network: nn.Module) -> None:
        self.outputs = OutputFrames.of(network)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        target = align_target(output, batch["target"], _samples_in(batch.get(self.input_key)), self.outputs)
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

    def metadata(self) -> dict[str, object]:
        return {"labels": ["absent", "present"]}

    def new_metrics(self) -> TaskMetrics:
        return DetectionMetrics(self.outputs, self.input_key)


_BY_SNR = "eer_snr_db_"


class DetectionMetrics(TaskMetrics):
    """``eer``, ``threshold`` (a logit), and ``eer_<bin>`` by signal-to-noise ratio in dB."""

    def __init__(self, outputs: OutputFrames | None = None, input_key: str = "audio") -> None:
        super().__init__()
        self.outputs, self.input_key = outputs, input_key
        self.eer = EER()
        self.eer_by_snr = EERBySNR()

    def update(self, output: Tensor, batch: Batch) -> None:
        scores, n_samples = output.detach().float(), _samples_in(batch.get(self.input_key))
        target = align_target(output, batch["target"], n_samples, self.outputs)
        self.eer.update(scores, target)
        snr_db = batch.get("meta", {}).get("snr_db")
        if snr_db is not None and not bool(snr_db.isnan().any()):
            self.eer_by_snr.update(scores, target, snr_db)

    def compute(self) -> dict[str, Tensor | float]:
        found: dict[str, Tensor | float] = {"eer": self.eer.compute(), "threshold": self.eer.threshold}
        if self.eer_by_snr.update_called:
            found.update({f"{_BY_SNR}{label}": v for label, v in self.eer_by_snr.compute().items()})
        return found

    def describe(self, names: Iterable[str]) -> dict[str, MetricInfo]:
        bins = [name for name in names if name.startswith(_BY_SNR)]
        by_snr = {name: replace(info.EER_INFO, group="snr_db", member=name[len(_BY_SNR) :]) for name in bins}
        return {"eer": info.EER_INFO, "threshold": info.THRESHOLD_INFO, **by_snr}
