"""What each source of a command line says, and which of several budgets is left."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from dyn_lightning.cli.sources import (
    check_moved,
    check_readable,
    configurations,
    displaced_budgets,
    files_first,
    flag,
    given_strings,
    options,
    with_nulls,
)
from dyn_lightning.errors import SettingError, UserError


def config(
    folder: Path, name: str, *, kind: str | None = "dyn_lightning.objectives.FlopsBudget", **budget
) -> list[str]:
    objective = {**({} if kind is None else {"class_path": kind}), "init_args": budget}
    (folder / name).write_text(yaml.safe_dump({"model": {"objective": objective}}))
    return ["-c", str(folder / name)]


def nulls(*ways: str) -> list[str]:
    return [f"--model.objective.init_args.{way}=null" for way in ways]


def test_a_later_source_displaces_an_earlier_one(tmp_path):
    share, flops = config(tmp_path, "a.yaml", share=0.25), config(tmp_path, "b.yaml", flops_per_second=1e6)
    option = ["--model.objective.init_args.flops_per_second", "2e6"]
    assert displaced_budgets(["fit", *share]) == []
    assert displaced_budgets(["fit", *share, *option]) == nulls("share")
    assert displaced_budgets(["fit", *share, *flops]) == nulls("share")
    assert displaced_budgets(["fit", *flops, *share]) == nulls("flops_per_second")
    assert displaced_budgets(["fit", *flops, "--model.objective.share=0.1"]) == nulls("flops_per_second")
    assert displaced_budgets(["fit", *flops, *share, "--model.objective.share_of_all=0.1"]) == nulls(
        "share", "flops_per_second"
    )
    assert displaced_budgets(["fit", *share, '--model.objective={"init_args": {"share_of_all": 0.3}}']) == nulls(
        "share"
    )
    assert displaced_budgets(["fit", *share, "--model.objective.share=0.5"]) == []
    limit = config(tmp_path, "limit.yaml", limit={"class_path": "Parameters", "init_args": {"at_most": 5}})
    assert displaced_budgets(["fit", *share, *limit]) == nulls("share")
    for kind in ("limit", "init_args.limit", "limit.class_path"):
        assert displaced_budgets(["fit", *share, f"--model.objective.{kind}=Parameters"]) == nulls("share")
    assert displaced_budgets(["fit", *limit, *flops]) == nulls("limit")
    # A file that stands behind an option is the later source.
    assert displaced_budgets(["fit", *option, *share]) == nulls("flops_per_second")


def test_options_hold_wherever_they_stand():
    given = ["test", "--ckpt_path", "a.ckpt", "-c", "a.yaml", "--model.lr=1", "--config=b.yaml", "--config", "c.yaml"]
    files = ["-c", "a.yaml", "--config=b.yaml", "--config", "c.yaml"]
    assert files_first(given) == ["test", *files, "--ckpt_path", "a.ckpt", "--model.lr=1"]
    assert files_first(["fit", "--help"]) == ["fit", "--help"]
    assert files_first([]) == []


def test_what_says_nothing_displaces_nothing(tmp_path):
    share = config(tmp_path, "a.yaml", share=0.25)
    empty = config(tmp_path, "b.yaml", share=None, flops_per_second=None)
    assert displaced_budgets(["fit", *share, *empty]) == []
    assert displaced_budgets(["fit", *share, "--model.objective.flops_per_second=null", "--model.lr=1"]) == []
    assert displaced_budgets(["fit", "-c", str(tmp_path / "absent.yaml"), *share]) == []


def test_two_in_one_source_stay_and_are_refused_later(tmp_path):
    assert displaced_budgets(["fit", *config(tmp_path, "a.yaml", share=0.2, flops_per_second=1.0)]) == []
    both = ["--model.objective.share=0.1", "--model.objective.share_of_all=0.1"]
    assert displaced_budgets(["fit", *both]) == []
    assert displaced_budgets(["fit", *config(tmp_path, "b.yaml", flops_per_second=1.0), *both]) == nulls(
        "flops_per_second"
    )


def test_another_objective_drops_the_budget_by_itself(tmp_path):
    share = config(tmp_path, "a.yaml", share=0.25)
    other = config(tmp_path, "b.yaml", kind="dyn_lightning.objectives.LossTolerance", tolerance=0.1)
    assert displaced_budgets(["fit", *share, *other]) == []
    assert displaced_budgets(["fit", *share, "--model.objective", "LossTolerance"]) == []
    assert displaced_budgets(
        ["fit", *share, "--model.objective=FlopsBudget", "--model.objective.share_of_all=0.2"]
    ) == (nulls("share"))


def test_a_checkpoint_comes_first(tmp_path):
    model = {"objective": {"class_path": "dyn_lightning.objectives.FlopsBudget", "init_args": {"share": 0.25}}}
    assert displaced_budgets(["fit", "--model.objective.flops_per_second=1e6"], model) == nulls("share")
    assert displaced_budgets(["fit", *config(tmp_path, "a.yaml", share=0.5)], model) == []


def test_strings_and_flags(tmp_path):
    (tmp_path / "a.yaml").write_text("model: {backbone: {class_path: my.Net}, dynamic: [conv*]}")
    args = ["test", "-c", str(tmp_path / "a.yaml"), "--model.task", "my.Task", '--x={"class_path": "my.Other"}']
    assert {"my.Net", "conv*", "my.Task", "my.Other"} <= given_strings(args)
    assert list(options(["fit", "--a=1=2", "-b", "c"])) == [("--a", "1=2"), ("-b", "c")]


@pytest.mark.parametrize("args", [["--trusted"], ["--trusted", "--x", "1"], ["--trusted", "true"], ["--trusted=true"]])
def test_a_switch_that_is_on(args):
    assert flag(["fit", *args], "--trusted")


@pytest.mark.parametrize("args", [[], ["--trusted=false"], ["--trusted", "false"], ["--trusted", "my.Net"]])
def test_a_switch_that_is_off(args):
    assert not flag(["fit", *args], "--trusted")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dyn_lightning.report.wandb_report.WandbReport", "dyn_lightning.callbacks.wandb_report.WandbReport"),
        ("dyn_lightning.sweep.ScoreAtBudget", "dyn_lightning.callbacks.ScoreAtBudget"),
        ("dyn_lightning.sweep.score_at_budget.ScoreAtBudget", "dyn_lightning.callbacks.score_at_budget.ScoreAtBudget"),
    ],
)
def test_class_that_has_moved_is_said_to_be_elsewhere(tmp_path, old, new):
    config = tmp_path / "old.yaml"
    config.write_text(f"trainer:\n  callbacks:\n    - class_path: {old}\n")
    with pytest.raises(SettingError, match=re.escape(f"{config}: write {new} in place of {old}")):
        check_moved(["fit", "-c", str(config)])
    with pytest.raises(SettingError, match=re.escape(f"the command line: write {new} in place of {old}")):
        check_moved(["fit", "--trainer.callbacks+", old])
    module, _, name = new.rpartition(".")
    assert hasattr(import_module(module), name)
    check_moved(["fit", "--trainer.callbacks+", new])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_configuration_of_another_encoding_is_named(tmp_path, encoding):
    text = "# Größe\nseed_everything: 1\n" if encoding == "latin-1" else "seed_everything: 1\n"
    (tmp_path / "a.yaml").write_bytes(text.encode(encoding))
    for name in ("-c", "--config", "--trainer"):
        with pytest.raises(UserError, match=r"a\.yaml.*: is no UTF-8 text\. Save the file as UTF-8$"):
            check_readable(["fit", name, str(tmp_path / "a.yaml")])
    (tmp_path / "a.yaml").write_bytes(text.encode("utf-8-sig"))
    check_readable(["fit", "-c", str(tmp_path / "a.yaml"), "--model", "absent.yaml", "--trainer.logger", "false"])
    assert configurations(["fit", "-c", str(tmp_path / "a.yaml")])[0][1] == {"seed_everything": 1}


def test_pythons_none_is_null_as_sweeps_write_it():
    """W&B's agent gives ``null`` of a sweep file as None, and dicts and lists in Python's words."""
    given = ["fit", "--a=None", "--b", "None", "--c={'x': None, 'y': True}", "--d=[None, 1]", "--e=[None", "--f=x=None"]
    assert [
        yaml.safe_load(word.partition("=")[2]) for word in with_nulls(given) if "=" in word and "--e" not in word
    ] == [
        None,
        {"x": None, "y": True},
        [None, 1],
        "x=None",
    ]
    assert with_nulls(given)[2:4] == ["--b", "null"]
    assert "--e=[None" in with_nulls(given)
    plain = ["fit", "-c", "None.yaml", "--model.fixed=['band*']", "--x={a: b}"]
    assert with_nulls(plain) == plain
