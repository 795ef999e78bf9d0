"""How far a sweep is, in a line a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dyn_lightning.runs.checks import is_number
from dyn_lightning.runs.measures import info_of


@dataclass
class Progress:
    """Counts the runs that have ended, and what they took.

    Attributes:
        total: runs of the sweep.
        done: of these, that have ended; those that were finished before among them.
        jobs: at a time.
        metric: that is shown of each, if any.
        wall_time_s: of the runs that ended here.
        timed: how many these are.
    """

    total: int
    done: int
    jobs: int
    metric: str | None = None
    wall_time_s: float = 0.0
    timed: int = 0

    def ended(self, wall_time_s: float, record: Mapping[str, Any] | None) -> str:
        """Count a run that has ended; gives "3 of 6, val/eer 4.93 %, 2 min; about 6 min left"."""
        self.done += 1
        self.timed += 1
        self.wall_time_s += wall_time_s
        words = [f"{self.done} of {self.total}"]
        value: Any = ((record or {}).get("metrics") or {}).get(self.metric)
        if self.metric is not None and record is not None and is_number(value):
            about = info_of(self.metric, [record])
            words.append(f"{self.metric} {about.scale * value:.4g} {about.unit}".rstrip())
        text = ", ".join([*words, duration(wall_time_s)])
        left = self.total - self.done
        return f"{text}; about {duration(left * self.wall_time_s / self.timed / self.jobs)} left" if left else text


def duration(seconds: float) -> str:
    """A time in words.

    >>> [duration(s) for s in (4.2, 130.0, 8000.0)]
    ['4 s', '2 min', '2.2 h']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
