"""The study of placement: every choice of dynamic layers at every budget in its reach, with every seed.

``python -m experiments.placement.run --task vad``. A run that is in ``results.jsonl`` is not run again, and a run that
was killed goes on from its last epoch.
"""

from __future__ import annotations

from pathlib import Path

from experiments.command import as_command
from experiments.grid import Grid
from experiments.placement.systems import TASKS, all_systems
from experiments.placement.table import write_tables

STUDY = Grid(Path(__file__).parent, __doc__, TASKS, all_systems, write_tables)

if __name__ == "__main__":
    as_command(STUDY.main)
