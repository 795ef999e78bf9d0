"""How far a run over audio files is: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dyn_lightning.inference.audio_files import count, printable

LINE_EVERY_S = 30.0


class FileProgress:
    """Shows the file at work, how many are done, and the minutes of audio, on the error stream.

    Args:
        stream: where to; the error stream if not given.
        clock: the time in seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._files = self._done = 0
        self._audio_s, self._last_s, self._name = 0.0, clock(), ""
        self._bar: Progress | None = None

    def start(self, files: int) -> None:
        """There are so many files."""
        self._files, self._last_s = files, self._clock()
        if self._stream.isatty() and self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"))
            console = Console(file=self._stream)
            self._bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
            self._bar.add_task("", total=files, done="")
            self._bar.start()

    def file(self, path: Path) -> None:
        """This file is next."""
        self._name = printable(path.name)
        self._show()

    def audio(self, seconds: float) -> None:
        """So much of it has been heard since."""
        self._audio_s += seconds
        self._show()

    def done(self) -> None:
        """The file is done, or has failed."""
        self._done += 1
        self._show()

    def line(self) -> str:
        """As words."""
        return f"{self._done} of {count(self._files, 'file')}, {self._audio_s / 60:.1f} min of audio"

    def _show(self) -> None:
        if self._bar is not None:
            name = escape(self._name if len(self._name) <= 30 else self._name[:29] + "…")
            self._bar.update(self._bar.task_ids[0], description=name, completed=self._done, done=self.line())
        elif self._clock() - self._last_s >= LINE_EVERY_S:
            self._last_s = self._clock()
            print(f"{self.line()}; at {self._name}", file=self._stream, flush=True)

    def __enter__(self) -> FileProgress:
        return self

    def __exit__(self, *raised: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
