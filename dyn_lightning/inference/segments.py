"""Segments from frame scores, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Segment = tuple[float, float]
Scores = NDArray[np.float32]


def find_segments(
    scores: Scores,
    *,
    threshold: float,
    frame_s: float,
    first_frame_centre_s: float,
    duration_s: float,
    hysteresis: float = 0.0,
    min_speech_s: float = 0.0,
    min_silence_s: float = 0.0,
) -> list[Segment]:
    """Speech segments (start_s, end_s) from one score per frame.

    Each instant has the decision of the frame whose centre is nearest. A frame is speech where its score is
    at least the threshold, and goes on being speech down to ``threshold - hysteresis``. Pauses shorter than
    ``min_silence_s`` are filled, then segments shorter than ``min_speech_s`` dropped.

    Shapes: scores (frames,).
    """
    on, off = scores >= threshold, scores < threshold - hysteresis
    # A frame between the two thresholds repeats the last one outside of them; before any there is silence.
    last = np.maximum.accumulate(np.where(on | off, np.arange(1, len(scores) + 1), 0))
    speech = np.concatenate([[False], on])[last]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speech, [False]]).astype(np.int8)))
    times = first_frame_centre_s + (edges - 0.5) * frame_s
    times[edges == 0], times[edges == len(scores)] = 0.0, duration_s
    filled: list[Segment] = []
    for start, end in times.reshape(-1, 2).tolist():
        if filled and start - filled[-1][1] < min_silence_s:
            filled[-1] = (filled[-1][0], end)
        else:
            filled.append((start, end))
    return [(start, end) for start, end in filled if end - start >= min_speech_s]


def rttm(uri: str, segments: Iterable[Segment]) -> str:
    """Segments as RTTM: SPEAKER lines of the speaker "speech"; white space in the URI becomes "_"."""
    uri = "_".join(uri.split())
    return "".join(
        f"SPEAKER {uri} 1 {start:.3f} {end - start:.3f} <NA> <NA> speech <NA> <NA>\n" for start, end in segments
    )
