"""Figures as SVG that is part of a page: its fonts, its colours in light and in dark, and titles to be read out."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from dyn_lightning.runs.figure_style import PALETTE

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "dyn_lightning", "text.parse_math": False}
# greys of matplotlib's "0.92" and the like, black and the palette: the page's own
_COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--page)",
    "#ebebeb": "var(--grid)",
    "#cccccc": "var(--faint)",
    "#808080": "var(--muted)",
    **{colour: f"var(--s{number})" for number, colour in enumerate(PALETTE)},
}
_DPI = 200  # of what is drawn as an image
_HEX = re.compile(r"#[0-9a-f]{6}\b")
_FONT = re.compile(r"\s*font-family:[^;]*;?")


def svg_of(figure: Figure, number: int, title: str, description: str, tips: Mapping[str, str] | None = None) -> str:
    """Draw a figure as an ``<svg>`` element for a page.

    Text stays text, black and the palette's colours become the page's variables, and ids are the figure's own.

    Args:
        figure: to be drawn.
        number: of the figure in its page.
        title: short name, for those who do not see it.
        description: what it shows, for the same.
        tips: gid of an artist → text that appears over it.
    """
    with matplotlib.rc_context(_STYLE):
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, dpi=_DPI)
    root = ElementTree.fromstring(text.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}style" or not child.tag.startswith(_SVG) or child.tag == f"{_SVG}metadata":
                parent.remove(child)
    prefix = f"f{number}-"
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if tip := (tips or {}).get(element.get("id", "")):
            note = ElementTree.Element("title")
            note.text = tip
            element.insert(0, note)
        _adapt(element, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{prefix}title {prefix}description"}
    for place, (name, content) in enumerate((("title", title), ("desc", description))):
        label = ElementTree.Element(name, {"id": prefix + ("title" if name == "title" else "description")})
        label.text = content
        root.insert(place, label)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    """Give an element the page's colours and font, and ids of its own."""
    attributes = element.attrib
    if "id" in attributes:
        attributes["id"] = prefix + attributes["id"]
    if _LINK in attributes:
        link = attributes.pop(_LINK)  # to a marker, or an image that is written out in it
        attributes["href"] = f"#{prefix}{link[1:]}" if link.startswith("#") else link
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{prefix}")
    if "style" in attributes:
        style = _FONT.sub(" ", attributes["style"])
        attributes["style"] = _HEX.sub(lambda match: _COLOURS.get(match[0], match[0]), style).strip()
