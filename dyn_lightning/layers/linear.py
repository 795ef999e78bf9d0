"""Linear layer able to follow Widths."""

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, has_bias, numel, size
from dyn_lightning.costs.weighted import weighted
from dyn_lightning.graph import Op
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers.base import DynamicLayer


class Linear(DynamicLayer, nn.Linear):
    """torch.nn.Linear with a learned output size, a followed input size, both or neither.

    Shapes: (…, in) → (…, out), in and out being the current sizes.
    """

    plain_class = nn.Linear
    sizes = {"in_features": "in_width", "out_features": "out_width"}
    tensors = {"weight": ("out_width", "in_width"), "bias": ("out_width",)}
    features = "made"

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        x = c.inputs[0]
        bound = c.bind(in_width=x[-1])
        return [(*x[:-1], bound["out_width"])]

    @staticmethod
    def price(op: Op) -> OpCost:
        x, y = op.inputs[0], op.outputs[0]
        return weighted(size(x[-1]), size(y[-1]), numel(y[:-1]), has_bias(op.module), op.product_and_sum)

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.cut("weight"), self.cut("bias")
        if input.dim() < 2 or not self.folds_noise:
            return self.noise(F.linear(input, weight, bias), -1)
        # In two dimensions, because a product in more of them is a view, which noise must not be written into.
        y = F.linear(input.flatten(0, -2), *self.fade(weight, bias))
        return self.noise_(y, -1).unflatten(0, input.shape[:-1]) if input.dim() > 2 else self.noise_(y, -1)
