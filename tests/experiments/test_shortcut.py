"""The probe's statistics and report; its run itself takes a minute."""

import numpy as np
import pytest

from experiments.antispoofing.shortcut import READING, Row, markdown, repetition_period, statistics, write_report


def noise(n, level=0.1):
    return (level * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


def test_period_of_a_repetition():
    assert repetition_period(np.resize(noise(700), 2000)) == 700
    assert repetition_period(np.resize(noise(1900), 2000)) == 1900
    assert repetition_period(noise(2000)) == 2000
    silent_start = np.concatenate([np.zeros(300, np.float32), noise(400)])
    assert repetition_period(np.resize(silent_start, 2000)) == 700


def test_floor_is_that_of_the_quiet_frames():
    samples = noise(16000, 1e-3)
    samples[4000:12000] += noise(8000, 0.3)
    duration_s, low_db, high_db, period_s, loud_db = statistics(samples)
    quiet = statistics(noise(16000, 1e-3))
    assert duration_s == period_s == 1.0
    assert low_db == pytest.approx(quiet[1], abs=1.0)
    assert high_db == pytest.approx(quiet[2], abs=2.0)
    assert loud_db > quiet[4] + 1.0  # half of it is nearly silent
    assert statistics(noise(16000, 1e-2))[4] == pytest.approx(quiet[4], abs=0.1)
    assert statistics(noise(16000, 1e-2))[1] == pytest.approx(quiet[1] + 20, abs=0.5)


def test_report_keeps_what_was_written_by_hand(tmp_path):
    cells = {(probe, part): [40.0, 42.0] for probe in ("logistic", "trees") for part in ("dev", "eval")}
    cells["trees", "eval"] = [12.34]
    table = markdown([Row("whole files", "duration", cells)], ["a note"])
    assert "| whole files | duration | 41.0 ± 1.4 | 41.0 ± 1.4 | 41.0 ± 1.4 | 12.3 |" in table
    path = tmp_path / "shortcut.md"
    write_report(path, "old table")
    path.write_text(path.read_text() + "by hand\n")
    write_report(path, table)
    text = path.read_text()
    assert "old table" not in text
    assert table in text
    assert text.endswith(f"{READING}\nby hand\n")
