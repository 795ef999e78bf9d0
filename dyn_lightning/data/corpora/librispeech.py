"""LibriSpeech: ``LibriSpeech/<subset>/<speaker>/<chapter>/*.flac``."""

import os
from pathlib import Path

from dyn_lightning.data.audio import DatasetError, find_audio
from dyn_lightning.data.corpora.clips import Clip, Split, Splits, require_disjoint, split_by_group

FOLDER = Path("LibriSpeech")


def librispeech(folder: str | os.PathLike[str]) -> Splits:
    """Splits LibriSpeech by speaker: ``train-*`` trains, ``dev-*`` validates, ``test-*`` tests.

    Where no ``dev-*`` subset is present a share of the training speakers validates instead (20 %, or 10 %
    where ``test-*`` is missing too); where no ``test-*`` subset is present 10 % of the training speakers
    test. Which speakers these are is decided by a hash of their identifiers, so it is the same on every
    machine.

    Args:
        folder: the folder named ``LibriSpeech``.

    Raises:
        DatasetError: no such folder, no audio in it, another layout, no ``train-*`` subset, too few speakers,
            or a speaker in two splits.
    """
    folder = Path(folder)
    pools: Splits = {"train": [], "val": [], "test": []}
    prefixes: dict[str, Split] = {"train": "train", "dev": "val", "test": "test"}
    for path in find_audio(folder):
        parts = path.relative_to(folder).parts
        prefix = parts[0].split("-")[0]
        if len(parts) != 4 or prefix not in prefixes:
            raise DatasetError(
                f"{path}: is not at <subset>/<speaker>/<chapter>/<file> with a subset named train-*, "
                "dev-* or test-*. Restore the official LibriSpeech layout."
            )
        pools[prefixes[prefix]].append(Clip(path, path.stem, parts[1]))
    if not pools["train"]:
        raise DatasetError(f"{folder}: no train-* subset. Download one, e.g. train-clean-100.")
    val_share = 0.0 if pools["val"] else 0.2 if pools["test"] else 0.1
    test_share = 0.0 if pools["test"] else 0.1
    held_out = split_by_group(pools["train"], val_share, test_share, folder)
    splits: Splits = {
        "train": held_out["train"],
        "val": pools["val"] + held_out["val"],
        "test": pools["test"] + held_out["test"],
    }
    require_disjoint(splits, folder)
    return splits
