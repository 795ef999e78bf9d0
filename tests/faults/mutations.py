"""Changes to an artifact's files, each told by a number."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

JSON_FILES = ("architecture.json", "program.json", "report.json")
TENSOR_FILES = ("model.safetensors", "program.safetensors")
_INTEGERS = (-(2**64), -(2**63), -(2**31), -100, -2, -1, 0, 1, 2, 3, 7, 64, 1000, 10**6, 10**8, 2**31, 2**40, 2**63)
_OTHERS: tuple[Any, ...] = (
    *(None, True, False, 0.5, -1e9, 1e308, float("nan"), float("inf"), "", "x", "float32", "a.b", "\ud800", "0" * 3000),
    *([], [[]], [0], [-1] * 9, [10**9] * 3, {}, {"result": "x"}, {"dtype": "qint8"}, {"tuple": []}, {"float": "inf"}),
)


def mutate(seed: Path, folder: Path, number: int) -> str:
    """Write a changed copy of an artifact to a folder; what was changed."""
    rng = random.Random(number)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seed, folder)
    names = [name for name in (*JSON_FILES, *TENSOR_FILES) if (folder / name).is_file()]
    weights = [{"program.json": 6, "architecture.json": 4}.get(name, 1) for name in names]
    name = rng.choices(names, weights)[0]
    change: Callable[[Path, random.Random], str]
    if rng.random() < 0.08:
        change = change_bytes
    elif name.endswith(".json"):
        change = change_json
    else:
        change = change_header
    return f"{name}: {change(folder / name, rng)}"


def change_bytes(path: Path, rng: random.Random) -> str:
    """Cut a file, or turn bits of it."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        size = rng.randrange(len(content))
        path.write_bytes(content[:size])
        return f"cut to {size} bytes"
    for _ in range(rng.choice((1, 1, 8))):
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return "some bits turned"


def change_header(path: Path, rng: random.Random) -> str:
    """Change the header of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    said = change_value(header, rng) if header else "nothing"
    text = json.dumps(header).encode("utf-8", "replace")
    said_length = len(text) if rng.random() < 0.9 else rng.choice((0, 1, 2**20, 2**40, 2**63))
    path.write_bytes(said_length.to_bytes(8, "little") + text + content[8 + length :])
    return f"header, {said}"


def change_json(path: Path, rng: random.Random) -> str:
    """Change one or two values of a JSON file."""
    document = json.loads(path.read_text())
    said = "; ".join(change_value(document, rng) for _ in range(rng.choice((1, 1, 1, 2))))
    path.write_text(json.dumps(document))
    return said


def change_value(document: Any, rng: random.Random) -> str:
    """Change a value somewhere in nested lists and objects, in place."""
    places = list(_places(document, ()))
    if not places:
        return "nothing left"
    path, holder, key = rng.choice(places)
    where = "/".join(map(str, path))
    kind = rng.random()
    if kind < 0.08:
        del holder[key]
        return f"{where} gone"
    if kind < 0.2:
        holder[key] = json.loads(json.dumps(rng.choice(places)[1]))
        return f"{where} from elsewhere"
    if key == "function" and kind < 0.8:
        holder[key] = rng.choice(_functions())
    elif type(holder[key]) is int and kind < 0.85:
        holder[key] = rng.choice(_INTEGERS)
    else:
        holder[key] = rng.choice((*_OTHERS, *_INTEGERS))
    return f"{where} = {str(holder[key])[:60]}"


def _places(value: Any, path: tuple[Any, ...]) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield (*path, key), value, key
        yield from _places(inner, (*path, key))


def _functions() -> list[str]:
    """Names of every function of torch's ``aten``, allowed or not."""
    if not _FUNCTIONS:
        import torch

        for name in torch._C._dispatch_get_all_op_names():
            space, _, rest = name.partition("::")
            base, _, overload = rest.partition(".")
            if space == "aten":
                _FUNCTIONS.append(f"aten.{base}.{overload or 'default'}")
        _FUNCTIONS.extend(("getitem", "pow", "mul", "add", "floordiv", "eval"))
    return _FUNCTIONS


_FUNCTIONS: list[str] = []
