"""Equal error rate by attack: the spoofs of each system against all bona fide utterances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from dyn_lightning.metrics.eer import EERConvention, eer, scored_entries

UNKNOWN_SYSTEM = "-"
SYSTEM_BYTES = 32


def eer_by_system(
    scores: Tensor, targets: Tensor, systems: Sequence[str], *, convention: EERConvention = "asvspoof2019"
) -> dict[str, float]:
    """EER of each attack, each with a threshold of its own: its spoofs against the bona fide of all speakers.

    Args:
        scores: (utterances,), higher means bona fide.
        targets: (utterances,), 1 = bona fide, 0 = spoof, below 0 = ignored.
        systems: what made each utterance; not read where it is bona fide. Spoofs of an unknown system ("-") are left
            out.
        convention: see ``eer``.

    Returns:
        System → EER in [0, 1], in order of name; NaN where there is no bona fide utterance.

    Raises:
        ValueError: as ``eer``; for another number of systems.
    """
    if len(systems) != scores.numel() or scores.ndim != 1:
        raise ValueError(f"scores {tuple(scores.shape)} want one system each, there are {len(systems)}")
    names, places = np.unique(np.asarray(systems, dtype=np.str_), return_inverse=True)
    own = torch.from_numpy(places).to(scores.device)
    found: dict[str, float] = {}
    for number, name in enumerate(names.tolist()):
        attack = (own == number) & (targets == 0)
        if name != UNKNOWN_SYSTEM and bool(attack.any()):
            chosen = attack | (targets == 1)
            found[name] = eer(scores[chosen], targets[chosen], convention=convention)[0]
    return found


def encode_strings(strings: Sequence[str], n_bytes: int = SYSTEM_BYTES) -> Tensor:
    """Short strings as a tensor that processes can exchange: UTF-8, padded with zeros.

    Returns:
        (strings, n_bytes) uint8.

    Raises:
        ValueError: for a string of more bytes.
    """
    encoded = [string.encode() for string in strings]
    for string, content in zip(strings, encoded, strict=True):
        if len(content) > n_bytes:
            raise ValueError(f"{string!r} has {len(content)} bytes, {n_bytes} is the most")
    packed = np.array(encoded, dtype=f"S{n_bytes}").view(np.uint8).reshape(len(encoded), n_bytes)
    return torch.from_numpy(packed.copy())


def decode_strings(codes: Tensor) -> list[str]:
    """The strings that ``encode_strings`` packed."""
    return [bytes(row).rstrip(b"\0").decode() for row in codes.cpu().numpy()]


class EERBySystem(Metric):
    """``eer_by_system`` over all batches and processes, by the challenge's convention.

    ``update`` takes scores and targets (batch,) and a list of systems; ``compute`` gives a dict from the system to its
    EER. It keeps 37 bytes per utterance until then.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]
    systems: list[Tensor]

    def __init__(self, convention: EERConvention = "asvspoof2019", **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.convention = convention
        for name in ("scores", "targets", "systems"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor, systems: Sequence[str]) -> None:
        codes = encode_strings(systems).to(scores.device)[targets >= 0]
        scores, targets = scored_entries(scores, targets)
        self.scores.append(scores.float())
        self.targets.append(targets.to(torch.int8))
        self.systems.append(codes)

    def compute(self) -> dict[str, Tensor]:
        scores, targets, codes = (dim_zero_cat(state) for state in (self.scores, self.targets, self.systems))
        rates = eer_by_system(scores, targets, decode_strings(codes), convention=self.convention)
        return {system: torch.tensor(rate, device=scores.device) for system, rate in rates.items()}
