"""What ``predict`` makes of audio files, by task: a task names its predictor, and an artifact keeps that name."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dyn_lightning.errors import SettingError
from dyn_lightning.inference.audio_files import name_files
from dyn_lightning.inference.progress import FileProgress
from dyn_lightning.inference.spoofing import SCORE_FILE, score_utterances
from dyn_lightning.inference.voice_activity import NEEDED, predict_files

Paths = Sequence[str | os.PathLike[str]]

_OF_TASKS = {"FrameDetection": "segments", "SpoofDetection": "utterance_scores"}
"""Of artifacts from before tasks named their predictor."""


class Outcome(Protocol):
    """What became of the files."""

    @property
    def exit_code(self) -> int:
        """0, or 1 if a file failed."""
        ...

    def summary(self) -> str:
        """What is to be said of it, in lines."""
        ...


class FilePredictor(ABC):
    """What ``predict`` makes of audio files by the artifacts of a task.

    A task names it (``Task.predictor``): by the name under which :func:`register_predictor` has it, or by the path of
    its class, which takes no arguments.

    Attributes:
        options: those of ``predict`` that :meth:`run` and :meth:`written` take by name beside their own.
        wanted_attributes: what a network has to say of itself by attributes, in samples, Hz and seconds.
    """

    options: tuple[str, ...] = ()
    wanted_attributes: tuple[str, ...] = ()

    @abstractmethod
    def run(
        self,
        artifact: str,
        inputs: Paths,
        out_dir: str,
        *,
        device: str = "cpu",
        trusted: bool = False,
        progress: FileProgress | None = None,
        **options: object,
    ) -> Outcome:
        """Write what the artifact's network says of audio files.

        Args:
            artifact: folder that consolidation wrote.
            inputs: audio files, or folders to search at any depth.
            out_dir: where to.
            device: where the network runs.
            trusted: see :func:`~dyn_lightning.artifact.load_artifact`.
            progress: shows how far it is; None for nothing.
            options: of :attr:`options`, those that were given.
        """

    @abstractmethod
    def written(self, inputs: Paths, out_dir: str, **options: object) -> list[Path]:
        """The files that :meth:`run` would write."""


class SpeechSegments(FilePredictor):
    """Segments of speech, as RTTM and CSV: see :func:`predict_files`."""

    options = ("frame_scores", "threshold", "min_speech_s", "min_silence_s")
    wanted_attributes = NEEDED

    def run(self, artifact: str, inputs: Paths, out_dir: str, **options: Any) -> Outcome:
        return predict_files(artifact, inputs, out_dir, **options)

    def written(self, inputs: Paths, out_dir: str, **options: object) -> list[Path]:
        suffixes = ["rttm", *([options["frame_scores"]] if "frame_scores" in options else [])]
        names = name_files(inputs).values()
        return [Path(out_dir, "segments.csv"), *(Path(out_dir, f"{name}.{end}") for name in names for end in suffixes)]


class UtteranceScoreFile(FilePredictor):
    """A score for each file, in the form of ASVspoof: see :func:`score_utterances`."""

    options = ("protocol", "batch_size")

    def run(self, artifact: str, inputs: Paths, out_dir: str, **options: Any) -> Outcome:
        return score_utterances(artifact, inputs, out_dir, **options)

    def written(self, inputs: Paths, out_dir: str, **options: object) -> list[Path]:
        return [Path(out_dir, SCORE_FILE)]


_KNOWN: dict[str, FilePredictor] = {"segments": SpeechSegments(), "utterance_scores": UtteranceScoreFile()}


def register_predictor(name: str, predictor: FilePredictor) -> None:
    """Enter a predictor under a name that tasks may give.

    Raises:
        SettingError: for a name that another one has.
    """
    if _KNOWN.setdefault(name, predictor) is not predictor:
        raise SettingError(f"there is a predictor {name} already: choose another name")


def predictor_of(
    metadata: Mapping[str, Any], artifact: str = "the artifact", *, trusted: bool = False
) -> FilePredictor:
    """The predictor that an artifact's metadata name.

    Args:
        metadata: of the artifact. Where they name no task either, it is that of speech segments: an artifact written in
            Python need not say.
        artifact: what it is called in an error.
        trusted: import the class that the metadata name, whatever it is. This runs code of the author's choice.

    Raises:
        SettingError: where the task has no predictor, or one that is not known here.
    """
    task = metadata.get("task")
    name = metadata.get("predictor") or ("segments" if task is None else _OF_TASKS.get(task))
    if name is None:
        raise SettingError(
            f"{artifact}: the task {task} names no predictor, so predict has nothing to make of audio. Run the network "
            "in Python: dyn_lightning.artifact.load_artifact"
        )
    if name in _KNOWN:
        return _KNOWN[name]
    if "." in name and not trusted:
        raise SettingError(
            f"{artifact}: its predictor is the class {name}. Give --trusted, which imports and runs it, if you trust "
            "the file"
        )
    return predictor_named(name, artifact)


def predictor_named(name: str, where: str = "the task") -> FilePredictor:
    """The predictor of a name, or of a class path, which is imported.

    Raises:
        SettingError: for a name that is not known, or no class of a :class:`FilePredictor`.
    """
    if name in _KNOWN:
        return _KNOWN[name]
    module, _, cls = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), cls) if module else None
    except (ImportError, AttributeError) as error:
        raise SettingError(f"{where}: its predictor {name} cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, FilePredictor)):
        raise SettingError(
            f"{where}: its predictor {name} is none of {', '.join(_KNOWN)}, nor the path of a class derived from "
            "dyn_lightning.inference.FilePredictor"
        )
    return found()
