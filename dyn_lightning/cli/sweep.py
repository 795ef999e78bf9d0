"""``dyn-lightning sweep``: the runs of a W&B sweep file on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from dyn_lightning.errors import SettingError


def sweep(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning sweep``: the runs of a W&B sweep file on this machine. Gives the exit status."""
    parser = ArgumentParser(
        prog="dyn-lightning sweep",
        description="Run a W&B sweep file on this machine, without a server: grid and random search.",
    )
    parser.add_argument("file", type=str, help="The sweep file.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time.")
    parser.add_argument("--runs", type=str | None, default=None, help="Folder; runs/sweeps/NAME if not given.")
    parser.add_argument("--max_runs", type=int | None, default=None, help="At most so many runs.")
    parser.add_argument("--seed", type=int, default=0, help="Of a random search.")
    options = parser.parse_args(None if args is None else list(args))
    # Imported when the options are right; the runner needs POSIX, which the other commands do not.
    from rich.console import Console

    from dyn_lightning.sweep.file import read_sweep, runs_of
    from dyn_lightning.sweep.runner import run_all
    from dyn_lightning.sweep.summary import print_summary, state_of

    for name in ("jobs", "max_runs"):
        if options[name] is not None and options[name] < 1:
            raise SettingError(f"--{name} {options[name]} must be 1 or more")
    console = Console(width=None if sys.stdout.isatty() else 160)
    given = read_sweep(options.file)
    runs = runs_of(given, max_runs=options.max_runs, seed=options.seed)
    if given.early_terminate:
        console.print("early_terminate is for W&B's server: here every run goes to its end")
    folder = options.runs or Path("runs", "sweeps", given.path.stem)
    outcome = run_all(runs, folder, jobs=options.jobs, console=console, metric=given.metric)
    print_summary(given, runs, outcome, console)
    finished = any(state_of(run, outcome) == "finished" for run in runs)
    best = f"dyn-lightning pareto {folder}" + (f" --metric {given.metric}" if given.metric else "")
    written = f"written: {folder}" + (f"; the best of it: {best}" if finished else "")
    console.print(written, highlight=False, markup=False, soft_wrap=True)
    if outcome.stopped:
        return 130
    return int(any(state_of(run, outcome) == "failed" for run in runs))
