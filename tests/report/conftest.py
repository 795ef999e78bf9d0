"""Records of runs, as ``result_record`` makes them."""

import json
from pathlib import Path
from typing import Any

import pytest

from dyn_lightning.report.studies import Run


def make_record(system: str | None = "learned 25 %", seed: int = 0, eer: float | None = 0.05, **given: Any) -> dict:
    flops = given.pop("flops", 2e6)
    named = {} if system is None else {"system": system}
    record = {
        "config": {**named, "lr": 0.01, **given.pop("config", {})},
        "config_hash": "0123456789ab",
        "seed": seed,
        "dataset": "Toy: 3 utterances",
        "metrics": {"test/eer": eer, "test/loss": 0.3, "val/eer": 0.04, **given.pop("metrics", {})},
        "flops_per_second": flops,
        "flops_per_second_before": 8e6,
        "flops_per_second_fixed": 1e6,
        "flops_per_second_paper": 0.9 * flops,
        "parameters": 1000 + seed,
        "widths": {"conv": [20 + seed, 80], "gru": [64, 256]},
        "wall_time_s": 10.0 + seed,
        "versions": {"torch": "2.11.0", "python": "3.11.7"},
    }
    return {**record, **given}


@pytest.fixture
def record():
    return make_record


@pytest.fixture
def runs():
    def make(*records: dict) -> list[Run]:
        return [Run(r, f"results.jsonl:{number}") for number, r in enumerate(records, start=1)]

    return make


@pytest.fixture
def write(tmp_path: Path):
    """Writes records as a file of results."""

    def write(*records: dict, name: str = "results.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
        return path

    return write
