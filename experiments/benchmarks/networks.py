"""The networks that the benchmarks run, each at the size that people use, and small ones to try a benchmark out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dyn_lightning.models.conformer import Conformer
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.resnet import ResNet34

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Attributes:
        name: as it is called in the tables.
        make: gives the plain network.
        item: shape of one second of its input, without the batch dimension.
        batch_size: of a training step.
        duration_s: seconds of each item of a training step.
    """

    name: str
    make: Callable[[], nn.Module]
    item: tuple[int, ...]
    batch_size: int
    duration_s: float

    def example(self) -> Tensor:
        """One second, (1, …)."""
        return torch.zeros(1, *self.item)

    def batch(self) -> Tensor:
        """Input of a training step: noise, with time last."""
        return 0.1 * torch.randn(self.batch_size, *self.item[:-1], round(self.item[-1] * self.duration_s))


NETWORKS = (
    Network("ResNet34", ResNet34, (1, 80, 122), 4, 1.0),
    Network("CRNNVAD", CRNNVAD, (SAMPLE_RATE,), 32, 2.0),
    Network("Conformer, 6 layers", Conformer, (SAMPLE_RATE,), 8, 4.0),
)


def small_resnet() -> nn.Module:
    return ResNet34((48, 96), (1, 1), embedding_size=48)


def small_conformer() -> nn.Module:
    return Conformer(d_model=32, num_layers=1, d_hidden=64)


def networks(options: argparse.Namespace) -> list[Network]:
    """The networks that the options ask for."""
    chosen = list(NETWORKS)
    if options.quick:
        makers: list[Callable[[], nn.Module]] = [small_resnet, lambda: CRNNVAD(hidden_size=64), small_conformer]
        chosen = [replace(n, make=make, batch_size=2, duration_s=1.0) for n, make in zip(chosen, makers, strict=True)]
    return [n for n in chosen if options.only is None or n.name.lower().startswith(options.only.lower())]


def benchmark_parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """The options that benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small networks and few repeats: does it run at all?")
    parser.add_argument("--only", help="the networks whose names begin so")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; threads and seed are set, ``--quick`` makes the repeats two."""
    options = parser.parse_args()
    if options.quick:
        options.repeats = min(options.repeats, 2)
        print("Quick: small networks, whose figures mean nothing")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return options


def aim(value: float, limit: float, *, least: bool = False) -> str:
    """Whether a ratio is where it should be."""
    met = value >= limit if least else value <= limit
    return f"aim: at {'least' if least else 'most'} {limit:g}, {'met' if met else 'MISSED'}"
