"""Reading audio files: any format libsndfile knows, mixed down to mono, resampled, float32."""

import os
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional
from numpy.typing import NDArray

from dyn_lightning.errors import UserError

AUDIO_SUFFIXES = (".flac", ".wav")

Samples = NDArray[np.float32]


class AudioError(UserError):
    """An audio file cannot be used; the message names the file and the mend."""


class DatasetError(UserError):
    """A data set is incomplete or laid out otherwise; the message names the place and the mend."""


def read_audio(path: str | os.PathLike[str], sample_rate: int, start: int = 0, frames: int | None = None) -> Samples:
    """Reads a file, or a part of it, as mono float32 at ``sample_rate``.

    Channels are averaged. A file at another rate is decoded and resampled as a whole before the part is cut
    out, so that a part is exactly what the same samples are in the whole file.

    Args:
        path: a FLAC or WAV file, or whatever else libsndfile reads.
        sample_rate: wanted rate in Hz.
        start: first sample wanted, counted at ``sample_rate``.
        frames: number of samples wanted; None means all up to the end. Fewer come back where the file ends.

    Returns:
        (samples,), at least one sample, all finite.

    Raises:
        AudioError: the file is missing, is no audio, is truncated, holds no samples in the part wanted, or
            holds NaN or infinite samples.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such file. Check the path, or fetch the data set again.")
    try:
        with soundfile.SoundFile(path) as file:
            native_rate: int = file.samplerate
            seek = native_rate == sample_rate
            if seek:
                file.seek(min(start, file.frames))
            expected = file.frames - file.tell()
            if seek and frames is not None:
                expected = min(expected, frames)
            samples = file.read(expected, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be decoded ({error}). Replace it with an intact file.") from error
    if len(samples) < expected or _ends_early(path):
        raise AudioError(f"{path}: is truncated. Replace it with an intact file.")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds NaN or infinite samples. Replace it, or leave it out.")
    mono: Samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not seek:
        mono = resample(mono, native_rate, sample_rate)[start:]
        mono = mono if frames is None else mono[:frames]
    if not len(mono):
        raise AudioError(f"{path}: holds no samples from sample {start} on. Replace it, or leave it out.")
    return np.ascontiguousarray(mono)


def _ends_early(path: Path) -> bool:
    """Whether a WAV file is shorter than its header says, of which libsndfile makes nothing."""
    if path.suffix.lower() != ".wav":
        return False
    with open(path, "rb") as file:
        header = file.read(8)
    announced = int.from_bytes(header[4:8], "little")
    # All ones: written by a program that did not know the length. One byte less: a missing padding byte.
    return header[:4] == b"RIFF" and announced != 0xFFFFFFFF and path.stat().st_size + 1 < announced + 8


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """Resamples by windowed sinc interpolation, (samples,) → (⌈samples · to_rate / from_rate⌉,)."""
    if not len(samples):
        return samples
    resampled = torchaudio.functional.resample(torch.from_numpy(samples), from_rate, to_rate)
    result: Samples = resampled.numpy()
    return result


def find_audio(folder: str | os.PathLike[str]) -> list[Path]:
    """All FLAC and WAV files at any depth below a folder, sorted.

    Raises:
        DatasetError: the folder does not exist, or holds no such file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Check the path, or download the data set into it.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not found:
        raise DatasetError(f"{folder}: no .flac or .wav file below it. Check that the data set is unpacked there.")
    return found
