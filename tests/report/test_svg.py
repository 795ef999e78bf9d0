"""Figures in the page: well formed, in the page's colours, with ids and titles of their own."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from matplotlib.figure import Figure

from dyn_lightning.report.svg import svg_of
from dyn_lightning.runs.figure_style import PALETTE

NAME = "a<b> & $x_y \"q\" <script>alert('1')</script>"


def drawn(number: int = 1, **options) -> str:
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([1, 2], [1, 2], "o-", color=PALETTE[1], label=NAME)[0].set_gid("point-0")
    axes.grid(color="0.92")
    axes.legend()
    axes.set_xlabel(NAME)
    return svg_of(figure, number, f"title {NAME}", f"description {NAME}", **options)


def test_names_are_text_and_nothing_else():
    root = ElementTree.fromstring(drawn())
    texts = [element.text for element in root.iter("text")]
    assert texts.count(NAME) == 2  # legend and label, with dollars as they are
    assert not [element for element in root.iter() if element.tag in ("script", "b", "style", "metadata")]
    assert root[0].text == f"title {NAME}"
    assert root[1].text == f"description {NAME}"


def test_title_and_description_are_those_of_the_image():
    root = ElementTree.fromstring(drawn(7))
    named = {element.get("id"): element.tag for element in root.iter()}
    assert root.get("role") == "img"
    assert [named[i] for i in root.get("aria-labelledby").split()] == ["title", "desc"]
    assert root.get("viewBox") == "0 0 216 144"
    assert "width" not in root.attrib


def test_ids_do_not_collide_and_links_lead_somewhere():
    first, second = drawn(1), drawn(2)
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    for text, own in zip((first, second), ids, strict=True):
        links = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
        assert links
        assert set(links) <= own


def test_colours_follow_the_page_and_nothing_is_loaded():
    text = drawn()
    assert "var(--s1)" in text
    assert "var(--grid)" in text
    assert "currentColor" in text
    assert PALETTE[1] not in text
    assert "#000000" not in text
    assert "http" not in text
    assert "font-family" not in text


def test_an_image_stays_an_image():
    figure = Figure(figsize=(2, 2))
    figure.subplots().imshow(np.eye(3))
    assert 'href="data:image/png;base64,' in svg_of(figure, 1, "t", "d")


def test_what_lies_over_a_point():
    root = ElementTree.fromstring(drawn(tips={"point-0": NAME, "unknown": "x"}))
    (group,) = [element for element in root.iter("g") if element.get("id") == "f1-point-0"]
    assert (group[0].tag, group[0].text) == ("title", NAME)


def test_the_same_figure_is_the_same_text():
    assert drawn() == drawn()
