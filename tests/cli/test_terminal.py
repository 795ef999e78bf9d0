"""What stands on the screen of a real terminal when a fit has ended, or was interrupted."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIT = [
    "fit",
    *(a for n in ("task/filter_bank", "dynamic/budget", "trainer/cpu") for a in ("-c", f"{ROOT}/configs/{n}.yaml")),
    "--data.batch_size=4",
    "--data.batches_per_epoch=3",
    "--data.eval_batches=1",
    "--trainer.max_epochs=3",
    "--phases.warmup_epochs=1",
    "--phases.search_epochs=1",
    "--model.lr_lam=0.2",
]


def screen(output: str, columns: int) -> list[str]:
    """Lines that a terminal of this width shows after an output: carriage returns, cursor up, erased lines."""
    lines, row, column = [[]], 0, 0
    for code, letter, text in re.findall(r"\x1b\[([?\d;]*)([A-Za-z])|([^\x1b]|\x1b)", output):
        if letter == "A":
            row = max(0, row - int(code or 1))
        elif letter == "K":
            lines[row] = [] if code == "2" else lines[row][:column]
        elif text == "\r":
            column = 0
        elif text == "\n":
            row += 1
        elif text.isprintable() and not letter:
            if column == columns:
                row, column = row + 1, 0
            while len(lines) <= row:
                lines.append([])
            lines[row] += [" "] * (column + 1 - len(lines[row]))
            lines[row][column] = text
            column += 1
        while len(lines) <= row:
            lines.append([])
    return ["".join(line).rstrip() for line in lines]


def test_the_screen_of_these_tests_erases_as_a_terminal_does():
    assert screen("one\r\ntwo\r\n\x1b[1A\x1b[2Kthree\r\n", 80) == ["one", "three", ""]
    assert screen("\x1b[1mabcd\x1b[0m", 3) == ["abc", "d"]


def run_in_terminal(folder: Path, columns: int, interrupt_at: bytes | None = None) -> tuple[int, list[str]]:
    """Exit status and the screen of a fit, which is interrupted when a pattern appears."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment |= {"TERM": "xterm", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    extra = ["--trainer.max_epochs=4000"] if interrupt_at else []
    process = subprocess.Popen(
        [sys.executable, "-m", "dyn_lightning.cli", *FIT, *extra],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    output, until, interrupted = b"", time.monotonic() + 120, 0.0
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                output += os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
        if interrupt_at and re.search(interrupt_at, output):
            process.send_signal(signal.SIGINT)
            interrupted, interrupt_at = time.monotonic(), None
        elif interrupted and time.monotonic() > interrupted + 15:  # Python drops one that comes within a destructor
            process.send_signal(signal.SIGINT)
            interrupted = time.monotonic()
    status = process.wait(timeout=20)
    os.close(ours)
    return status, screen(output.decode(), columns)


def unwrapped(lines: list[str], columns: int) -> str:
    """Lines of a screen as they were before it broke them at its edge."""
    return "".join(line if len(line) == columns else f"{line}\n" for line in lines)


@pytest.mark.parametrize("columns", [80])
def test_the_end_of_a_fit_stays(tmp_path, columns):
    status, lines = run_in_terminal(tmp_path, columns)
    text = unwrapped(lines, columns)
    assert status == 0, text
    run = "runs/csv/version_0"
    block = text[text.index("\nconsolidated: ") + 1 :].splitlines()
    assert block[0].endswith(f"; {run}/artifact")
    assert block[1] == "  bands 16/64"
    assert block[2] == f"artifact: {run}/artifact"
    assert block[3].startswith(f"best checkpoint: {run}/checkpoints/best.ckpt (val/loss ")
    assert block[4].startswith(f"next: dyn-lightning test -c {run}/config.yaml")
    assert "FilterBankNet: 18,496 parameters, 36.99 kFLOPs/call, 100.0 % of them learnable\n" in text
    assert "Total FLOPs" not in text
    assert "litlogger" not in text


@pytest.mark.parametrize("columns", [110])
def test_an_interrupted_fit_says_how_it_goes_on(tmp_path, columns):
    drawn = rb"Epoch ([2-9]|\d{2,})/"  # a fast run does not draw each
    status, lines = run_in_terminal(tmp_path, columns, interrupt_at=drawn)
    text = unwrapped(lines, columns)
    assert status == 1, text
    last = "runs/csv/version_0/checkpoints/last.ckpt"
    wanted = f"interrupted. It goes on by: dyn-lightning fit -c runs/csv/version_0/config.yaml --ckpt_path {last}\n"
    assert wanted in text
    assert (tmp_path / last).is_file()
