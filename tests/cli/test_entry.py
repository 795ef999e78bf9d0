"""Which command stands where."""

import os
import subprocess
import sys

import lightning
import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from dyn_lightning.cli import main
from dyn_lightning.cli.entry import CLOSED, COMMANDS, TRAINING
from dyn_lightning.cli.training import WidthsCLI
from dyn_lightning.errors import in_one_line


def test_the_list_of_training_commands_is_lightnings_own():
    assert set(WidthsCLI.subcommands()) == set(TRAINING)


def test_help_names_every_command_with_a_sentence(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in (*TRAINING, *COMMANDS):
        (line,) = [found for found in lines if found.split()[:1] == [name]]
        assert line.endswith(".")
        assert len(line) <= 80


def test_the_defaults_that_the_help_of_predict_names_are_those_of_inference():
    from dyn_lightning.cli import predict
    from dyn_lightning.inference import voice_activity

    module = sys.modules[predict.__module__] if callable(predict) else predict
    assert module.MIN_SPEECH_S == voice_activity.MIN_SPEECH_S
    assert module.MIN_SILENCE_S == voice_activity.MIN_SILENCE_S


def test_modules_of_the_working_directory_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    main(["--version"])
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize("kind", ["MisconfigurationException", "a ValueError of the trainer's own"])
def test_what_lightning_refuses_is_one_line(kind):
    def refused() -> int:
        if kind == "MisconfigurationException":
            raise MisconfigurationException("no\n  such thing")
        lightning.Trainer(accelerator="nowhere", logger=False)
        return 0

    with pytest.raises(SystemExit, match=r"^(no such thing|You selected an invalid accelerator name: [^\n]*)$"):
        in_one_line(refused)
    with pytest.raises(ValueError, match="of our own"):
        in_one_line(lambda: (_ for _ in ()).throw(ValueError("of our own")))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_a_reader_that_has_gone_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        command = [sys.executable, "-m", "dyn_lightning.cli", *arguments]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (CLOSED, b"")


def test_other_pipes_that_break_are_errors(monkeypatch):
    def broken(args):
        raise BrokenPipeError("a worker's")

    monkeypatch.setattr("dyn_lightning.cli.entry._run", broken)
    with pytest.raises(BrokenPipeError, match="worker"):
        main(["fit"])
