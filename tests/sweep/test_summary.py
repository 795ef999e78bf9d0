import pytest
from rich.console import Console

from dyn_lightning.sweep.file import read_sweep, runs_of
from dyn_lightning.sweep.runner import Outcome, run_all
from dyn_lightning.sweep.summary import print_summary, state_of


def table(printed: str) -> list[list[str]]:
    lines = [line for line in printed.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_best_comes_first_and_failures_last(make_sweep, capsys, quiet, goal):
    parameters = {"a": {"values": [2.5, 1.25, 5.0]}, "act": {"values": ["fail", "work"]}, "c": {"value": 1}}
    sweep = read_sweep(make_sweep(parameters=parameters, metric={"name": "val/eer", "goal": goal}))
    runs = runs_of(sweep)
    outcome = run_all(runs, "runs", jobs=2, console=quiet)
    capsys.readouterr()
    print_summary(sweep, runs, outcome, Console(width=120))
    printed = capsys.readouterr().out
    best_first = [["1.25", "0.0125", "0.8"], ["2.5", "0.025", "0.4"], ["5", "0.05", "0.2"]]
    rows = table(printed)
    assert [[row[2], *row[4:]] for row in rows[:3]] == best_first[:: 1 if goal == "minimize" else -1]
    assert {(row[1], *row[3:]) for row in rows[3:]} == {("failed", "fail", "–", "–")}
    assert "3 finished, 3 failed" in printed
    assert " c " not in printed  # it is the same for all


def test_states(make_runs):
    (run,) = make_runs(parameters={"a": {"value": 1}})

    def state(event=None, elsewhere=()):
        latest = {} if event is None else {run.key: {"event": event}}
        return state_of(run, Outcome(latest, frozenset(elsewhere), False))

    assert state() == "waiting"
    assert state("started") == "stopped"
    assert [state(event) for event in ("finished", "failed", "stopped")] == ["finished", "failed", "stopped"]
    assert state("started", [run.key]) == "running elsewhere"
