"""Scikit-learn's 1,797 handwritten digits, 8×8, in three fixed parts."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

N_CLASSES = 10
PARTS = {"train": (0, 900), "val": (900, 1200), "test": (1200, 1797)}
"""First and end image of each part, in the file's order: neighbours are said to be of one writer more often than not,
so that the parts share few writers."""


class DigitsDataModule(lightning.LightningDataModule):
    """Batches of ``input`` (batch, 1, 8, 8) in [0, 1] and ``target`` (batch,) in 0 … 9.

    Args:
        batch_size: images in a batch; the last of training that is not full is left out.
    """

    def __init__(self, batch_size: int = 30) -> None:
        super().__init__()
        self.batch_size = batch_size
        digits: Any = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16.0
        target = torch.tensor(digits.target)
        self.parts = {name: TensorDataset(images[a:b], target[a:b]) for name, (a, b) in PARTS.items()}

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts["train"], self.batch_size, shuffle=True, drop_last=True, collate_fn=_batch)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts["val"], len(self.parts["val"]), collate_fn=_batch)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.parts["test"], len(self.parts["test"]), collate_fn=_batch)


def _batch(items: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    images, targets = zip(*items, strict=True)
    return {"input": torch.stack(images), "target": torch.stack(targets)}
