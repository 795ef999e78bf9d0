"""Equal shares of two classes in every epoch, without chance in how often an item is used."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dyn_lightning.data.audio import DatasetError


class BalancedChoice:
    """Which utterance stands at which place of which epoch, so that both classes have equal shares.

    Even places are bona fide, odd ones spoofed. Each class walks through permutations of its utterances, one
    after the other and on from epoch to epoch, so that all of a class are used equally often.

    Args:
        targets: (utterances,), 1 bona fide, 0 spoofed.
        seed: decides the permutations.

    Raises:
        DatasetError: a class has no utterance.
    """

    def __init__(self, targets: Sequence[int], seed: int) -> None:
        self.seed, self.n_items = seed, len(targets)
        self.members = [np.flatnonzero(np.asarray(targets) == target) for target in (1, 0)]
        if min(len(members) for members in self.members) == 0:
            raise DatasetError("balanced=True needs bona fide and spoofed utterances. Set it to False.")
        self._permutations: dict[tuple[int, int], NDArray[np.int64]] = {}

    def __call__(self, epoch: int, index: int) -> int:
        side = index % 2
        places = (self.n_items + 1 - side) // 2  # of this class in an epoch
        cycle, position = divmod(epoch * places + index // 2, len(self.members[side]))
        return int(self._permutation(side, cycle)[position])

    def _permutation(self, side: int, cycle: int) -> NDArray[np.int64]:
        if (side, cycle) not in self._permutations:
            if len(self._permutations) > 64:  # a short class goes through many of them in one epoch
                self._permutations.clear()
            rng = np.random.default_rng((self.seed, side, cycle, 1))  # 1: apart from the generators of the items
            self._permutations[side, cycle] = rng.permutation(self.members[side])
        return self._permutations[side, cycle]
