"""What validation and test log, and by which names."""

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dyn_lightning.module import DynamicModule
from dyn_lightning.tasks import FrameDetection


class Detector(nn.Module):
    sample_rate = 100

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)
        self.out = nn.Conv1d(4, 1, 1)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.conv(audio[:, None])))[:, 0]


class DetectionData(lightning.LightningDataModule):
    def __init__(self, sets: int) -> None:
        super().__init__()
        self.sets = sets
        self.test_names = ["mixed", "meetings"][:sets]

    def loader(self) -> DataLoader:
        generator = torch.Generator().manual_seed(0)
        audio = torch.randn(6, 50, generator=generator)
        items = [{"audio": a, "target": (a > 0).float(), "length": 50} for a in audio]
        return DataLoader(items, batch_size=3)

    train_dataloader = val_dataloader = loader

    def test_dataloader(self) -> list[DataLoader]:
        return [self.loader() for _ in range(self.sets)]


def test_metrics_carry_the_names_of_the_test_sets(make_trainer):
    module = DynamicModule(Detector(), FrameDetection(), dynamic=[])
    trainer = make_trainer(max_epochs=1)
    trainer.fit(module, DetectionData(2))
    assert {"val/loss", "val/eer", "val/threshold"} <= set(trainer.callback_metrics)
    assert module.threshold.item() == pytest.approx(trainer.callback_metrics["val/threshold"].item())
    trainer.test(module, DetectionData(2), verbose=False)
    assert {"test/mixed/eer", "test/meetings/eer"} <= set(trainer.callback_metrics)
    trainer.test(module, DetectionData(1), verbose=False)
    assert {"test/eer", "test/loss"} <= set(trainer.callback_metrics)
