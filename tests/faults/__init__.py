"""Faults brought about on purpose: kills, full disks, hostile files. Tiny in every run; ``make faults``: all."""

import os

FULL = os.environ.get("FAULTS") == "full"


def size(tiny: int, full: int) -> int:
    """How many: ``full`` of them under ``make faults``."""
    return full if FULL else tiny
