"""Bilinear layer whose three sizes may be learned."""

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, has_bias, size
from dyn_lightning.costs.products import bilinear_flops
from dyn_lightning.graph import Op, unify
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers.base import DynamicLayer


class Bilinear(DynamicLayer, nn.Bilinear):
    """torch.nn.Bilinear with a learned output size, and one or two sizes that it follows.

    Shapes: (…, in1), (…, in2) → (…, out), at current sizes.
    """

    plain_class = nn.Bilinear
    sizes = {"in1_features": "in1_width", "in2_features": "in2_width", "out_features": "out_width"}
    tensors = {"weight": ("out_width", "in1_width", "in2_width"), "bias": ("out_width",)}
    features = "made"

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        x, y = c.inputs
        bound = c.bind(in1_width=x[-1], in2_width=y[-1])
        return [(*(unify(a, b, c.reason) for a, b in zip(x[:-1], y[:-1], strict=True)), bound["out_width"])]

    @staticmethod
    def price(op: Op) -> OpCost:
        (x, y), bias = op.inputs, has_bias(op.module)
        out, in1, in2 = size(op.outputs[0][-1]), size(x[-1]), size(y[-1])
        return OpCost(bilinear_flops(op, in1, in2, bias), params=out * (in1 * in2 + bias))

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return self.noise(F.bilinear(input1, input2, self.cut("weight"), self.cut("bias")), -1)
