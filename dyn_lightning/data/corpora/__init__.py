"""Corpora, one file each: where its files lie in the official layout, and one function that lists its utterances.

They lie side by side below one data root; files may be FLAC or WAV. :mod:`~dyn_lightning.data.corpora.registry` knows
them by name.
"""

from dyn_lightning.data.corpora.ami import Recording
from dyn_lightning.data.corpora.asvspoof import SpoofCorpus, Utterance
from dyn_lightning.data.corpora.clips import SPLITS, Clip, Split, Splits, split_by_group
from dyn_lightning.data.corpora.registry import (
    CORPORA,
    NOISE,
    RECORDINGS,
    SPEECH,
    Entry,
    find_noise,
    find_recordings,
    find_speech,
    has_recordings,
    register_corpus,
    spoof_corpus,
)

__all__ = [
    "CORPORA",
    "NOISE",
    "RECORDINGS",
    "SPEECH",
    "SPLITS",
    "Clip",
    "Entry",
    "Recording",
    "Split",
    "Splits",
    "SpoofCorpus",
    "Utterance",
    "find_noise",
    "find_recordings",
    "find_speech",
    "has_recordings",
    "register_corpus",
    "split_by_group",
    "spoof_corpus",
]
