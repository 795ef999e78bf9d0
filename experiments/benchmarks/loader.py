"""Is the loader fast enough? Items per second of the speech mixtures beside what a training step takes.

``python -m experiments.benchmarks.loader --data-root DATA_ROOT`` prints a row per number of workers.
"""

import argparse
import os
import time
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from dyn_lightning.data.mixtures import Item
from dyn_lightning.data.vad import VADDataModule
from dyn_lightning.models.crnn_vad import CRNNVAD
from experiments.command import as_command


def loader_items_per_second(loader: DataLoader[Item], epochs: int) -> float:
    """Items per second over whole epochs, after one that fills the cache."""

    def run(epoch: int) -> int:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return sum(len(batch["audio"]) for batch in loader)

    run(0)
    start = time.perf_counter()
    items = sum(run(epoch) for epoch in range(1, epochs + 1))
    return items / (time.perf_counter() - start)


def training_items_per_second(batch: Item, steps: int, device: torch.device) -> float:
    """Items per second that full training steps of CRNNVAD take, on a batch that is already there."""
    model = CRNNVAD().to(device)
    optimizer = torch.optim.Adam(model.parameters())
    audio, target = batch["audio"].to(device), batch["target"].to(device)[:, 1:-1]

    def train(count: int) -> Iterator[float]:
        for _ in range(count):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(audio), target)
            loss.backward()
            optimizer.step()
            yield loss.item()

    list(train(2))
    start = time.perf_counter()
    list(train(steps))
    return steps * len(audio) / (time.perf_counter() - start)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", default=os.environ.get("DATA_ROOT", "data"))
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--items", type=int, default=3200, help="items per epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="training steps to time")
    parser.add_argument("--threads", type=int, default=1, help="torch threads, of loader and training alike")
    parser.add_argument("--device", default="cpu", help="where the training step runs")
    parser.add_argument("--quick", action="store_true", help="few items and steps: does it run at all?")
    options = parser.parse_args()
    if options.quick:
        options.workers, options.items, options.epochs, options.steps = [0], 64, 1, 1
    torch.set_num_threads(options.threads)

    def data(num_workers: int) -> VADDataModule:
        module = VADDataModule(options.data_root, items_per_epoch=options.items, num_workers=num_workers)
        module.setup()
        return module

    batch = next(iter(data(0).train_dataloader()))
    training = training_items_per_second(batch, options.steps, torch.device(options.device))
    print(f"training step, CRNNVAD on {options.device}, {options.threads} threads: {training:.0f} items/s")
    print(f"{'workers':>8} {'items/s':>9} {'ratio':>7}")
    for workers in options.workers:
        loading = loader_items_per_second(data(workers).train_dataloader(), options.epochs)
        print(f"{workers:8d} {loading:9.0f} {loading / training:7.1f}")


if __name__ == "__main__":
    as_command(main)
