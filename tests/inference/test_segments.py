"""The rules for segments, and how they are written."""

import itertools

import numpy as np

from dyn_lightning.inference import find_segments, rttm


def segments(decisions, **options):
    """Segments of frames of 1 s whose centres lie at 0.5, 1.5, …"""
    scores = np.array(decisions, dtype=np.float32)
    options = {
        "threshold": 0.5,
        "frame_s": 1.0,
        "first_frame_centre_s": 0.5,
        "duration_s": len(scores),
    } | options
    return find_segments(scores, **options)


def test_each_instant_goes_to_the_nearest_frame():
    assert segments([0, 1, 1, 0, 1]) == [(1, 3), (4, 5)]
    assert segments([0, 0]) == []
    assert segments([0.5]) == [(0, 1)]
    # Before the first centre and after the last one the outermost frames decide, up to the file's ends.
    assert segments([1, 0, 1], first_frame_centre_s=2.0, duration_s=9.5) == [(0, 2.5), (3.5, 9.5)]


def test_short_pauses_are_filled_before_short_segments_are_dropped():
    decisions = [1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1]
    assert segments(decisions, min_silence_s=2) == [(0, 3), (5, 6), (9, 12)]
    assert segments(decisions, min_speech_s=2) == [(9, 12)]
    assert segments(decisions, min_silence_s=2, min_speech_s=2) == [(0, 3), (9, 12)]
    assert segments(decisions, min_silence_s=3.5) == [(0, 12)]


def test_hysteresis_against_a_state_machine():
    scores = np.random.default_rng(0).random(300).astype(np.float32)
    state, decisions = False, []
    for score in scores:
        state = score >= 0.7 or (state and score >= np.float32(0.7 - 0.3))
        decisions.append(state)
    found = segments(scores, threshold=0.7, hysteresis=0.3)
    runs = [(k, len(list(g))) for k, g in itertools.groupby(decisions)]
    ends = np.cumsum([n for _, n in runs])
    assert found == [(end - n, end) for (k, n), end in zip(runs, ends, strict=True) if k]
    assert len(found) > 10


def test_rttm_lines():
    lines = rttm("a b/c", [(0.0, 1.25), (2.0004, 3.0)])
    assert lines == (
        "SPEAKER a_b/c 1 0.000 1.250 <NA> <NA> speech <NA> <NA>\n"
        "SPEAKER a_b/c 1 2.000 1.000 <NA> <NA> speech <NA> <NA>\n"
    )
