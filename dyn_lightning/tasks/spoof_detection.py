"""Telling bona fide from spoofed speech, one score per utterance.

B batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from dyn_lightning.checks import positive, within
from dyn_lightning.data.score_files import UNKNOWN, ScoreTable
from dyn_lightning.errors import SettingError
from dyn_lightning.metrics import info
from dyn_lightning.metrics.eer import EER
from dyn_lightning.metrics.eer_by_system import EERBySystem, decode_strings
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.metrics.tdcf import MinTDCF
from dyn_lightning.tasks.base import Batch, Task, TaskMetrics
from dyn_lightning.tasks.losses import am_softmax_loss, oc_softmax_loss, soft_cross_entropy

Loss = Literal["cross_entropy", "am_softmax", "oc_softmax"]


class SpoofDetection(Task):
    """Spoofing countermeasure: ``batch["target"]`` is (B,) with 1 bona fide and 0 spoof.

    The network gives (B, 2), spoof and bona fide: logits for cross-entropy, cosines for AM-softmax, and the score is
    their difference. For one-class softmax it gives the cosine with the direction of bona fide speech, (B,) or
    (B, 1), which is the score. Metrics: see :class:`SpoofMetrics`.

    Args:
        loss: "cross_entropy", "am_softmax" (see ``am_softmax_loss``) or "oc_softmax" (see ``oc_softmax_loss``).
        spoof_weight, bonafide_weight: weights of the classes in the loss. Equal as they stand; 0.1 and 0.9 are usual
            on ASVspoof 2019, which has about nine spoofs to a bona fide utterance.
        scale: of the cosines, for both losses on cosines.
        margin: of AM-softmax.
        bonafide_margin, spoof_margin: of one-class softmax.

    Attributes:
        n_samples: length of the items of the latest validation, to which inference cuts utterances; 0 before.

    Raises:
        SettingError: for another loss, a weight or scale that is not positive, or a margin that cosines cannot have.
    """

    predictor = "utterance_scores"
    n_samples: Tensor
    class_weight: Tensor

    def __init__(
        self,
        loss: Loss = "cross_entropy",
        spoof_weight: float = 1.0,
        bonafide_weight: float = 1.0,
        scale: float = 20.0,
        margin: float = 0.9,
        bonafide_margin: float = 0.9,
        spoof_margin: float = 0.2,
    ) -> None:
        super().__init__()
        if loss not in get_args(Loss):
            raise SettingError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}")
        positive(spoof_weight=spoof_weight, bonafide_weight=bonafide_weight, scale=scale)
        within(0.0, 2.0, margin=margin)  # cosines are no further apart
        within(-1.0, 1.0, bonafide_margin=bonafide_margin, spoof_margin=spoof_margin)
        self.kind: Loss = loss
        self.output_name = {"cross_entropy": "logits", "am_softmax": "cosines", "oc_softmax": "score"}[loss]
        self.scale, self.margin = scale, margin
        self.bonafide_margin, self.spoof_margin = bonafide_margin, spoof_margin
        self.register_buffer("n_samples", torch.tensor(0))
        self.register_buffer("class_weight", torch.tensor([spoof_weight, bonafide_weight]), persistent=False)

    def input_of(self, batch: Batch) -> Any:
        audio = super().input_of(batch)
        if not self.training:
            self.n_samples.fill_(audio.shape[-1])
        return audio

    def metadata(self) -> dict[str, Any]:
        n_samples = int(self.n_samples)
        known = {"n_samples": n_samples} if n_samples else {}
        return {"loss": self.kind, "labels": ["spoof", "bonafide"], **known}

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        target = batch["target"].long()
        weight = self.class_weight.to(output)
        if self.kind == "oc_softmax":
            return oc_softmax_loss(
                bonafide_scores(output, self.kind),
                target,
                scale=self.scale,
                bonafide_margin=self.bonafide_margin,
                spoof_margin=self.spoof_margin,
                weight=weight,
            )
        _check_output(output, self.kind)
        if self.kind == "am_softmax":
            return am_softmax_loss(output, target, scale=self.scale, margin=self.margin, weight=weight)
        return F.cross_entropy(output, target, weight=weight)

    def distillation_loss(self, output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        if self.kind != "cross_entropy":
            return super().distillation_loss(output, teacher, temperature)
        return soft_cross_entropy(output, teacher, temperature)

    def new_metrics(self) -> TaskMetrics:
        return SpoofMetrics(self.kind)


_MIN_TDCF = MetricInfo("min t-DCF", lower_is_better=True)


class SpoofMetrics(TaskMetrics):
    """Equal error rates in [0, 1] by the convention "asvspoof2019", which published figures follow, and the t-DCF.

    ``eer`` and ``threshold`` over all utterances; ``eer_<system>``, that attack against all bona fide utterances,
    where ``batch["meta"]["system"]`` (a list) is known; ``min_tdcf`` where ``batch["meta"]["asv_rates"]`` (B, 3) is.

    Args:
        kind: loss that the network is trained with: it says how its output is scored.
    """

    def __init__(self, kind: Loss) -> None:
        super().__init__()
        self.kind: Loss = kind
        self.eer = EER(convention="asvspoof2019")
        self.eer_by_system = EERBySystem()
        self.min_tdcf = MinTDCF()

    def update(self, output: Tensor, batch: Batch) -> None:
        scores, target = bonafide_scores(output.detach().float(), self.kind), batch["target"]
        meta = batch.get("meta", {})
        self.eer.update(scores, target)
        if "system" in meta:
            self.eer_by_system.update(scores, target, meta["system"])
        if "asv_rates" in meta:
            self.min_tdcf.update(scores, target, meta["asv_rates"])

    def compute(self) -> dict[str, Tensor | float]:
        found: dict[str, Tensor | float] = {"eer": self.eer.compute(), "threshold": self.eer.threshold}
        if self.min_tdcf.update_called:
            found["min_tdcf"] = self.min_tdcf.compute()
        if self.eer_by_system.update_called:
            found.update({f"eer_{system}": rate for system, rate in self.eer_by_system.compute().items()})
        return found

    def scores(self) -> ScoreTable | None:
        """None where the set lacks bona fide or spoofed utterances."""
        by_system = self.eer_by_system.update_called
        metric: Any = self.eer_by_system if by_system else self.eer
        with metric.sync_context():
            scores, targets = dim_zero_cat(metric.scores).cpu(), dim_zero_cat(metric.targets).tolist()
            systems = decode_strings(dim_zero_cat(metric.systems)) if by_system else [UNKNOWN] * len(targets)
        if not {0, 1} <= set(targets):
            return None
        keys = ["bonafide" if target == 1 else "spoof" for target in targets]
        return ScoreTable([""] * len(targets), systems, keys, scores)

    def describe(self, names: Iterable[str]) -> dict[str, MetricInfo]:
        whole = {"eer": info.EER_INFO, "threshold": info.THRESHOLD_INFO, "min_tdcf": _MIN_TDCF}
        attacks = [name for name in names if name.startswith("eer_")]
        return whole | {name: replace(info.EER_INFO, group="attack", member=name[len("eer_") :]) for name in attacks}


def bonafide_scores(output: Tensor, kind: Loss) -> Tensor:
    """One score per utterance, higher means bona fide: (B, 2) → second minus first; oc_softmax: (B,) or (B, 1) → (B,).

    Raises:
        SettingError: if the output has another shape.
    """
    _check_output(output, kind)
    return output.reshape(-1) if kind == "oc_softmax" else output[:, 1] - output[:, 0]


def _check_output(output: Tensor, kind: Loss) -> None:
    one_column = output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)
    two_columns = output.ndim == 2 and output.shape[1] == 2
    if kind == "oc_softmax" and not one_column:
        raise SettingError(
            f"the network's output is {tuple(output.shape)}, oc_softmax wants one cosine per utterance, (B,) or (B, 1)"
        )
    if kind != "oc_softmax" and not two_columns:
        raise SettingError(f"the network's output is {tuple(output.shape)}, {kind} wants spoof and bona fide, (B, 2)")
