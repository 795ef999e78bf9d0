"""ASVspoof 2019, logical and physical access, as its own README files state it."""

from collections.abc import Mapping
from typing import Literal

from dyn_lightning.data.corpora.asvspoof import PARTS, Counts, Part, SpoofCorpus


def _layout(access: Literal["LA", "PA"], counts: Mapping[Part, Counts]) -> SpoofCorpus:
    prefix, dotted = f"ASVspoof2019_{access}", f"ASVspoof2019.{access}"
    scored: tuple[Part, ...] = ("dev", "eval")
    return SpoofCorpus(
        title=f"ASVspoof2019 {access}",
        roots=("", access, f"{access}/{access}"),
        protocol_folders=(f"{prefix}_cm_protocols",),
        protocols={
            "train": f"{dotted}.cm.train.trn.txt",
            "dev": f"{dotted}.cm.dev.trl.txt",
            "eval": f"{dotted}.cm.eval.trl.txt",
        },
        audio={part: f"{prefix}_{part}/flac" for part in PARTS},
        # SPEAKER UTTERANCE - SYSTEM KEY; PA has the environment in place of the "-".
        speaker=0,
        utterance=1,
        system=3,
        key=4,
        asv_scores={part: f"{prefix}_asv_scores/{dotted}.asv.{part}.gi.trl.scores.txt" for part in scored},
        enrolments={part: f"{prefix}_asv_protocols/{dotted}.asv.{part}.*.trn.txt" for part in scored},
        counts=counts,
    )


_LA_TRAINING = tuple(f"A{number:02d}" for number in range(1, 7))
_LA_UNSEEN = tuple(f"A{number:02d}" for number in range(7, 20))
_PA_ATTACKS = tuple(distance + quality for distance in "ABC" for quality in "ABC")

LA = _layout(
    "LA",
    {
        "train": Counts(2580, 6 * 3800, _LA_TRAINING),
        "dev": Counts(2548, 6 * 3716, _LA_TRAINING),
        "eval": Counts(7355, 13 * 4914, _LA_UNSEEN),
    },
)
PA = _layout(
    "PA",
    {
        "train": Counts(5400, 9 * 5400, _PA_ATTACKS),
        "dev": Counts(5400, 9 * 2700, _PA_ATTACKS),
        "eval": Counts(18090, 9 * 12960, _PA_ATTACKS),
    },
)
