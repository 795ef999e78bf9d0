"""The form of ``architecture.json``, which may come from anybody: the types of its values, and what they may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dyn_lightning.errors import ArtifactError

_LARGEST = 2**24  # of a rate in Hz, a window or a hop in samples


def check_architecture(document: Mapping[str, Any]) -> None:
    """See that the values of a document are of the types that they are to be.

    Raises:
        ArtifactError: names the one that is not.
    """
    backbone, modules, metadata = document["backbone"], document["modules"], document["metadata"]
    if backbone is not None:
        _require(isinstance(backbone, dict), "backbone", backbone, "an object or null")
        _require(isinstance(backbone.get("class_path"), str), "class_path", backbone.get("class_path"), "text")
        _require(isinstance(backbone.get("init_args", {}), dict), "init_args", backbone.get("init_args"), "an object")
    _require(isinstance(modules, dict), "modules", modules, "an object")
    for name, description in modules.items():
        _require(isinstance(description, dict), f"modules.{name}", description, "an object")
        for key in ("options", "sizes", "tensors"):
            value = description.get(key, {})
            _require(isinstance(value, dict), f"modules.{name}.{key}", value, "an object")
        if "kind" in description:
            _require(isinstance(description["kind"], str), f"modules.{name}.kind", description["kind"], "text")
        for key, shape in description.get("tensors", {}).items():
            sound = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
            _require(sound, f"modules.{name}.tensors.{key}", shape, "a shape")
    check_metadata(metadata)


def check_metadata(metadata: Any) -> None:
    """See that what inference needs is of its type, where it is there.

    Raises:
        ArtifactError: names the value that is not.
    """
    _require(isinstance(metadata, dict), "metadata", metadata, "an object")
    for name, (sound, what) in _METADATA.items():
        if metadata.get(name) is not None:
            _require(sound(metadata[name]), f"metadata.{name}", metadata[name], what)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= _LARGEST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_duration(value: Any) -> bool:
    return _is_number(value) and 0.0 <= value <= 1e9


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_COUNT = (_is_count, f"a whole number from 1 to {_LARGEST}")
_DURATION = (_is_duration, "a number of seconds, 0 or more")
_METADATA: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(("sample_rate", "hop_length", "n_samples"), _COUNT),
    "n_fft": (lambda value: value == 0 or _is_count(value), _COUNT[1]),
    "context_frames": (lambda value: value == 0 or _is_count(value), _COUNT[1]),
    **dict.fromkeys(("min_speech_s", "min_silence_s"), _DURATION),
    **dict.fromkeys(("first_frame_centre_s", "threshold"), (_is_number, "a finite number")),
    **dict.fromkeys(("task", "predictor", "threshold_on", "loss", "program"), (_is_text, "text")),
    "labels": (_is_texts, "a list of texts"),
    "versions": (lambda value: isinstance(value, dict), "an object"),
}


def _require(condition: bool, name: str, value: Any, what: str) -> None:
    if not condition:
        raise ArtifactError(f"its {name} is {str(value)[:60]!r}, not {what}")
