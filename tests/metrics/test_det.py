"""The trade-off curve against scikit-learn's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from dyn_lightning.metrics.det import det_curve


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 20, 200]), st.sampled_from([0, 2, 10]))
def test_equals_scikit_learns_roc_also_with_ties(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    targets = np.r_[0, 1, rng.integers(0, 2, count)]
    scores = rng.normal(size=count + 2) + targets
    scores = np.round(scores * levels) / levels if levels else scores
    false_alarms, hits, thresholds = roc_curve(targets, scores, drop_intermediate=False)
    found = det_curve(torch.from_numpy(scores), torch.from_numpy(targets))
    np.testing.assert_allclose(found[0], 1 - hits[::-1], atol=1e-12)
    np.testing.assert_allclose(found[1], false_alarms[::-1], atol=1e-12)
    np.testing.assert_array_equal(found[2], thresholds[::-1])


def test_ignored_entries_leave_no_trace_and_one_class_has_no_curve() -> None:
    p_miss, p_false_alarm, thresholds = det_curve(torch.tensor([1.0, 9.0, 0.0]), torch.tensor([1, -1, 0]))
    assert p_miss.tolist() == [0, 0, 1]
    assert p_false_alarm.tolist() == [1, 0, 0]
    assert thresholds.tolist() == [0, 1, torch.inf]
    with pytest.raises(ValueError, match="0 positives and 2 negatives"):
        det_curve(torch.zeros(2), torch.zeros(2))
