"""What a corpus is made of, clips in three splits, and splitting it by groups."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dyn_lightning.data.audio import DatasetError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Clip:
    """An audio file: its path, a short identifier and its group (speaker, or class of noise)."""

    path: Path
    clip_id: str
    group: str


Splits = dict[Split, list[Clip]]


def split_by_group(clips: Sequence[Clip], val_share: float, test_share: float, source: Path) -> Splits:
    """Splits clips so that no group is in two splits; groups are ranked by the MD5 hash of their names.

    A share above 0 gets at least one group.

    Raises:
        DatasetError: too few groups to leave one for training.
    """
    groups = sorted({clip.group for clip in clips}, key=lambda name: hashlib.md5(name.encode()).hexdigest())
    n_val = max(round(val_share * len(groups)), val_share > 0)
    n_test = max(round(test_share * len(groups)), test_share > 0)
    if n_val + n_test >= len(groups):
        raise DatasetError(
            f"{source}: {len(groups)} speakers are too few for disjoint splits; at least "
            f"{n_val + n_test + 1} are needed. Add speakers."
        )
    of_group: dict[str, Split] = dict.fromkeys(groups, "train")
    of_group.update(dict.fromkeys(groups[:n_val], "val"))
    of_group.update(dict.fromkeys(groups[n_val : n_val + n_test], "test"))
    splits: Splits = {"train": [], "val": [], "test": []}
    for clip in clips:
        splits[of_group[clip.group]].append(clip)
    return splits


def require_disjoint(splits: Splits, source: Path) -> None:
    """Raises a DatasetError that names the groups found in more than one split."""
    seen: dict[str, Split] = {}
    for split in SPLITS:
        for name in {clip.group for clip in splits[split]}:
            if seen.setdefault(name, split) != split:
                raise DatasetError(
                    f"{source}: speaker {name} is in both {seen[name]} and {split}. Remove one of the two subsets."
                )
