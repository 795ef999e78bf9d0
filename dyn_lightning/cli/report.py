"""``dyn-lightning report``: a page of finished runs, and its tables as CSV."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from dyn_lightning.files import check_absent


def report(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning report``: a page of finished runs, and its tables as CSV. Gives the exit status."""
    parser = ArgumentParser(
        prog="dyn-lightning report",
        description="One HTML page of finished runs, which needs nothing else, and its tables as CSV beside it.",
    )
    parser.add_argument(
        "runs", type=str, nargs="+", help="Files of results (*.jsonl), run folders, artifacts, score files."
    )
    parser.add_argument("--out", type=str, default="report.html", help="The page.")
    parser.add_argument(
        "--published",
        type=str,
        nargs="+",
        default=[],
        help="CSVs of published results, laid over runs on the same data.",
    )
    parser.add_argument(
        "--protocol", type=str | None, default=None, help="Of score files that lack what each utterance is."
    )
    parser.add_argument(
        "--metrics", type=str, nargs="+", default=[], help="Those to show; the EERs of tests if not given."
    )
    parser.add_argument("--title", type=str | None, default=None, help="Of the page.")
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there.")
    options = parser.parse_args(None if args is None else list(args))
    # Imported when the options are right: with torch they take seconds.
    from dyn_lightning.report.page import TITLE, write_report

    out = Path(options.out)
    if not options.overwrite:
        check_absent([out, *sorted(out.parent.glob(f"{glob.escape(out.stem)}.*.csv"))], "--out FILE")
    for path in write_report(
        options.runs,
        options.out,
        published=options.published,
        protocol=options.protocol,
        metrics=options.metrics,
        title=options.title or TITLE,
    ):
        print(path)
    return 0
