"""Sweep files: the runs and command lines that W&B makes of them."""

import itertools
from pathlib import Path

import pytest
import sweeps
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from dyn_lightning.sweep.file import as_json, command_line, read_sweep, runs_of
from dyn_lightning.sweep.space import SweepError

COMMAND = ["${env}", "${interpreter}", "-m", "dyn_lightning.cli", "fit", "-c", "configs/task/vad.yaml", "${args}"]
PARAMETERS = {
    "model.lr": {"values": [1.0e-3, 1, 1.0e-7]},
    "data.init_args.batch_size": {"values": [16, 32]},
    "trainer.fast_dev_run": {"values": [False, True, None]},
    "model.backbone.init_args.channels": {"value": [32, 64]},
}


def written(tmp_path: Path, **content) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"method": "grid", "command": COMMAND, "parameters": PARAMETERS, **content}))
    return path


def test_a_grid_is_the_product_of_its_values(tmp_path):
    runs = runs_of(read_sweep(written(tmp_path)))
    names = sorted(PARAMETERS)
    values = [PARAMETERS[n].get("values", [PARAMETERS[n].get("value")]) for n in names]
    expected = [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]
    assert [run.parameters for run in runs] == expected
    assert len({run.key for run in runs}) == len(runs) == 18
    assert [r.key for r in runs_of(read_sweep(written(tmp_path)), max_runs=5)] == [r.key for r in runs[:5]]
    assert len(runs_of(read_sweep(written(tmp_path, run_cap=4)), max_runs=5)) == 4


def test_equal_runs_are_one(tmp_path):
    sweep = read_sweep(written(tmp_path, parameters={"a": {"values": [1, 1.0, 2]}}))
    assert [run.parameters["a"] for run in runs_of(sweep)] == [1, 2]


def test_a_run_keeps_its_key_when_the_grid_grows(tmp_path):
    few = runs_of(read_sweep(written(tmp_path, parameters={"a": {"values": [1, 2]}})))
    more = runs_of(read_sweep(written(tmp_path, parameters={"a": {"values": [3, 2, 1]}})))
    assert {run.key for run in few} < {run.key for run in more}


def test_random_runs_do_not_depend_on_their_number(tmp_path):
    parameters = {"b": {"min": 0.0, "max": 1.0}, "a": {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}}
    sweep = read_sweep(written(tmp_path, method="random", parameters=parameters))
    few, more = runs_of(sweep, max_runs=3), runs_of(sweep, max_runs=9)
    assert few == more[:3]
    assert len({run.parameters["b"] for run in more}) == 9
    assert not {run.key for run in more} & {run.key for run in runs_of(sweep, max_runs=9, seed=1)}
    with pytest.raises(SweepError, match="--max_runs, or run_cap"):
        runs_of(sweep)


def test_command_lines_are_those_of_wandbs_agent(tmp_path, monkeypatch, agents_command):
    monkeypatch.setenv("PLACE", "somewhere")
    command = ["${env}", "A=${envvar:PLACE}/${envvar:NO_SUCH_NAME}", *COMMAND[1:], 3, "${program}"]
    for run in runs_of(read_sweep(written(tmp_path, command=command, program="p"))):
        ours = command_line([str(c) for c in command[:-1]], run.parameters)
        assert ours == agents_command(command[:-1], run.parameters)
        assert list(run.command) == [*ours, "p"]
        assert ours[1] == "A=somewhere/NO_SUCH_NAME"
        macros = create_sweep_command_args({"args": {k: {"value": v} for k, v in run.parameters.items()}})
        assert ours[-1 - len(run.parameters) : -1] == macros["args"]
    assert create_sweep_command([])[:2] == ["${env}", "${interpreter}"]
    assert list(read_sweep(written(tmp_path, command=[], program="p")).command) == create_sweep_command([])


def test_whole_numbers_lose_their_point_on_the_way_through_the_server():
    assert repr(as_json([1.0, 2.5, {"a": -3e6}, 1e-5, True, "1.0"])) == "[1, 2.5, {'a': -3000000}, 1e-05, True, '1.0']"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"method": "annealing"}, "one of grid, random, bayes, custom"),
        ({"parameters": {}}, "must name parameters"),
        ({"parameters": {"a b": {"value": 1}}}, "not a b"),
        ({"parameters": {"a": {"min": 1}}}, "parameter a"),
        ({"metrics": [], "paramters": {}}, "unknown keys paramters"),
        ({"metric": "val/eer"}, "mapping with a name"),
        ({"metric": {"name": "val/eer", "goal": "min"}}, "minimize or maximize"),
        ({"method": "bayes"}, "bayes needs a metric"),
        ({"run_cap": 0}, "run_cap=0"),
        ({"command": "python x.py"}, "list of words"),
        ({"command": ["${program}"]}, "needs a program"),
    ],
    ids=str,
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(SweepError, match=rf"sweep\.yaml: .*{message}"):
        read_sweep(written(tmp_path, **content))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SweepError, match=r"absent\.yaml: no such file"):
        read_sweep(tmp_path / "absent.yaml")
    path = tmp_path / "list.yaml"
    path.write_text("[1, 2]")
    with pytest.raises(SweepError, match="must be a mapping"):
        read_sweep(path)


def test_macros_that_lose_options_are_refused(tmp_path):
    with pytest.raises(SweepError, match=r"\$\{args_no_boolean_flags\} .*use \$\{args\}"):
        runs_of(read_sweep(written(tmp_path, command=["python", "${args_no_boolean_flags}"])))


@pytest.mark.parametrize("method", ["bayes", "custom"])
def test_methods_that_need_the_server(tmp_path, method):
    sweep = read_sweep(written(tmp_path, method=method, metric={"name": "val/eer"}))
    with pytest.raises(SweepError, match=f"method: {method} needs W&B's server.*wandb agent"):
        runs_of(sweep, max_runs=3)


def test_the_grid_is_that_of_wandbs_own_engine(tmp_path):
    parameters = {
        "b": {"min": 1, "max": 3},
        "a": {"values": ["x", None]},
        "c": {"distribution": "q_uniform", "min": 0, "max": 4, "q": 2},
    }
    content = {"method": "grid", "parameters": parameters}
    theirs = sweeps.next_runs(content, [], validate=True, n=99)
    ours = runs_of(read_sweep(written(tmp_path, **content)))
    assert [r.parameters for r in ours] == [{k: v["value"] for k, v in r.config.items()} for r in theirs if r]
