"""Linear layer able to follow Widths."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer, Size, kept
from dyn_lightning.width import Layout, Width, as_layout


class Linear(DynamicLayer, nn.Linear):
    """torch.nn.Linear with a learned output size, a followed input size, both or neither.

    Shapes: (…, in) → (…, out), in and out being the current sizes.
    """

    plain_class = nn.Linear

    def __init__(self, *args: Any, out_width: Width | None = None, in_width: Size | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width, in_width=in_width)

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        out = None if self.out_width is None else as_layout(self.out_width)
        return {"weight": (out, self.in_width), "bias": (out,)}

    def plain_sizes(self) -> dict[str, Any]:
        out = None if self.out_width is None else as_layout(self.out_width)
        return {
            "in_features": kept(self.in_width, self.in_features),
            "out_features": kept(out, self.out_features),
        }

    def forward(self, input: Tensor) -> Tensor:
        return self.noise(F.linear(input, self.cut("weight"), self.cut("bias")), -1)
