"""``dyn-lightning pareto``: runs that no other one beats in both error and FLOPs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from dyn_lightning.files import check_absent


def pareto(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning pareto``: runs that no other one beats in both error and FLOPs. Gives the exit status."""
    parser = ArgumentParser(prog="dyn-lightning pareto", description="The Pareto set of finished runs.")
    parser.add_argument(
        "sources",
        type=str,
        nargs="+",
        help="Files of fit --results, folders of dyn-lightning sweep, wandb:ENTITY/PROJECT[/SWEEP].",
    )
    parser.add_argument(
        "--metric",
        type=str | None,
        default=None,
        help="Such as val/eer; if not given, what their task is judged by first.",
    )
    parser.add_argument("--out", type=str, default="front.json", help="The points; a figure goes beside it.")
    parser.add_argument(
        "--dataset", type=str | None, default=None, help="Only runs whose data set has this in its name."
    )
    parser.add_argument("--per_run", action="store_true", help="Each run by itself, instead of means over seeds.")
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are there.")
    options = parser.parse_args(None if args is None else list(args))
    # Imported when the options are right: with torch they take seconds.
    from rich.console import Console

    from dyn_lightning.runs.latest import left_out
    from dyn_lightning.sweep.pareto import print_front, write_front
    from dyn_lightning.sweep.points import mean_over_seeds, metric_of, read_points

    if not options.overwrite:
        check_absent([Path(options.out), Path(options.out).with_suffix(".png")], "--out FILE")
    console = Console(width=None if sys.stdout.isatty() else 160)
    metric = options.metric or metric_of(options.sources)
    points, without, anew = read_points(options.sources, metric)
    points = [p for p in points if options.dataset is None or options.dataset in (p.dataset or "")]
    points = points if options.per_run else mean_over_seeds(points)
    if without:
        console.print(f"{without} finished runs have no {metric} or no FLOPs", highlight=False)
    if anew:
        console.print(left_out(anew), highlight=False)
    print_front(points, metric, console)
    for path in write_front(points, metric, options.out):
        print(path)
    return 0
