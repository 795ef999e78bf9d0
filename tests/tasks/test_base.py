"""What every task has."""

import pytest

from dyn_lightning.tasks import FrameDetection, Regression


def test_missing_input_names_what_there_is():
    with pytest.raises(KeyError, match="target, length"):
        FrameDetection().input_of({"target": 0, "length": 1})


def test_inference_needs_to_know_nothing_unless_a_task_says_so():
    assert Regression().metadata() == {}
    assert FrameDetection().metadata() == {"labels": ["absent", "present"]}
