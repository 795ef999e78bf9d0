"""The tasks on which methods are compared: a network, data, and how long it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import lightning
import torch
from torch import nn

from dyn_lightning.costs.complexity import Complexity
from dyn_lightning.dynamize import dynamize
from dyn_lightning.tasks import Task
from experiments.antispoofing import systems as spoofing
from experiments.cases import AntiSpoofing, Case, VoiceActivity, VoiceActivityTransformer
from experiments.vad import systems as vad


@dataclass(frozen=True)
class Bench:
    """A task with everything that is the same for all methods.

    Attributes:
        name: of the task.
        config: what decides a run beside its method and seed; in every record.
        epochs, lr: of the whole run; of the weights.
        search_share: of the epochs, that our search takes.
        beta: β of the paper's objective for the task.
        backbone: makes the network at full size.
        narrower: makes it uniformly narrower, at a share of its FLOPs.
        task: makes loss and metrics.
        data: makes the data module, of a root, a seed and a number of workers.
        data_name: what a root holds.
        test: name of the test metric.
        all_flops: whether budgets are shares of all FLOPs/s, and not of the learnable ones.
    """

    name: str
    config: dict[str, Any]
    epochs: int
    lr: float
    search_share: float
    beta: float
    backbone: Callable[[], nn.Module]
    narrower: Callable[[float], nn.Module]
    task: Callable[[], Task]
    data: Callable[[str, int, int], lightning.LightningDataModule]
    data_name: Callable[[str], str]
    test: str
    all_flops: bool
    duration_s: float = 1.0
    lr_lam: float = 0.03
    lr_hold: float = 0.5

    def at(self, lr: float) -> Bench:
        """The same with another learning rate of the weights."""
        return replace(self, lr=lr, config={**self.config, "lr": lr})

    def budget(self, share: float) -> float:
        """FLOPs/s, all included, that a share stands for."""
        cost = complexity_of(self)
        if self.all_flops:
            return share * cost.flops_full_size()
        return cost.fixed_flops() + share * cost.learnable_flops()


@cache
@torch.random.fork_rng()  # a run's numbers do not depend on what ran before it
def _complexity(backbone: Callable[[], nn.Module], duration_s: float) -> Complexity:
    network = backbone()
    example = torch.zeros(1, round(duration_s * network.sample_rate))  # type: ignore[operator,arg-type]
    complexity: Complexity = dynamize(network, example, duration_s=duration_s).complexity
    return complexity


def complexity_of(bench: Bench) -> Complexity:
    """Cost of a bench's network as a function of all its sizes."""
    return _complexity(bench.backbone, bench.duration_s)


def _of_case(case: Case, **more: Any) -> Bench:
    """A case with what a comparison has beside it."""
    assert case.duration_s is not None
    return Bench(
        name=case.name,
        epochs=case.epochs,
        lr=case.lr,
        search_share=case.search_share,
        backbone=case.backbone,
        task=case.task,
        data=case.data,
        data_name=case.dataset,
        test=case.tests[0],
        duration_s=case.duration_s,
        lr_lam=case.lr_lam,
        lr_hold=case.lr_hold,
        **more,
    )


def vad_bench(epochs: int = 8) -> Bench:
    """CRNNVAD on mixtures of speech and noise, half as many an epoch as in its study."""
    return _of_voice_activity(VoiceActivity(epochs=epochs, items_per_epoch=1600), "CRNNVAD")


def transformer_bench() -> Bench:
    """TrVAD on the same mixtures, as many an epoch as in its study."""
    return _of_voice_activity(VoiceActivityTransformer(), "TrVAD")


def _of_voice_activity(case: VoiceActivity, network: vad.Network) -> Bench:
    return _of_case(
        case,
        config={name: getattr(case, name) for name in ("epochs", "lr", "batch_size", "items_per_epoch")},
        beta=0.5,
        narrower=lambda share: vad.NETWORKS[network](**vad.uniform_sizes(share, network)),
        all_flops=False,
    )


def spoofing_bench() -> Bench:
    """The residual network of the anti-spoofing study, in its small preset."""
    case = AntiSpoofing()
    settings = spoofing.PRESETS[case.preset]
    return _of_case(
        case,
        config={name: value for name, value in settings.as_json().items() if name != "lr_growth"},  # each method's
        beta=spoofing.BETA,
        narrower=lambda share: settings.backbone(**spoofing.uniform_sizes(settings, share)),
        all_flops=True,
    )


BENCHES: dict[str, Callable[[], Bench]] = {
    "vad": vad_bench,
    "antispoofing": spoofing_bench,
    "vad_transformer": transformer_bench,
}
