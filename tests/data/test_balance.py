import pytest

from dyn_lightning.data.audio import DatasetError
from dyn_lightning.data.balance import BalancedChoice


def test_balanced_choice_repeats_nothing_within_a_round():
    choice = BalancedChoice([1, 0, 0, 0, 1, 0], seed=0)
    picked = [choice(epoch, index) for epoch in range(2) for index in range(1, 6, 2)]
    assert len(set(picked[:4])) == 4
    assert set(picked) == {1, 2, 3, 5}
    assert [choice(0, index) for index in (1, 3, 5)] == [choice(0, index) for index in (1, 3, 5)]
    with pytest.raises(DatasetError, match="balanced"):
        BalancedChoice([0, 0], seed=0)
