"""What an import costs, and that names lead where they did."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW = ("torch", "lightning", "wandb", "matplotlib")


def modules_after(code: str, folder: Path) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules, sep=chr(10))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("command", ["", "score", "pareto", "report", "sweep", "predict"])
def test_help_imports_nothing_slow(command, tmp_path):
    code = f"""
import contextlib, dyn_lightning
from dyn_lightning.cli import main
with contextlib.suppress(SystemExit):
    main({[command, "--help"] if command else ["--help"]!r})
"""
    assert not modules_after(code, tmp_path) & set(SLOW)


def test_functions_stay_functions_beside_the_modules_of_their_names():
    import dyn_lightning
    import dyn_lightning.consolidate
    import dyn_lightning.dynamize
    from dyn_lightning import DynamicModule, Width, consolidate, dynamize

    assert callable(consolidate)
    assert callable(dynamize)
    assert dyn_lightning.dynamize is dynamize
    assert isinstance(Width, type)
    assert isinstance(DynamicModule, type)
    assert {"consolidate", "dynamize", "DynamicModule", "Width"} <= set(dir(dyn_lightning))
    with pytest.raises(AttributeError):
        dyn_lightning.nothing  # noqa: B018
