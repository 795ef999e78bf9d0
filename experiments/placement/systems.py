"""What the study of placement compares: the same budgets, with the sizes of some layers learned, or of all."""

from __future__ import annotations

from experiments.cases import Case, least_share
from experiments.grid import FULL, System

TASKS = ("vad", "antispoofing", "digits")
PLACEMENTS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "vad": {
        "first layer": ("mel",),
        "convolution": ("conv",),
        "recurrent": ("gru",),
        "all": None,
    },
    "antispoofing": {
        "first stack": ("resnet.stacks.0.*",),
        "inner convolutions": ("resnet.stacks.*.conv1",),
        "residual streams": ("resnet.stem", "resnet.stacks.*.conv2"),
        "all": None,
    },
    "digits": {
        "first layer": ("conv1",),
        "last layer": ("conv2",),
        "all": None,
    },
}
"""Task → placement → patterns of the layers whose sizes are learned; None for all."""
BUDGETS: dict[str, tuple[float, ...]] = {
    "vad": (0.95, 0.5, 0.25),
    "antispoofing": (0.85, 0.5, 0.25),
    "digits": (0.6, 0.25, 0.125),
}
"""Task → shares of all FLOPs at full size, the first of which every placement can reach."""


def all_systems(case: Case) -> list[System]:
    """The full network, then every placement at every budget that it can reach, budget by budget."""
    return [
        FULL,
        *(
            System(f"{name}, {100 * share:g} %", dynamic=patterns, share=share)
            for share in BUDGETS[case.name]
            for name, patterns in PLACEMENTS[case.name].items()
            if share > least_share(case, patterns)
        ),
    ]
