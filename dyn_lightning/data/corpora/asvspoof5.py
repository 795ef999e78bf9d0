"""ASVspoof 5, as its own README files state it."""

from dyn_lightning.data.corpora.asvspoof import Counts, SpoofCorpus

ASVSPOOF5 = SpoofCorpus(
    title="ASVspoof 5",
    roots=("", "ASVspoof5"),
    protocol_folders=("ASVspoof5_protocols", ""),
    protocols={
        "train": "ASVspoof5.train.tsv",
        "dev": "ASVspoof5.dev.track_1.tsv",
        "eval": "ASVspoof5.eval.track_1.tsv",
    },
    audio={"train": "flac_T", "dev": "flac_D", "eval": "flac_E_eval"},
    # SPEAKER UTTERANCE GENDER CODEC CODEC_Q CODEC_SEED ATTACK_TAG ATTACK_LABEL KEY TMP
    speaker=0,
    utterance=1,
    system=7,
    key=8,
    enrolments={"dev": "**/ASVspoof5.dev*enroll.*", "eval": "**/ASVspoof5.eval*enroll.*"},
    counts={
        "train": Counts(18797, 163560),
        "dev": Counts(31334, 109616),
        "eval": Counts(138688, 542086),
    },
)
