"""What an artifact's network says of audio files: speech segments, or a score for each utterance."""

from dyn_lightning.files import write_atomically
from dyn_lightning.inference.segments import Segment, find_segments, rttm
from dyn_lightning.inference.spoofing import UtteranceScores, score_utterances
from dyn_lightning.inference.voice_activity import Predictions, Predictor, predict_files

__all__ = [
    "Predictions",
    "Predictor",
    "Segment",
    "UtteranceScores",
    "find_segments",
    "predict_files",
    "rttm",
    "score_utterances",
    "write_atomically",
]
