"""Reading audio files: any format libsndfile knows, mixed down to mono, resampled, float32."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
import torch
import torchaudio.functional
from numpy.typing import NDArray

from dyn_lightning.data.headers import Pieces, mended
from dyn_lightning.errors import UserError

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".caf", ".au", ".sph")
RATES_HZ = (1000, 1_000_000)
MAX_CHANNELS = 256
MAX_DURATION_S = 3600.0  # of an item of a data set: 220 MiB at 16 kHz
MAX_RESAMPLING_KERNEL = 2**26  # elements: 256 MiB
_BLOCK_VALUES = 2**21  # decoded at a time, all channels together: 8 MiB
_CLUTTER = ("__MACOSX", "@eaDir")

Samples = NDArray[np.float32]


class AudioError(UserError):
    """An audio file cannot be used; the message names the file and the mend."""


class DatasetError(UserError):
    """A data set is incomplete or laid out otherwise; the message names the place and the mend."""


class AudioWarning(UserWarning):
    """An audio file or a data set can be used, but something of it is strange; the message names it."""


class AudioFile:
    """An audio file that is decoded block by block up to its end, whatever length its header states.

    Args:
        path: a FLAC or WAV file, or whatever else libsndfile reads.

    Attributes:
        sample_rate: in Hz.
        frames: number of samples, as far as the header tells; only what is decoded counts.
        doubt: what its user should know, though the file can be used; None for nothing.

    Raises:
        AudioError: the file is missing, is no audio, is cut, holds no samples, or states a rate or number of channels
            that no recording has.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise AudioError(f"{path}: no such file. Check the path, or fetch the data set again.")
        try:
            found = mended(self.path)
        except OSError as error:
            raise AudioError(f"{path}: cannot be read ({error.strerror}). Check its permissions and disk.") from error
        self._begun = False
        self._view = found.source if isinstance(found.source, Pieces) else None
        try:
            if found.cut is not None:
                raise AudioError(f"{path}: is truncated, {found.cut}. Replace it with an intact file.")
            self._file = self._open(found.source)
        except AudioError:
            self._close_view()
            raise
        self.doubt = None if found.doubt is None else f"{path}: {found.doubt}."
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int = self._file.frames
        self._check_header()

    def _open(self, source: Path | Pieces) -> soundfile.SoundFile:
        # As bytes: soundfile encodes a name itself, and not one that is no text.
        given = os.fsencode(source) if isinstance(source, Path) and os.name == "posix" else source
        try:
            return soundfile.SoundFile(given)
        except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
            if self.path.stat().st_size == 0:
                raise AudioError(f"{self.path}: cannot be decoded, it is empty (0 bytes). Fetch it again.") from error
            raise self._undecodable(error) from error

    def _check_header(self) -> None:
        strange = None
        if not RATES_HZ[0] <= self.sample_rate <= RATES_HZ[1]:
            strange = f"a sample rate of {self.sample_rate} Hz, which is not within {RATES_HZ[0]} and {RATES_HZ[1]}"
        elif self.channels > MAX_CHANNELS:
            strange = f"{self.channels} channels, of which {MAX_CHANNELS} are read at most"
        elif not self.frames:
            strange = "no samples"
        if strange is not None:
            self.close()
            verb = "holds" if strange == "no samples" else "its header states"
            raise AudioError(f"{self.path}: {verb} {strange}. Replace it, or leave it out.")

    def blocks(self, start: int = 0, frames: int | None = None, block: int | None = None) -> Iterator[Samples]:
        """Mono samples in blocks, channels averaged: (samples,) each, at the file's own rate.

        Args:
            start: first sample.
            frames: how many; None for all up to the end, and it is then checked that the end is there.
            block: samples of a block at most; memory for them is never more than 8 MiB.

        Raises:
            AudioError: the file cannot be decoded, is truncated, or holds NaN or infinite samples.
        """
        limit = max(1, _BLOCK_VALUES // self.channels)
        size = min(limit, block or limit)
        left = self.frames - min(start, self.frames)
        left = left if frames is None else min(left, frames)
        self._begun = True
        try:
            if start:
                self._file.seek(min(start, self.frames))
            while left:
                samples = self._file.read(min(size, left), dtype="float32", always_2d=True)
                if not len(samples):
                    missing = f"{left} of {self.frames} samples are missing"
                    raise AudioError(f"{self.path}: is truncated, {missing}. Replace it with an intact file.")
                if not np.isfinite(samples).all():
                    raise AudioError(f"{self.path}: holds NaN or infinite samples. Replace it, or leave it out.")
                left -= len(samples)
                yield samples[:, 0] if self.channels == 1 else samples.mean(axis=1, dtype=np.float32)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise self._undecodable(error) from error

    def _undecodable(self, error: Exception) -> AudioError:
        reason = str(getattr(error, "error_string", error)).rstrip(". ") or "of no known kind"
        if self._begun:
            reason += ", damaged or truncated"
        return AudioError(f"{self.path}: cannot be decoded ({reason}). Replace it with an intact file.")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._close_view()

    def _close_view(self) -> None:
        if self._view is not None:
            self._view.close()

    def __enter__(self) -> "AudioFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
            holds NaN or infinite samples; see :class:`AudioFile`.
    """
    with AudioFile(path) as file:
        if file.doubt is not None:
            warnings.warn(file.doubt, AudioWarning, stacklevel=2)
        if file.sample_rate == sample_rate:
            mono = _joined(list(file.blocks(start, frames)))
        else:
            try:
                check_rates(file.sample_rate, sample_rate)
            except ValueError as error:
                raise AudioError(f"{path}: {error}.") from error
            mono = resample(_joined(list(file.blocks())), file.sample_rate, sample_rate)[start:]
            mono = mono if frames is None else mono[:frames]
    if not len(mono):
        raise AudioError(f"{path}: holds no samples from sample {start} on. Replace it, or leave it out.")
    return np.ascontiguousarray(mono)


def _joined(blocks: Sequence[Samples]) -> Samples:
    if len(blocks) == 1:
        return blocks[0]
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def check_rates(from_rate: int, to_rate: int) -> None:
    """Raises ValueError if two rates have so little in common that the filter between them would not fit in memory."""
    step_in, step_out = from_rate // np.gcd(from_rate, to_rate), to_rate // np.gcd(from_rate, to_rate)
    width = -(-6 * step_in // (min(step_in, step_out) * 0.99))
    if step_out * (step_in + 2 * width) > MAX_RESAMPLING_KERNEL:
        raise ValueError(
            f"{from_rate} Hz and {to_rate} Hz have too small a common divisor to resample in little memory; convert "
            "the file to a usual rate"
        )


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """Resamples by windowed sinc interpolation, (samples,) → (⌈samples · to_rate / from_rate⌉,)."""
    if not len(samples):
        return samples
    resampled = torchaudio.functional.resample(torch.from_numpy(samples), from_rate, to_rate)
    result: Samples = resampled.numpy()
    return result


def list_audio(folder: Path) -> list[Path]:
    """All audio files at any depth below a folder, sorted, without the clutter of systems (``._x.flac``)."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    return sorted(p for p in found if not is_clutter(p.relative_to(folder)) and p.is_file())


def is_clutter(path: Path) -> bool:
    """Whether a file is hidden, or in a folder that is: AppleDouble files of macOS, previews, trash."""
    return any(part.startswith(".") or part in _CLUTTER for part in path.parts)


def find_audio(folder: str | os.PathLike[str]) -> list[Path]:
    """All audio files at any depth below a folder, sorted; files of 0 bytes are left out with a warning.

    Raises:
        DatasetError: the folder does not exist, or holds no such file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Check the path, or download the data set into it.")
    found = list_audio(folder)
    empty = {path for path in found if not path.stat().st_size}
    if empty:
        names = ", ".join(str(path) for path in sorted(empty)[:3]) + (", …" if len(empty) > 3 else "")
        warnings.warn(f"{len(empty)} empty audio files are left out: {names}", AudioWarning, stacklevel=2)
    if len(found) == len(empty):
        suffixes = " ".join(AUDIO_SUFFIXES)
        raise DatasetError(f"{folder}: no audio file ({suffixes}) below it. Check that the data set is unpacked.")
    return [path for path in found if path not in empty]
