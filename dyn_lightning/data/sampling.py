"""A sampler whose keys carry the epoch: items made on the fly are new in each epoch, yet repeatable."""

from collections.abc import Iterator, Sized
from typing import cast

from torch.utils.data import Dataset, DistributedSampler


class EpochSampler(DistributedSampler[int]):
    """Yields the keys ``epoch * n + index``, the indices permuted anew in each epoch.

    A data set of ``n`` items takes such a key apart with ``divmod(key, n)`` and seeds its generator with
    epoch and index: an item then depends neither on the number of workers nor on how often the run was
    resumed. Lightning calls :meth:`set_epoch` before each epoch, also on resume, and leaves samplers of this
    base class in place under DDP.

    Args:
        dataset: a data set with a length.
        seed: seed of the permutation.
        world_size: number of processes that share an epoch.
        rank: this process's number, 0 ≤ rank < world_size.
        shuffle: permute the indices.
    """

    def __init__(self, dataset: Sized, seed: int = 0, world_size: int = 1, rank: int = 0, shuffle: bool = True) -> None:
        super().__init__(cast("Dataset[int]", dataset), num_replicas=world_size, rank=rank, shuffle=shuffle, seed=seed)
        self.items_per_epoch = len(dataset)

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.items_per_epoch
        for index in super().__iter__():
            yield start + index
