"""``dyn-lightning score``: error rates of a countermeasure's score file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from dyn_lightning.files import check_absent


def score(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning score``: error rates of a countermeasure's score file. Gives the exit status."""
    parser = ArgumentParser(prog="dyn-lightning score", description="Error rates of a countermeasure's scores.")
    parser.add_argument("--scores", type=str, required=True, help="Lines UTTERANCE SYSTEM KEY SCORE.")
    parser.add_argument(
        "--asv_scores", type=str | None, default=None, help="Lines CM_KEY ASV_KEY SCORE: adds min t-DCF."
    )
    parser.add_argument(
        "--protocol",
        type=str | None,
        default=None,
        help="What each utterance is; lines UTTERANCE SCORE are enough then.",
    )
    parser.add_argument("--out_dir", type=str | None, default=None, help="Write a JSON file and figures there.")
    parser.add_argument("--by_speaker", action="store_true", help="Resample speakers: wider, needs the protocol.")
    parser.add_argument("--n_resamples", type=int, default=1000, help="Of the bootstrap.")
    parser.add_argument("--seed", type=int, default=0, help="Of the bootstrap.")
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there.")
    options = parser.parse_args(None if args is None else list(args))
    # Imported when the options are right: with torch they take seconds.
    from rich.console import Console

    from dyn_lightning.data.score_files import read_scores
    from dyn_lightning.inference.scoring import evaluate_scores, print_scores, read_asv_rates, write_evaluation

    if options.out_dir is not None and not options.overwrite:
        names = ("scores.json", "det.png", "eer_by_system.png")
        check_absent([Path(options.out_dir, name) for name in names], "--out_dir FOLDER")
    table = read_scores(options.scores, options.protocol)
    rates = None if options.asv_scores is None else read_asv_rates(options.asv_scores, table)
    found = evaluate_scores(
        table, rates, by_speaker=options.by_speaker, n_resamples=options.n_resamples, seed=options.seed
    )
    print_scores(found, Console(width=None if sys.stdout.isatty() else 120))
    if options.out_dir is not None:
        for path in write_evaluation(table, found, options.out_dir):
            print(path)
    return 0
