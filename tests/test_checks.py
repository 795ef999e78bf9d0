"""Checks of numbers: what passes, and that the name of what does not is in the message."""

from __future__ import annotations

import math

import pytest

from dyn_lightning.checks import ascending, at_least, positive, proper_share, whole, within
from dyn_lightning.errors import SettingError

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (positive, [1e-9, 3, None], [0.0, -1.0, NAN, INF, True, "1"]),
        (lambda **s: at_least(0.0, **s), [0.0, 5, None], [-1e-9, NAN, INF, -INF]),
        (lambda **s: whole(1, **s), [1, 7, 2.0, None], [0, -3, 1.5, NAN, True]),
        (lambda **s: within(0.0, 1.0, **s), [0.0, 1.0, 0.5, None], [-0.1, 1.1, NAN]),
        (proper_share, [0.5, None], [0.0, 1.0, 25.0, -0.5, NAN]),
    ],
)
def test_what_cannot_be_is_refused_by_name(check, good, bad):
    for value in good:
        check(some_setting=value)
    for value in bad:
        with pytest.raises(SettingError, match=f"some_setting must .*{value}"):
            check(some_setting=value)


def test_limits_upside_down_are_named_both():
    ascending(low=-5.0, high=30.0)
    for low, high in ((1.0, 0.0), (NAN, 1.0), (0.0, INF)):
        with pytest.raises(SettingError, match="low ≤ high"):
            ascending(low=low, high=high)
