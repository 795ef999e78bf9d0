"""Colours of lines are apart, also for those who see no red or no green."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dyn_lightning.report.svg import _COLOURS
from dyn_lightning.runs.figure_style import PALETTE

# Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009: severity 1, on linear RGB
SEEN = {
    "by all": np.eye(3),
    "without green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "without red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, matrix):
    """CIE L*a*b*, white D65."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(np.array(matrix) @ linear, 0, 1) / XYZ.sum(1)
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("who", SEEN)
def test_colours_are_apart(who):
    places = [lab(colour, SEEN[who]) for colour in PALETTE]
    assert min(math.dist(a, b) for a, b in itertools.combinations(places, 2)) > 15


def test_each_has_a_variable_of_the_page():
    assert [_COLOURS[colour] for colour in PALETTE] == [f"var(--s{number})" for number in range(len(PALETTE))]
