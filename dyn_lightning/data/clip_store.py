"""Decoded audio kept in memory up to a limit, with each clip's statistics beside it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dyn_lightning.data import mixing
from dyn_lightning.data.audio import AudioError, Samples, read_audio
from dyn_lightning.data.corpora import Clip

# The least loudness (95th percentile of the frame levels) of a clip that can serve. Speech has to stand clear
# of mixing.MIN_SPEECH_DBFS; noise is scaled to a ratio anyway and only has to be there.
MIN_LOUDNESS_DBFS = {"speech": -50.0, "noise": -100.0}


class ClipStore:
    """Reads clips by number; keeps decoded ones until ``capacity_mib`` is full, and statistics of all.

    A clip that found no room is read again each time, only the part asked for. Nothing is ever evicted: clips
    are drawn uniformly, so whatever is kept serves as often as anything else would, and nothing is decoded in
    vain.

    Args:
        clips: what can be read.
        kind: "speech" or "noise", for the messages.
        sample_rate: in Hz.
        capacity_mib: limit of the kept audio in MiB (float32: 16 kHz takes 3.7 MiB a minute).
    """

    def __init__(
        self, clips: Sequence[Clip], kind: Literal["speech", "noise"], sample_rate: int, capacity_mib: float
    ) -> None:
        self.clips, self.kind, self.sample_rate = clips, kind, sample_rate
        self._room_bytes = int(capacity_mib * 2**20)
        self._kept: dict[int, Samples] = {}
        self._stats: dict[int, mixing.ClipStats] = {}

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def kept_bytes(self) -> int:
        """Memory that the kept audio takes."""
        return sum(samples.nbytes for samples in self._kept.values())

    def stats(self, number: int) -> mixing.ClipStats:
        """Statistics of a clip.

        Raises:
            AudioError: the file cannot be read, or is too quiet for its kind.
        """
        if number not in self._stats:
            path = self.clips[number].path
            samples = read_audio(path, self.sample_rate)
            stats = mixing.clip_stats(samples)
            if stats.reference_dbfs < MIN_LOUDNESS_DBFS[self.kind]:
                raise AudioError(
                    f"{path}: is silent ({stats.reference_dbfs:.0f} dBFS), so it cannot serve as "
                    f"{self.kind}. Replace it, or leave it out."
                )
            self._stats[number] = stats
            if samples.nbytes <= self._room_bytes:
                self._room_bytes -= samples.nbytes
                self._kept[number] = samples
        return self._stats[number]

    def excerpt(self, number: int, start: int, length: int) -> Samples:
        """``length`` samples from ``start`` on; a clip that is shorter is repeated (not to be written to).

        Raises:
            AudioError: the file cannot be read, or is silent.
        """
        n_samples = self.stats(number).n_samples
        wanted = min(length, n_samples - start)
        kept = self._kept.get(number)
        if kept is None:
            part = read_audio(self.clips[number].path, self.sample_rate, start, wanted)
        else:
            part = kept[start : start + wanted]
        if wanted < length:
            part = np.resize(part, length)
        return part
