"""Errors for the user end a command in one line; others keep their traceback."""

import pytest

from dyn_lightning.artifact import ArtifactError
from dyn_lightning.data.audio import AudioError, DatasetError
from dyn_lightning.errors import SettingError, UserError, in_one_line
from dyn_lightning.sweep.space import SweepError


def raising(*errors: BaseException):
    """A command that raises the last of its errors, each caused by the one before."""

    def command() -> None:
        for cause, error in zip((None, *errors), errors, strict=False):
            error.__cause__ = cause
        raise errors[-1]

    return command


@pytest.mark.parametrize("kind", [UserError, SettingError, DatasetError, AudioError, ArtifactError, SweepError])
def test_an_error_for_the_user(kind):
    assert issubclass(kind, ValueError)
    with pytest.raises(SystemExit) as stop:
        in_one_line(raising(kind("x.yaml: lacks y. Add it.")))
    assert stop.value.code == "x.yaml: lacks y. Add it."


def test_of_several_the_outermost_which_knows_the_file():
    with pytest.raises(SystemExit) as stop:
        in_one_line(
            raising(OSError("disk"), SettingError("lr=-1"), SweepError("x.yaml: lr=-1"), RuntimeError("wrapped"))
        )
    assert stop.value.code == "x.yaml: lr=-1"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ValueError, match="a bug"):
        in_one_line(raising(ValueError("a bug")))

    def handled() -> None:
        try:
            raise SettingError("mended")
        except SettingError:
            raise RuntimeError("a bug while mending")  # noqa: B904

    with pytest.raises(RuntimeError, match="a bug while"):
        in_one_line(handled)


def test_what_a_command_gives():
    assert in_one_line(lambda: 3) == 3
