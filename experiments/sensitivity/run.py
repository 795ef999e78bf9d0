"""The study of β and λ_min: every pair with every seed, and budgets beside them, then tables and figures.

``python -m experiments.sensitivity.run --task digits``. A run that is in ``results.jsonl`` is not run again, and a run
that was killed goes on from its last epoch.
"""

from __future__ import annotations

from pathlib import Path

from experiments.command import as_command
from experiments.grid import Grid
from experiments.sensitivity.systems import TASKS, all_systems
from experiments.sensitivity.table import write_tables

STUDY = Grid(Path(__file__).parent, __doc__, TASKS, all_systems, write_tables)

if __name__ == "__main__":
    as_command(STUDY.main)
