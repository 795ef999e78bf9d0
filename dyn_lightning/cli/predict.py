"""``dyn-lightning predict``: what an artifact says of audio files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from dyn_lightning.errors import SettingError
from dyn_lightning.files import check_absent

OPTIONS = ("frame_scores", "threshold", "min_speech_s", "min_silence_s", "protocol", "batch_size")
"""Those that some predictor takes, and others do not."""
MIN_SPEECH_S, MIN_SILENCE_S = 0.25, 0.3  # for the help: those of inference.voice_activity, which is slow to import


def predict(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning predict``: what an artifact says of audio files. Gives the exit status."""
    parser = ArgumentParser(
        prog="dyn-lightning predict",
        description="Speech segments of audio files; by an artifact of anti-spoofing, a score for each; by one of "
        "another task, what its predictor writes.",
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
    parser.add_argument(
        "--options", type=dict[str, Any] | None, default=None, help="Of a predictor of your own: {name: value, …}."
    )
    parser.add_argument(
        "--trusted", action="store_true", help="Import the classes that the artifact names, whatever they are."
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there.")
    options = parser.parse_args(None if args is None else list(args))
    # Imported when the options are right: with torch they take seconds.
    from dyn_lightning.artifact.files import ARCHITECTURE, read_architecture
    from dyn_lightning.inference import predictor_of
    from dyn_lightning.inference.progress import FileProgress

    metadata = read_architecture(Path(options.artifact) / ARCHITECTURE)["metadata"]
    predictor = predictor_of(metadata, options.artifact, trusted=options.trusted)
    given = {name: options[name] for name in OPTIONS if options[name] is not None} | (options.options or {})
    if strange := [name for name in given if name not in predictor.options]:
        raise SettingError(
            f"{options.artifact}: an artifact of {metadata.get('task')} has no use for {', '.join(strange)}"
        )
    if not options.overwrite:
        check_absent(predictor.written(options.audio, options.out_dir, **given), "--out_dir FOLDER")
    result = predictor.run(
        options.artifact,
        options.audio,
        options.out_dir,
        device=options.device,
        trusted=options.trusted,
        progress=FileProgress(),
        **given,
    )
    encoding = sys.stdout.encoding or "utf-8"  # of a terminal that may not know each letter of a name
    print(result.summary().encode(encoding, "backslashreplace").decode(encoding))
    return result.exit_code
