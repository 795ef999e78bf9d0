"""What an artifact's network says of audio files: speech segments, or a score for each utterance."""

from dyn_lightning.files import write_atomically
from dyn_lightning.inference.predictors import FilePredictor, predictor_named, predictor_of, register_predictor
from dyn_lightning.inference.segments import Segment, find_segments, rttm
from dyn_lightning.inference.spoofing import UtteranceScores, score_utterances
from dyn_lightning.inference.voice_activity import Predictions, Predictor, predict_files

__all__ = [
    "FilePredictor",
    "Predictions",
    "Predictor",
    "Segment",
    "UtteranceScores",
    "find_segments",
    "predict_files",
    "predictor_named",
    "predictor_of",
    "register_predictor",
    "rttm",
    "score_utterances",
    "write_atomically",
]
