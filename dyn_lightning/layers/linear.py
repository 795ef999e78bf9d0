"""Linear layer able to follow Widths."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.layers.base import DynamicLayer, Size, kept
from dyn_lightning.widths.layout import Layout


class Linear(DynamicLayer, nn.Linear):
    """torch.nn.Linear with a learned output size, a followed input size, both or neither.

    Shapes: (…, in) → (…, out), in and out being the current sizes.
    """

    plain_class = nn.Linear

    def __init__(self, *args: Any, out_width: Size | None = None, in_width: Size | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bind(out_width=out_width, in_width=in_width)

    def layouts(self) -> dict[str, tuple[Layout | None, ...]]:
        return {"weight": (self.out_width, self.in_width), "bias": (self.out_width,)}

    def plain_sizes(self) -> dict[str, Any]:
        return {
            "in_features": kept(self.in_width, self.in_features),
            "out_features": kept(self.out_width, self.out_features),
        }

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.cut("weight"), self.cut("bias")
        if input.dim() < 2 or not self.folds_noise:
            return self.noise(F.linear(input, weight, bias), -1)
        # In two dimensions, because a product in more of them is a view, which noise must not be written into.
        y = F.linear(input.flatten(0, -2), *self.fade(weight, bias))
        return self.noise_(y, -1).unflatten(0, input.shape[:-1]) if input.dim() > 2 else self.noise_(y, -1)
