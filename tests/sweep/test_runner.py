"""The local runner: several at a time, once each, in folders of their own, whatever happens to them."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from dyn_lightning.runs import append_result, read_results
from dyn_lightning.sweep import runner
from dyn_lightning.sweep.journal import Journal, new_record
from dyn_lightning.sweep.runner import run_all, run_environment

RUNS = Path("runs")


def calls() -> list[dict]:
    """Arguments of every call of the program, in order."""
    path = Path("calls.txt")
    return [json.loads(line)[0] for line in path.read_text().splitlines()] if path.exists() else []


def events(key: str) -> list[str]:
    return [line["event"] for line in read_results(RUNS / "journal.jsonl") if line["run"] == key]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # nobody in here may have waited for a grandchild yet


def wait_for(condition, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def when(condition, action) -> threading.Thread:
    def watch() -> None:
        wait_for(condition)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_every_run_is_run_once_in_its_own_folder(make_runs, quiet):
    runs = make_runs(parameters={"a": {"values": [1, 2, 3]}, "b": {"value": "x"}})
    outcome = run_all(runs, RUNS, jobs=2, console=quiet)
    assert not outcome.stopped
    for run in runs:
        log = (RUNS / run.key / "log.txt").read_text()
        assert log.startswith(f"$ python program.py --a={run.parameters['a']} --b=x\nworking on")
        line = outcome.latest[run.key]
        assert (line["event"], line["exit_code"], line["parameters"]) == ("finished", 0, dict(run.parameters))
        assert line["record"] == read_results(RUNS / run.key / "results.jsonl")[0]
        assert events(run.key) == ["started", "finished"]
    assert len(calls()) == 3

    again = run_all(runs, RUNS, jobs=2, console=quiet)
    assert again.latest == outcome.latest
    assert len(calls()) == 3
    more = make_runs(parameters={"a": {"values": [4, 2]}, "b": {"value": "x"}})
    run_all(more, RUNS, jobs=2, console=quiet)
    assert [call["a"] for call in calls()[3:]] == ["4"]


def test_jobs_are_at_work_at_the_same_time(make_runs, quiet):
    runs = make_runs(parameters={"a": {"values": [1, 2]}, "act": {"value": "meet"}})
    outcome = run_all(runs, RUNS, jobs=2, console=quiet)
    assert {line["event"] for line in outcome.latest.values()} == {"finished"}


def test_a_failing_run_shows_its_log_and_stops_no_other(make_runs, capsys):
    runs = make_runs(parameters={"a": {"values": [1, 2]}, "act": {"values": ["fail", "work"]}})
    outcome = run_all(runs, RUNS, jobs=1, console=Console(width=200))
    failed = [run.key for run in runs if run.parameters["act"] == "fail"]
    assert {k for k, line in outcome.latest.items() if line["event"] == "failed"} == set(failed)
    assert outcome.latest[failed[0]]["exit_code"] == 3
    said = capsys.readouterr().out
    assert f"{failed[0]} failed with exit status 3" in said
    assert said.count("  this is why\n") == 2
    assert str(RUNS.resolve() / failed[0] / "log.txt") in said
    # It is tried again, those that finished are not.
    run_all(runs, RUNS, jobs=1, console=Console(width=200))
    assert [call["act"] for call in calls()[4:]] == ["fail", "fail"]


def test_a_program_that_is_absent_fails(make_runs, quiet):
    runs = make_runs(parameters={"a": {"value": 1}}, command=["/no/such/program", "${args}"])
    (line,) = run_all(runs, RUNS, jobs=1, console=quiet).latest.values()
    assert (line["event"], line["exit_code"]) == ("failed", 127)
    assert "No such file" in (RUNS / runs[0].key / "log.txt").read_text()


def test_a_record_that_cannot_be_read_is_a_failure(make_runs, capsys):
    runs = make_runs(parameters={"a": {"values": [1, 2]}})
    (RUNS / runs[0].key).mkdir(parents=True)
    (RUNS / runs[0].key / "results.jsonl").write_text("nonsense\n")
    outcome = run_all(runs, RUNS, jobs=1, console=Console(width=200))
    assert [outcome.latest[run.key]["event"] for run in runs] == ["failed", "finished"]
    assert "results.jsonl, line 1: is no JSON" in capsys.readouterr().out


def test_a_fit_without_a_record_is_not_finished(make_runs, capsys):
    """Lightning exits with 0 where SIGTERM ends it."""
    parameters = {"a": {"value": 1}, "act": {"values": ["silent", "work"]}}
    runs = make_runs(parameters=parameters, extra=["dyn_lightning.cli"])
    outcome = run_all(runs, RUNS, jobs=1, console=Console(width=200))
    assert [outcome.latest[run.key]["event"] for run in runs] == ["failed", "finished"]
    assert "without a record" in capsys.readouterr().out
    others = make_runs(parameters=parameters)
    assert {line["event"] for line in run_all(others, Path("others"), jobs=1, console=Console()).latest.values()} == {
        "finished"
    }


@pytest.fixture
def signals_are_heard():
    """Who starts the tests may have them ignore Ctrl-C, as a shell does for what runs in its background."""
    before = {n: signal.signal(n, signal.default_int_handler) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_are_heard")
@pytest.mark.parametrize("deaf", [False, True])
def test_ctrl_c_stops_all_with_their_workers_and_keeps_what_is_done(make_runs, quiet, monkeypatch, deaf):
    monkeypatch.setattr(runner, "GRACE_S", 1.0)
    parameters = {"a": {"values": [1, 2]}, "act": {"values": ["work", "hang"]}, "deaf": {"value": deaf}}
    runs = make_runs(parameters=parameters)
    pids = Path("hanging.txt")
    thread = when(
        lambda: pids.exists() and len(pids.read_text().split()) == 2, lambda: os.kill(os.getpid(), signal.SIGINT)
    )
    before = signal.getsignal(signal.SIGINT)
    outcome = run_all(runs, RUNS, jobs=1, console=quiet)
    thread.join()
    assert outcome.stopped
    assert signal.getsignal(signal.SIGINT) == before
    wait_for(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))
    assert [outcome.latest.get(run.key, {}).get("event") for run in runs] == ["finished", "stopped", None, None]
    # The next call runs what is left, and the run that was stopped.
    pids.unlink()
    thread = when(pids.exists, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert run_all(runs, RUNS, jobs=1, console=quiet).stopped
    thread.join()
    assert [call["act"] for call in calls()] == ["work", "hang", "hang"]
    assert events(runs[1].key) == ["started", "stopped"] * 2


def test_a_run_goes_on_from_its_latest_checkpoint(make_runs, quiet):
    runs = make_runs(parameters={"a": {"value": 1}})
    for age, name in ((100, "old"), (10, "new"), (1, "other")):
        path = RUNS / runs[0].key / name / ("best.ckpt" if name == "other" else "last.ckpt")
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    run_all(runs, RUNS, jobs=1, console=quiet)
    newest = str(RUNS.resolve() / runs[0].key / "new" / "last.ckpt")
    assert calls() == [{"a": "1", "ckpt_path": newest}]
    started = read_results(RUNS / "journal.jsonl")[0]
    assert (started["event"], started["checkpoint"]) == ("started", newest)


def test_a_run_that_another_process_has_is_left_to_it(make_runs, quiet):
    """Even where that process was started by a runner that is gone."""
    runs = make_runs(parameters={"a": {"values": [1, 2]}})
    lock = runner._locked(RUNS / runs[0].key)
    worker = subprocess.Popen(["sleep", "100"], pass_fds=(lock.fileno(),))
    lock.close()
    try:
        outcome = run_all(runs, RUNS, jobs=2, console=quiet)
        assert outcome.elsewhere == {runs[0].key}
        assert [call["a"] for call in calls()] == ["2"]
    finally:
        worker.kill()
        worker.wait()
    assert not run_all(runs, RUNS, jobs=2, console=quiet).elsewhere
    assert [call["a"] for call in calls()] == ["2", "1"]


def test_two_runners_share_the_work(make_runs, quiet):
    """Each run is run once although both want all of them."""
    runs = make_runs(parameters={"a": {"values": [1, 2, 3, 4, 5, 6]}})
    fork = multiprocessing.get_context("fork")
    other = fork.Process(target=run_all, args=(runs, RUNS), kwargs={"jobs": 2, "console": quiet})
    other.start()
    run_all(runs, RUNS, jobs=2, console=quiet)
    other.join(60)
    assert other.exitcode == 0
    assert sorted(call["a"] for call in calls()) == ["1", "2", "3", "4", "5", "6"]


def test_the_environment_of_a_run(make_runs, monkeypatch):
    (run,) = make_runs(parameters={"a": {"value": 1}})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setenv("WANDB_SERVICE", "3-1-unix")  # as processes that have logged to W&B have it
    environment = run_environment(run, Path("/there"), 4)
    assert "WANDB_SERVICE" not in environment
    assert environment["SWEEP_RUN_DIR"] == "/there"
    assert environment["WANDB_RUN_ID"] == run.key
    assert environment["OMP_NUM_THREADS"] == "1"
    assert run_environment(run, Path("/there"), 2)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert run_environment(run, Path("/there"), 2)["OMP_NUM_THREADS"] == "5"


def test_progress_says_how_many_what_came_out_and_how_long_it_will_take(make_runs, capsys):
    runs = make_runs(parameters={"a": {"values": [1, 2, 4]}})
    run_all(runs, "runs", jobs=1, console=Console(width=200), metric="val/eer")
    out = capsys.readouterr().out
    assert re.search(r"finished: 1 of 3, val/eer 1 %, \d s; about \d+ s left", out)
    assert re.search(r"finished: 3 of 3, val/eer 4 %, \d s\n", out)


def test_a_record_from_before_a_kill_counts_once(make_runs, quiet):
    """The sweep itself was killed after the run had written its record, before it could note that."""
    (run,) = make_runs(parameters={"a": {"values": [1]}})
    journal = Journal(Path("runs/journal.jsonl"))
    journal.started(run, ["x"], None, 1, records=0)
    record = {"metrics": {"val/eer": 0.5}, "config_hash": "a", "seed": 0}
    append_result(Path("runs", run.key, "results.jsonl"), record)
    outcome = run_all([run], "runs", jobs=1, console=quiet)
    assert (outcome.latest[run.key]["event"], outcome.latest[run.key]["record"]) == ("finished", record)
    assert not Path("calls.txt").exists()
    assert len(Path("runs", run.key, "results.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(("finished_utc", "new"), [("2026-01-01T00:00:00Z", False), ("2026-01-01T00:00:02Z", True)])
def test_a_record_that_was_replaced_is_new(tmp_path, finished_utc, new):
    append_result(tmp_path / "results.jsonl", {"finished_utc": finished_utc})
    assert (new_record(tmp_path, 1, "2026-01-01T00:00:00Z") is not None) == new
    assert new_record(tmp_path, 0, "2026-01-01T00:00:00Z") is not None
    assert new_record(tmp_path / "absent", 0, "2026-01-01T00:00:00Z") is None


def test_the_journal_is_read_anew_before_each_run(make_runs, quiet, monkeypatch):
    first, second, third = make_runs(parameters={"a": {"values": [1, 2, 4]}})
    journal = Journal(Path("runs/journal.jsonl"))
    journal.ended(third, "failed", 3, 1.0, None)  # before: tried again
    start = runner._start

    def start_and_end_another(run, *rest):
        if run == first:  # meanwhile another process fails with the second
            journal.ended(second, "failed", 3, 1.0, None)
        return start(run, *rest)

    monkeypatch.setattr(runner, "_start", start_and_end_another)
    outcome = run_all([first, second, third], "runs", jobs=1, console=quiet)
    assert [outcome.latest[run.key]["event"] for run in (first, second, third)] == ["finished", "failed", "finished"]
    assert not outcome.elsewhere


def test_what_another_process_has_left_is_taken_in_the_end(make_runs, quiet, monkeypatch):
    first, second = make_runs(parameters={"a": {"values": [1, 2]}})
    lock = runner._locked(Path("runs", first.key))
    Journal(Path("runs/journal.jsonl")).started(first, ["x"], None, 1, records=0)
    end = runner._end

    def end_and_let_go(process, *rest):
        lock.close()
        return end(process, *rest)

    monkeypatch.setattr(runner, "_end", end_and_let_go)
    outcome = run_all([first, second], "runs", jobs=1, console=quiet)
    assert [outcome.latest[run.key]["event"] for run in (first, second)] == ["finished", "finished"]
    assert not outcome.elsewhere
