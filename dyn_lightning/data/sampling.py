"""A sampler whose keys carry the epoch: items made on the fly are new in each epoch, yet repeatable."""

from collections.abc import Callable, Iterator, Sized
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler


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


def make_loader(
    dataset: Dataset[object],
    batch_size: int,
    collate: Callable[[list[Any]], Any],
    *,
    num_workers: int,
    seed: int,
    sampler: EpochSampler | None = None,
) -> DataLoader[Any]:
    """A loader that draws nothing from torch's global generator, which a model may use; in order without a sampler."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )


def epoch_sampler(dataset: Sized, seed: int, trainer: Any) -> EpochSampler:
    """The sampler of this process among those of a Lightning trainer, or of all where there is none."""
    world_size, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
    return EpochSampler(dataset, seed, world_size, rank)
