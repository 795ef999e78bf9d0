"""``dyn-lightning predict``: what an artifact says of audio files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from dyn_lightning.errors import SettingError
from dyn_lightning.files import check_absent

PREDICTED = ("FrameDetection", "SpoofDetection")
MIN_SPEECH_S, MIN_SILENCE_S = 0.25, 0.3  # for the help: those of inference.voice_activity, which is slow to import


def predict(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning predict``: what an artifact says of audio files. Gives the exit status."""
    parser = ArgumentParser(
        prog="dyn-lightning predict",
        description="Speech segments of audio files or, by an artifact of anti-spoofing, a score for each.",
    )
    parser.add_argument("--artifact", type=str, required=True, help="Folder that consolidation wrote.")
    parser.add_argument("--audio", type=str, nargs="+", required=True, help="Audio files, or folders.")
    parser.add_argument("--out_dir", type=str, default="predictions", help="Where RTTM, CSV and score files go.")
    parser.add_argument("--device", type=str, default="cpu", help="Where the network runs, such as cuda.")
    segments = parser.add_argument_group("Voice activity")
    segments.add_argument(
        "--frame_scores", type=Literal["npy", "csv"] | None, default=None, help="Write the scores of frames too."
    )
    segments.add_argument("--threshold", type=float | None, default=None, help="Instead of the artifact's.")
    for name, what, default in (
        ("speech", "Leave out segments of speech", MIN_SPEECH_S),
        ("silence", "Fill pauses", MIN_SILENCE_S),
    ):
        note = f"{what} shorter than this many seconds; if not given the artifact's, or {default}; 0 for none."
        segments.add_argument(f"--min_{name}_s", type=float | None, default=None, help=note)
    spoofing = parser.add_argument_group("Anti-spoofing")
    spoofing.add_argument(
        "--protocol", type=str | None, default=None, help="Of ASVspoof: what each utterance is, and which to score."
    )
    spoofing.add_argument("--batch_size", type=int | None, default=None, help="Utterances per pass, 32 if not given.")
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there.")
    options = parser.parse_args(None if args is None else list(args))
    # Imported when the options are right: with torch they take seconds.
    from dyn_lightning.artifact.files import ARCHITECTURE, read_architecture
    from dyn_lightning.inference import Predictions, UtteranceScores, predict_files, score_utterances
    from dyn_lightning.inference.progress import FileProgress

    own = {
        False: ("frame_scores", "threshold", "min_speech_s", "min_silence_s"),
        True: ("protocol", "batch_size"),
    }
    metadata = read_architecture(Path(options.artifact) / ARCHITECTURE)["metadata"]
    task = metadata.get("task")
    if task not in (None, *PREDICTED):  # one written in Python may not say
        raise SettingError(
            f"{options.artifact}: predict does {' and '.join(PREDICTED)}, not {task}. Run the network in Python: "
            "dyn_lightning.artifact.load_artifact"
        )
    is_spoofing = task == PREDICTED[1]
    if strange := [name for name in own[not is_spoofing] if options[name] is not None]:
        raise SettingError(
            f"{options.artifact}: an artifact of {metadata.get('task')} has no use for {', '.join(strange)}"
        )
    if not options.overwrite:
        check_absent(_written(options, is_spoofing), "--out_dir FOLDER")
    given: dict[str, Any] = {name: options[name] for name in own[is_spoofing] if options[name] is not None}
    run = score_utterances if is_spoofing else predict_files
    result: Predictions | UtteranceScores = run(
        options.artifact, options.audio, options.out_dir, device=options.device, progress=FileProgress(), **given
    )
    encoding = sys.stdout.encoding or "utf-8"  # of a terminal that may not know each letter of a name
    print(result.summary().encode(encoding, "backslashreplace").decode(encoding))
    return result.exit_code


def _written(options: Any, is_spoofing: bool) -> list[Path]:
    """The files that the command writes."""
    from dyn_lightning.inference.audio_files import name_files
    from dyn_lightning.inference.spoofing import SCORE_FILE

    folder = Path(options.out_dir)
    if is_spoofing:
        return [folder / SCORE_FILE]
    suffixes = ["rttm"] + ([] if options.frame_scores is None else [options.frame_scores])
    names = name_files(options.audio).values()
    return [folder / "segments.csv", *(folder / f"{name}.{suffix}" for name in names for suffix in suffixes)]
