"""The help of commands by a training configuration: this package's own first, no lists of others' classes."""

from __future__ import annotations

import re
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

_KNOWN = re.compile(r",\s+known\s+subclasses:\s+([\w.,\s]+?)\)", re.S)
_COMMAND = re.compile(r"usage: \S+ \[options\] (\w+)")
_HEADING = re.compile(r"^(?=\S[^\n]*:\n)", re.M)
_OF_TRAINER = "  --trainer CONFIG"


class ShortHelpParser(LightningArgumentParser):
    """Lightning's parser with a help that can be read."""

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        return short_help(super().format_help(*args, **kwargs))


def short_help(text: str) -> str:
    """The help without the usage that lists every option and the classes of other packages; the trainer's part last.

    Args:
        text: of jsonargparse.
    """
    head, *parts = _HEADING.split(_KNOWN.sub(_own_classes, text))
    usage, _, description = head.partition("\n\n")
    found = _COMMAND.match(usage)
    command = f"usage: dyn-lightning{'' if found is None else f' {found[1]}'}"
    parts = [part if part.endswith("\n\n") else f"{part.rstrip()}\n\n" for part in parts]
    parts.sort(key=lambda part: _OF_TRAINER in part)  # stable: all others stay in their order
    return f"{command} -c FILE [-c FILE …] [--OPTION VALUE …]\n\n{description.lstrip()}{''.join(parts).rstrip()}\n"


def _own_classes(match: re.Match[str]) -> str:
    names = [name.strip() for name in match[1].split(",")]
    own = [name for name in names if name.startswith("dyn_lightning.")]
    return f", of this package: {', '.join(own)})" if own else ")"
