"""What all figures share: colours, labels, scales, and how they are written."""

from __future__ import annotations

import io
import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dyn_lightning.files import write_atomically

_DPI = 120
PALETTE = ("#0b6fb8", "#d55e00", "#009e73", "#7b2d8b", "#e0a000", "#4cb0e6", "#5a5a5a", "#7a3b10")
"""Colours of lines, which can be told apart by those who see red and green alike."""


def short_label(name: str, longest: int = 36) -> str:
    """A name with its middle left out where it is too long to stand in a figure.

    >>> short_label("encoder-layers-0-attention-projection", 16)
    'encoder…ojection'
    """
    return name if len(name) <= longest else f"{name[: (longest - 1) // 2]}…{name[-(longest // 2) :]}"


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG; the file is there as a whole or not at all."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    write_atomically(Path(path), buffer.getvalue())


def flops_scale(flops: float) -> tuple[float, str]:
    """Divisor and name in which a count of FLOPs is shown."""
    for divisor, name in ((1e10, "GFLOPs"), (1e5, "MFLOPs"), (1e2, "kFLOPs")):
        if flops >= divisor:
            return {"GFLOPs": 1e9, "MFLOPs": 1e6, "kFLOPs": 1e3}[name], name
    return 1.0, "FLOPs"
