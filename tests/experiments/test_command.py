"""What the studies' command lines share."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.command import as_command, results_file
from experiments.digits.run import STUDY as DIGITS
from experiments.filter_bank.run import STUDY as FILTER_BANK
from experiments.peers.run import parse as peers
from experiments.sensitivity.run import STUDY as SENSITIVITY
from experiments.vad.run import STUDY as VAD


def test_runs_are_written_to_a_file_of_ones_own() -> None:
    found = [p([]).results for p in (DIGITS.parse, FILTER_BANK.parse, peers, VAD.parse, SENSITIVITY.parse)]
    assert found == [results_file(name) for name in ("digits", "filter_bank", "peers", "vad", "sensitivity")]
    assert not any(Path(path).is_relative_to("experiments") for path in found)


def test_data_that_are_absent_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere: no such folder"):
        as_command(lambda: VAD.main(["--data_root", str(tmp_path / "nowhere")]))


def test_other_ends_are_as_they_were() -> None:
    with pytest.raises(SystemExit) as ended:
        as_command(lambda: 1)
    assert ended.value.code == 1

    def fails() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        as_command(fails)
