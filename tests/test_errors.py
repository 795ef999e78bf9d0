"""Errors for the user end a command in one line; others keep their traceback."""

import errno

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


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"^the disk is full\. Free"),
        (PermissionError(errno.EACCES, "Permission denied", "a.txt"), r"^a\.txt: permission denied\. Change"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"\xff.wav"), "^\ufffd\\.wav: no such file"),
        (OSError(errno.ESTALE, "Stale file handle", "a.txt"), r"^a\.txt: Stale file handle\. Check"),
    ],
)
def test_what_the_system_refuses_is_one_line(error, message):
    for raised in ((error,), (error, RuntimeError("wrapped"))):
        with pytest.raises(SystemExit, match=message):
            in_one_line(raising(*raised))
    with pytest.raises(ConnectionError):  # no file of the user's
        in_one_line(raising(ConnectionError("reset")))


def test_what_a_command_gives():
    assert in_one_line(lambda: 3) == 3
