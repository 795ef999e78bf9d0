"""ASVspoof 2021, as its own README files state it: test sets alone."""

from typing import Literal

from dyn_lightning.data.corpora.asvspoof import Counts, SpoofCorpus


def _layout(track: Literal["LA", "DF"], counts: Counts) -> SpoofCorpus:
    return SpoofCorpus(
        title=f"ASVspoof2021 {track}",
        roots=("", track, "ASVspoof2021"),
        protocol_folders=(f"keys/{track}/CM", f"{track}-keys-full/keys/{track}/CM"),
        protocols={"eval": "trial_metadata.txt"},
        audio={"eval": f"ASVspoof2021_{track}_eval/flac"},
        # SPEAKER UTTERANCE CODEC TRANSMISSION|SOURCE SYSTEM KEY TRIM SUBSET …
        speaker=0,
        utterance=1,
        system=4,
        key=5,
        subset=7,
        counts={"eval": counts},
    )


LA = _layout("LA", Counts(14816, 133360))
DF = _layout("DF", Counts(14869, 519059))

# SPEAKER UTTERANCE ROOM MICROPHONE DISTANCE ROOM MICROPHONE LOUDSPEAKER DISTANCE KEY TRIM SUBSET: known for its score
# files alone. Its attacks have no names.
PA = SpoofCorpus(
    title="ASVspoof2021 PA",
    roots=(),
    protocol_folders=(),
    protocols={},
    audio={},
    speaker=0,
    utterance=1,
    system=None,
    key=9,
    counts={},
    subset=11,
)
