"""One score per utterance of audio files, by a network from an artifact of anti-spoofing."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.artifact import load_artifact
from dyn_lightning.data.asvspoof_protocols import problem
from dyn_lightning.data.audio import AudioError, DatasetError, Samples, read_audio
from dyn_lightning.data.corpora import Utterance
from dyn_lightning.data.crops import centre_crop
from dyn_lightning.data.score_files import UNKNOWN, ScoreTable, label, read_protocol, write_scores
from dyn_lightning.errors import FAILURES, ArtifactError, SettingError, UserError, first_line
from dyn_lightning.inference.audio_files import audio_doubts, count, find_audio_files, printable
from dyn_lightning.inference.progress import FileProgress
from dyn_lightning.tasks.spoof_detection import bonafide_scores

SCORE_FILE = "scores.txt"
_NEEDED = ("sample_rate", "n_samples", "loss")


@dataclass(frozen=True)
class UtteranceScores:
    """What became of each file.

    Attributes:
        path: the score file.
        table: its content.
        failed: file → why it could not be used.
        unnamed: files that the protocol does not want scored, and which were left out.
        doubts: what is to be said of files that were scored all the same.
    """

    path: Path
    table: ScoreTable
    failed: dict[Path, str]
    unnamed: Sequence[Path]
    doubts: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0, or 1 if a file failed."""
        return 1 if self.failed else 0

    def summary(self) -> str:
        """One line of counts, and one line per failed file."""
        first = f"{self.path}: {count(len(self.table.utterance_ids), 'utterance')} scored; {len(self.failed)} failed"
        if self.unnamed:
            first += f"; {len(self.unnamed)} left out that the protocol does not score"
        return printable("\n".join([first, *self.doubts, *self.failed.values()]))


def score_utterances(
    artifact: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    *,
    protocol: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    backbone: nn.Module | None = None,
    trusted: bool = False,
    progress: FileProgress | None = None,
) -> UtteranceScores:
    """Write the scores of audio files to ``<out_dir>/scores.txt``, in the challenge's form.

    Each utterance is cut as in validation: the middle, of the length that the artifact says; shorter ones are
    repeated. A file that cannot be used is left out and reported; the others are done all the same.

    Args:
        artifact: folder that ``save_artifact`` wrote of a network trained on ``SpoofDetection``.
        inputs: audio files, or folders to search at any depth; an utterance is called as its file, without suffix.
        out_dir: where to.
        protocol: says system and key of each utterance, which else are "-", and which utterances to score.
        batch_size: utterances per pass.
        device: where the network runs.
        backbone, trusted: see :func:`load_artifact`.
        progress: shows how far it is; None for nothing.

    Raises:
        ArtifactError: if the artifact cannot be used.
        DatasetError: if the protocol cannot be used, or names an utterance without a file; if the inputs hold no audio
            or two files of one name, or not one file can be used.
        SettingError: if batch_size is below 1.
    """
    if batch_size < 1:
        raise SettingError(f"batch_size must be at least 1, got {batch_size}")
    files, unnamed, known = _to_score(inputs, protocol)
    network, metadata = load_artifact(artifact, backbone=backbone, trusted=trusted, device=device)
    missing = [key for key in _NEEDED if key not in metadata]
    if missing:
        raise ArtifactError(
            f"{artifact}: its metadata lacks {', '.join(missing)}. Write it anew from its checkpoint (consolidate)."
        )
    failed: dict[Path, str] = {}
    names, parts, waiting = list[str](), list[Tensor](), iter(files.items())
    with progress or FileProgress(io.StringIO()) as shown, audio_doubts() as doubts:
        shown.start(len(files))
        while batch := list(islice(waiting, batch_size)):
            read, crops = _read_crops(batch, metadata, shown, failed)
            if not crops:
                continue
            scores = _scores(network, torch.stack(crops).to(device), metadata["loss"], artifact)
            finite = scores.isfinite()
            for (_, path), number in zip(read, scores.tolist(), strict=True):
                if not math.isfinite(number):
                    failed[path] = f"{path}: its score is {number}. Check the file and the artifact."
            parts.append(scores[finite])
            names.extend(printable(name) for (name, _), good in zip(read, finite.tolist(), strict=True) if good)
    if not names:
        lines = ["no file could be scored, so nothing is written:", *failed.values()]
        raise DatasetError(printable("\n".join(lines)))
    scores = torch.cat(parts).double()
    unknown = [UNKNOWN] * len(names)
    table = ScoreTable(names, unknown, unknown, scores) if known is None else label(names, scores, known)
    path = Path(out_dir) / SCORE_FILE
    write_scores(path, table)
    return UtteranceScores(path, table, failed, unnamed, doubts)


@torch.inference_mode()
def _scores(network: nn.Module, crops: Tensor, loss: Any, artifact: str | os.PathLike[str]) -> Tensor:
    """One score a crop, (crops,), on the CPU."""
    try:
        scores = bonafide_scores(network(crops).float(), loss).cpu()
    except UserError:
        raise
    except FAILURES as error:
        raise ArtifactError(f"{artifact}: its network fails on audio: {first_line(error)}") from error
    if scores.shape != crops.shape[:1]:
        raise ArtifactError(f"{artifact}: its network must give one score an utterance, not {tuple(scores.shape)}")
    return scores


def _to_score(
    inputs: Sequence[str | os.PathLike[str]], protocol: str | os.PathLike[str] | None
) -> tuple[dict[str, Path], list[Path], Mapping[str, Utterance] | None]:
    """Utterance → file, the files that the protocol leaves out, and what it says of its utterances."""
    files = _by_utterance(inputs)
    if protocol is None:
        return files, [], None
    known = read_protocol(protocol).utterances
    if absent := [name for name in known if name not in files]:
        mend = "Give all folders of this part's audio, or the protocol of these files."
        raise DatasetError(problem(Path(protocol), "utterances without audio", absent, mend))
    return {name: files[name] for name in known}, [p for name, p in files.items() if name not in known], known


def _read_crops(
    batch: Sequence[tuple[str, Path]], metadata: Mapping[str, object], shown: FileProgress, failed: dict[Path, str]
) -> tuple[list[tuple[str, Path]], list[Tensor]]:
    """The utterances that could be read, and a crop of each; ``failed`` is told of the others."""
    read, crops = list[tuple[str, Path]](), list[Tensor]()
    for name, path in batch:
        shown.file(path)
        try:
            crops.append(torch.from_numpy(_crop(path, name, metadata, shown)))
            read.append((name, path))
        except AudioError as error:
            failed[path] = str(error)
        shown.done()
    return read, crops


def _crop(path: Path, name: str, metadata: Mapping[str, Any], shown: FileProgress) -> Samples:
    if len(name.split()) != 1:
        raise AudioError(f"{path}: a score file has no place for white space in names. Rename it.")
    samples = read_audio(path, int(metadata["sample_rate"]))
    shown.audio(len(samples) / int(metadata["sample_rate"]))
    return centre_crop(samples, int(metadata["n_samples"]))


def _by_utterance(inputs: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path, _ in find_audio_files(inputs):
        if files.setdefault(path.stem, path) != path:
            raise DatasetError(
                f"{path} and {files[path.stem]} would both be the utterance {path.stem}: rename one of them"
            )
    if not files:
        raise DatasetError("there is no audio file to score: give files, or folders that hold some")
    return files
