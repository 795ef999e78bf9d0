"""Imports run one way, as README's list of rooms says."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dyn_lightning"
EVERYWHERE = {"__init__"}  # what users import; it holds no code but the names


def floors() -> list[list[str]]:
    """Rooms by floor, the lowest first: the words of a line before its text."""
    block = (ROOT / "README.md").read_text().split("## Layout", 1)[1].split("```")[1]
    return [line.split("   ")[0].split() for line in block.strip().splitlines()]


def rooms() -> set[str]:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    return folders | {path.stem for path in PACKAGE.glob("*.py")} - EVERYWHERE


def imported(path: Path) -> Iterator[str]:
    """Names of modules that a file imports, also in functions and for annotations."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide which room is meant"
            # `from dyn_lightning import x` names the room x
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE.name and len(parts) > 1 and parts[1] in rooms() else None


def test_every_room_is_in_the_list_once():
    listed = [room for floor in floors() for room in floor]
    assert sorted(listed) == sorted(rooms())


def test_rooms_import_lower_ones_alone():
    floor_of = {room: number for number, floor in enumerate(floors()) for room in floor}
    upwards = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in PACKAGE.rglob("*.py")
        if (own := room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))) is not None
        for module in imported(path)
        if (other := room_of(module)) not in (None, own) and floor_of[other] >= floor_of[own]
    ]
    assert not upwards, "\n".join(upwards)


def test_the_core_never_imports_experiments_or_tests():
    outside = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in PACKAGE.rglob("*.py")
        for module in imported(path)
        if module.split(".")[0] in ("experiments", "tests")
    ]
    assert not outside, "\n".join(outside)


def test_plain_rooms_know_nothing_of_the_method():
    method = {room for floor in floors() for room in floor} - {
        *("errors", "checks", "files", "optional", "randomness", "features", "metrics", "models", "data")
    }
    knowing = [
        f"{path.relative_to(ROOT)} imports {module}"
        for room in ("features", "metrics", "models", "data")
        for path in (PACKAGE / room).rglob("*.py")
        for module in imported(path)
        if room_of(module) in method
    ]
    assert not knowing, "\n".join(knowing)
