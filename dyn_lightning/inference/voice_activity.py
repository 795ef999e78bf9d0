"""Speech segments of audio files, by a network from an artifact."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dyn_lightning.artifact import ArtifactError, load_artifact
from dyn_lightning.data.audio import AudioError
from dyn_lightning.errors import FAILURES, FileError, SettingError, UserError, first_line
from dyn_lightning.files import csv_cell, write_atomically
from dyn_lightning.inference.audio_files import audio_doubts, count, name_files, printable
from dyn_lightning.inference.progress import FileProgress
from dyn_lightning.inference.segments import Scores, Segment, find_segments, rttm
from dyn_lightning.inference.streaming import FrameStream, context_frames, read_blocks, streams_exactly

# Shorter ones are mostly frames that lie now on this side of the threshold, now on that. 0.25 s is what Silero's
# detector takes; pauses below 0.3 s do not end a turn in NIST's evaluations of rich transcription. On AMI (a CRNNVAD of
# 50 steps, at its equal error rate) the two lowered the detection error from 31 to 25 % (dev) and 42 to 34 % (test),
# and the segments from 56 to 20 and from 94 to 17, where people marked 8 and 7.
MIN_SPEECH_S, MIN_SILENCE_S = 0.25, 0.3
LONGEST_EDGES_S = 60.0
"""Audio that 16 frames and what they depend on may take: metadata that say more are wrong, and would never end."""
_UNUSABLE_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
NEEDED = ("sample_rate", "hop_length", "first_frame_centre_s")


@dataclass(frozen=True)
class Predictions:
    """What became of each file.

    Attributes:
        segments: file → its speech segments (start_s, end_s).
        failed: file → why it could not be used.
        exact: whether the scores are those of each whole file; False where the network was run on overlapping
            windows (see :class:`Predictor`).
        out_dir: where the results are.
        audio_s: seconds of audio in the files that are done.
        doubts: what is to be said of files that are done all the same.
    """

    segments: dict[Path, list[Segment]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    exact: bool = True
    out_dir: Path | None = None
    audio_s: float = 0.0
    doubts: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 1 if a file failed."""
        return 1 if self.failed else 0

    def summary(self) -> str:
        """One line of counts and of the place, and one line per file that failed or is in doubt."""
        speech_s = sum(end - start for found in self.segments.values() for start, end in found)
        first = f"{count(len(self.segments), 'file')} done, {speech_s:.1f} s of speech; {len(self.failed)} failed"
        if not self.exact:
            first += "; scored in overlapping windows, as the network looks at all of its input"
        if self.out_dir is not None:
            first += f"\n{self.audio_s:.1f} s of audio; {self.out_dir} holds segments.csv, and NAME.rttm for each file"
        return printable("\n".join([first, *self.doubts, *self.failed.values()]))


class Predictor:
    """Frame scores and speech segments of audio files of any length, rate and number of channels.

    Files are read in blocks. Recurrent layers go on with their state from block to block, so scores are those
    of the whole file, and memory does not grow with its length but by the scores. A network that looks at all
    of its input (bidirectional layers, attention or normalisation over time) cannot go on like this: it sees
    windows of ``block_s`` with ``overlap_s`` more on either side, whose scores are dropped. ``exact`` says
    which it is; this is found out by trying both on noise.

    Args:
        network: (1, samples) → (1, frames), as :func:`load_artifact` gives it.
        metadata: of the artifact: ``sample_rate``, ``hop_length``, ``first_frame_centre_s``, ``threshold``;
            and, where there, ``threshold_on`` ("logit", the default, or "probability": scores are then
            sigmoids), ``n_fft``, ``min_speech_s``, ``min_silence_s``, ``context_frames`` (frames that padding
            at an edge reaches; else found from the layers).
        block_s: seconds of audio per pass.
        overlap_s: seconds by which windows reach into their neighbours.
        threshold: instead of the artifact's; a frame is speech from there upwards.
        hysteresis: once speech, a frame remains so down to ``threshold - hysteresis``.
        min_speech_s, min_silence_s: instead of the artifact's (0.25 and 0.3 s where it has none); shorter pauses are
            filled, then shorter segments dropped; 0 and 0 leave the frames' decisions as they are.

    Raises:
        ArtifactError: if the metadata lacks a value that is needed.
        SettingError: for a duration or hysteresis below 0, or a block of no length.
    """

    def __init__(
        self,
        network: nn.Module,
        metadata: Mapping[str, Any],
        *,
        block_s: float = 30.0,
        overlap_s: float = 5.0,
        threshold: float | None = None,
        hysteresis: float = 0.0,
        min_speech_s: float | None = None,
        min_silence_s: float | None = None,
    ) -> None:
        given = {"threshold": threshold, "min_speech_s": min_speech_s, "min_silence_s": min_silence_s}
        values = {
            "threshold_on": "logit",
            "min_speech_s": MIN_SPEECH_S,
            "min_silence_s": MIN_SILENCE_S,
            **metadata,
            **{k: v for k, v in given.items() if v is not None},
        }
        missing = [k for k in (*NEEDED, "threshold") if k not in values]
        if missing:
            raise ArtifactError(
                f"the artifact's metadata lacks {', '.join(missing)}: set them on the network (self.hop_length = 256; "
                "in samples, Hz and seconds), or in save_artifact's metadata, and write the artifact anew (consolidate)"
            )
        if not math.isfinite(float(values["threshold"])):
            raise SettingError(f"threshold must be a finite number, got {values['threshold']}")
        if metadata.get("threshold_measured") is False and threshold is None:
            warnings.warn("the artifact's threshold was not measured on this network, as its card says", stacklevel=2)
        if values["threshold_on"] not in ("logit", "probability"):
            raise ArtifactError(f"threshold_on must be logit or probability, not {values['threshold_on']!r}")
        for name, value in (("overlap_s", overlap_s), ("hysteresis", hysteresis), *values.items()):
            if name in ("overlap_s", "hysteresis", "min_speech_s", "min_silence_s") and not value >= 0.0:
                raise SettingError(f"{name} must not be negative, got {value}")
        if not block_s > 0.0:
            raise SettingError(f"block_s must be positive, got {block_s}")
        self.network = network.eval()
        self.sample_rate, self.hop_length = int(values["sample_rate"]), int(values["hop_length"])
        self.first_frame_centre_s = float(values["first_frame_centre_s"])
        self.threshold, self.hysteresis = float(values["threshold"]), hysteresis
        self.min_speech_s, self.min_silence_s = float(values["min_speech_s"]), float(values["min_silence_s"])
        self.on_probability = values["threshold_on"] == "probability"
        self.block_s = block_s
        needed = (int(values.get("n_fft", 0)), int(getattr(network, "min_samples", 0)))
        self.min_samples = max(needed) + 16 * self.hop_length
        self.context_frames = int(values.get("context_frames", context_frames(network, self.hop_length)))
        edges_s = (self.min_samples + self.context_frames * self.hop_length) / self.sample_rate
        if edges_s > LONGEST_EDGES_S:
            raise ArtifactError(
                f"hop_length={self.hop_length}, n_fft={needed[0]} and context_frames={self.context_frames} at "
                f"{self.sample_rate} Hz reach over {edges_s:.4g} s, more than {LONGEST_EDGES_S:g}: correct the metadata"
            )
        self.exact = streams_exactly(network, self.hop_length, self.context_frames, min_samples=self.min_samples)
        if not self.exact:
            self.context_frames = round(overlap_s * self.sample_rate / self.hop_length)

    def scores(self, path: str | os.PathLike[str]) -> Scores:
        """Scores of a file's frames, (frames,), on the scale of the threshold.

        Raises:
            AudioError: if the file cannot be read, or is too short for a frame.
        """
        return self._read(path)[0]

    def segments(self, path: str | os.PathLike[str]) -> list[Segment]:
        """Speech segments of a file, (start_s, end_s) each, in order.

        Raises:
            AudioError: if the file cannot be read, or is too short for a frame.
        """
        return self.segments_of(*self._read(path))

    def segments_of(self, scores: Scores, duration_s: float) -> list[Segment]:
        """Speech segments of frame scores."""
        return find_segments(
            scores,
            threshold=self.threshold,
            hysteresis=self.hysteresis,
            frame_s=self.hop_length / self.sample_rate,
            first_frame_centre_s=self.first_frame_centre_s,
            duration_s=duration_s,
            min_speech_s=self.min_speech_s,
            min_silence_s=self.min_silence_s,
        )

    def _stream(self) -> FrameStream:
        try:
            return FrameStream(
                self.network, self.hop_length, self.context_frames, carry=self.exact, min_samples=self.min_samples
            )
        except UserError:
            raise
        except FAILURES as error:
            raise ArtifactError(f"the artifact's network fails on audio: {first_line(error)}") from error

    def _read(
        self, path: str | os.PathLike[str], heard: Callable[[float], None] = lambda seconds: None
    ) -> tuple[Scores, float]:
        """Scores and duration in seconds; ``heard`` is told of each block how long it is."""
        stream, samples, parts = self._stream(), 0, list[Tensor]()
        try:
            for block in read_blocks(path, self.sample_rate, self.block_s):
                samples += len(block)
                heard(len(block) / self.sample_rate)
                parts.append(stream.push(block))
            parts.append(stream.finish())
        except UserError:
            raise
        except FAILURES as error:
            if samples >= self.min_samples:
                raise AudioError(f"{path}: the artifact's network fails on it: {first_line(error)}") from error
            raise AudioError(f"{path}: is too short ({samples} samples at {self.sample_rate} Hz): {error}") from error
        logits = torch.cat(parts)
        scores: Scores = (logits.sigmoid() if self.on_probability else logits).numpy()
        if not np.isfinite(scores).all():
            raise AudioError(f"{path}: the network's scores are not finite. Check the file and the artifact.")
        return scores, samples / self.sample_rate


def predict_files(
    artifact: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    *,
    frame_scores: Literal["npy", "csv"] | None = None,
    device: str | torch.device = "cpu",
    backbone: nn.Module | None = None,
    trusted: bool = False,
    progress: FileProgress | None = None,
    **options: Any,
) -> Predictions:
    """Write the speech segments of audio files.

    For each file ``<name>.rttm``; for all of them ``segments.csv`` (file, start_s, end_s); on request the
    frame scores as ``<name>.npy`` (float32) or ``<name>.csv`` (time_s, score). ``<name>`` is the file's name
    without suffix, below the same subfolders if it was found in a folder. Each is written completely or not
    at all. A file that cannot be used is left out and reported; the others are done all the same.

    Args:
        artifact: folder that ``save_artifact`` wrote.
        inputs: audio files, or folders to search at any depth.
        out_dir: where to.
        frame_scores: format of the scores, on the scale of the threshold; None for none.
        device: where the network runs.
        backbone, trusted: see :func:`load_artifact`.
        progress: shows how far it is; None for nothing.
        options: of :class:`Predictor`.

    Raises:
        ArtifactError: if the artifact cannot be used.
        SettingError: if the inputs hold no audio, two files would have one name, or an option is wrong.
    """
    if frame_scores not in (None, "npy", "csv"):
        raise SettingError(f"frame_scores must be npy, csv or None, got {frame_scores!r}")
    names = name_files(inputs)
    network, metadata = load_artifact(artifact, backbone=backbone, trusted=trusted, device=device)
    predictor = Predictor(network, metadata, **options)
    out_dir = Path(out_dir)
    result = Predictions(exact=predictor.exact, out_dir=out_dir)
    durations_s = dict[Path, float]()
    with progress or FileProgress(io.StringIO()) as shown, audio_doubts() as doubts:
        shown.start(len(names))
        for path, name in names.items():
            shown.file(path)
            try:
                scores, durations_s[path] = predictor._read(path, shown.audio)
                segments = predictor.segments_of(scores, durations_s[path])
                _write_file(out_dir, name, predictor, scores, segments, frame_scores)
                result.segments[path] = segments
            except AudioError as error:
                result.failed[path] = str(error)
            except FileError as error:
                if getattr(error.__cause__, "errno", None) not in _UNUSABLE_NAME:
                    raise  # a full disk is no fault of this file
                result.failed[path] = f"{path}: nothing of this name can be written. Rename it."
            shown.done()
    found = ((printable(path), f"{a:.3f}", f"{b:.3f}") for path, found in result.segments.items() for a, b in found)
    write_atomically(out_dir / "segments.csv", _csv(("file", "start_s", "end_s"), found))
    return replace(result, audio_s=sum(durations_s[path] for path in result.segments), doubts=doubts)


def _write_file(
    out_dir: Path,
    name: Path,
    predictor: Predictor,
    scores: Scores,
    segments: list[Segment],
    frame_scores: Literal["npy", "csv"] | None,
) -> None:
    """What is written of one file."""
    write_atomically(out_dir / f"{name}.rttm", rttm(printable(name.as_posix()), segments).encode())
    if frame_scores == "npy":
        buffer = io.BytesIO()
        np.save(buffer, scores)
        write_atomically(out_dir / f"{name}.npy", buffer.getvalue())
    elif frame_scores == "csv":
        times = predictor.first_frame_centre_s + np.arange(len(scores)) * (predictor.hop_length / predictor.sample_rate)
        rows = ((f"{t:.4f}", f"{s:.6g}") for t, s in zip(times, scores, strict=True))
        write_atomically(out_dir / f"{name}.csv", _csv(("time_s", "score"), rows))


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()
