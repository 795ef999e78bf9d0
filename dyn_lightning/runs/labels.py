"""What runs are called: by the name that was given to them, else by the settings in which they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dyn_lightning.runs.latest import text_of

LONGEST = 44
"""Characters of a label, so that it stands in a table at 80 columns."""
_MISSING = "\0"
_CLASS = "class_path"
_SHORT_VALUE = 24
_SKIPPED = ("init_args", "dict_kwargs", _CLASS)


def labels_of(configs: Sequence[Mapping[str, object]], names: Sequence[str | None] | None = None) -> list[str]:
    """A label for each run: the same for the same configuration but for seeds, another for every other.

    Args:
        configs: of the runs, as nested mappings.
        names: that were given to them, if any. Where runs of one name differ, what differs stands behind it.
    """
    flats = [_without_seeds(flat(config)) for config in configs]
    keys = [text_of(one) for one in flats]
    given = list(names) if names is not None else [None] * len(keys)
    labels = [""] * len(keys)
    for name in dict.fromkeys(given):
        own = [i for i, other in enumerate(given) if other == name]
        several = len({keys[i] for i in own}) > 1
        compared = own if several else list(range(len(keys)))
        chosen = _telling([flats[i] for i in compared]) if several or name is None else []
        parts = _parts(flats, compared, chosen)
        for i in own:
            label = ", ".join(part for part in (name or "", parts[i]) if part)
            labels[i] = label or _backbone(flats[i])
    return _distinct(labels, [(name or "", key) for name, key in zip(given, keys, strict=True)])


def flat(config: Any, prefix: str = "") -> dict[str, object]:
    """Nested mappings and lists as dotted keys; of a list of classes the classes' names are the keys.

    >>> flat({"callbacks": [{"class_path": "a.Stop", "init_args": {"n": 2}}], "lr": 0.1})
    {'callbacks.Stop.class_path': 'a.Stop', 'callbacks.Stop.init_args.n': 2, 'lr': 0.1}
    """
    if isinstance(config, Mapping) and config:
        items: Iterator[tuple[object, object]] = iter(config.items())
    elif isinstance(config, list) and any(isinstance(value, Mapping) for value in config):
        items = _named(config)
    else:
        return {prefix: config}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()}


def differing(configs: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
    """Of each configuration, flat or nested, the settings in which they differ."""
    flats = [flat(config) for config in configs]
    keys = _unlike(flats)
    return [{key: one[key] for key in keys if key in one} for one in flats]


def _named(entries: Sequence[object]) -> Iterator[tuple[str, Any]]:
    """Entries of a list under their classes' names, others under their places."""
    seen: dict[str, int] = {}
    for place, entry in enumerate(entries):
        path = entry.get(_CLASS) if isinstance(entry, Mapping) else None
        if not isinstance(path, str):
            yield str(place), entry
            continue
        name = path.rpartition(".")[2]
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} {seen[name]}", entry


def _without_seeds(config: Mapping[str, Any]) -> dict[str, object]:
    return {key: value for key, value in config.items() if not key.endswith("seed") and key != "seed_everything"}


def _text(config: Mapping[str, Any], key: str) -> str:
    return text_of(config[key]) if key in config else _MISSING


def _unlike(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """Settings of which flat configurations have several values; not of an empty list that others have filled."""
    names = dict.fromkeys(name for config in configs for name in config)
    parents = {name[: match.start()] for name in names for match in re.finditer(r"\.", name)}
    unlike = [name for name in names if len({_text(config, name) for config in configs}) > 1]
    return [n for n in unlike if n not in parents or any(config.get(n) not in ([], {}, None) for config in configs)]


def _telling(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """A few settings that tell configurations apart: each time the one that splits most, short values first."""
    distinct = list({text_of(one): one for one in configs}.values())
    keys = _unlike(distinct)
    short = [key for key in keys if all(len(_value(one.get(key))) <= _SHORT_VALUE for one in distinct)]
    chosen: list[str] = []
    groups = [distinct]
    for pool in (short, [key for key in keys if key not in short]):
        while len(groups) < len(distinct):
            split = {key: sum(len({_text(one, key) for one in group}) for group in groups) for key in pool}
            best = max(split, key=lambda key: split[key], default=None)  # of equals the first in the configuration
            if best is None or split[best] == len(groups):
                break
            chosen.append(best)
            groups = [part for group in groups for part in _split(group, best)]
    return [key for key in keys if key in chosen]


def _split(group: Sequence[Mapping[str, object]], key: str) -> list[list[Mapping[str, Any]]]:
    parts: dict[str, list[Mapping[str, object]]] = {}
    for one in group:
        parts.setdefault(_text(one, key), []).append(one)
    return list(parts.values())


def _parts(configs: Sequence[Mapping[str, object]], compared: Sequence[int], chosen: Sequence[str]) -> list[str]:
    """Each configuration's values of the chosen settings, in words."""
    short = {key: _key(key, chosen) for key in chosen}
    found = [""] * len(configs)
    for i in compared:
        words = []
        for key in chosen:
            others = [configs[j].get(key, _MISSING) for j in compared]
            word = _word(short[key], key, configs[i].get(key, _MISSING), others)
            words += [word] if word else []
        found[i] = ", ".join(words)
    return found


def _word(name: str, key: str, value: Any, others: Sequence[object]) -> str:
    """One setting in words: a class by its name, what is absent by "no"."""
    classes = {text_of(other) for other in others if other != _MISSING}
    if key.endswith(f".{_CLASS}") or key == _CLASS:
        if value == _MISSING:
            return f"no {name}" if len(classes) == 1 else ""
        return _value(value)
    if value == _MISSING:
        return f"no {name}" if len(classes) == 1 else ""
    texts = {_value(other) for other in others if other != _MISSING}
    return f"{name}={_value(value) if len(texts) == len(classes) else text_of(value)}"


def _key(key: str, chosen: Sequence[str]) -> str:
    """The end of a dotted name that no other of the chosen ones has."""
    parts = [part for part in key.split(".") if part not in _SKIPPED]
    others = [[p for p in other.split(".") if p not in _SKIPPED] for other in chosen if other != key]
    for length in range(1, len(parts)):
        if all(other[-length:] != parts[-length:] for other in others):
            return ".".join(parts[-length:])
    return ".".join(parts)


def _value(value: Any) -> str:
    """A value, shortly: a class by its name, a number in four digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value.rpartition(".")[2] if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value) else value
    if isinstance(value, list) and not any(isinstance(entry, (list, Mapping)) for entry in value):
        return "+".join(map(_value, value)) or "none"
    return text_of(value)


def _backbone(config: Mapping[str, Any]) -> str:
    """Of runs in which nothing differs: what they train."""
    path = config.get(f"model.backbone.{_CLASS}")
    return path.rpartition(".")[2] if isinstance(path, str) and path else "all runs"


def _distinct(labels: Sequence[str], keys: Sequence[Any]) -> list[str]:
    """Labels of at most ``LONGEST`` characters, numbered where those of several configurations would be the same."""
    taken: dict[str, object] = {}
    found: dict[tuple[str, object], str] = {}
    for label, key in zip(labels, keys, strict=True):
        if (label, key) in found:
            continue
        short, number = _cut(label, LONGEST), 1
        while taken.get(short, key) != key:
            number += 1
            short = f"{_cut(label, LONGEST - len(f' ({number})'))} ({number})"
        taken[short] = key
        found[label, key] = short
    return [found[label, key] for label, key in zip(labels, keys, strict=True)]


def _cut(label: str, longest: int) -> str:
    return label if len(label) <= longest else f"{label[: longest - 1].rstrip(' ,')}…"
