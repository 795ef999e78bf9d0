"""PReLU, whose slopes may follow a Width."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, numel, size
from dyn_lightning.costs.prices import ACTIVATIONS
from dyn_lightning.graph import Op
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.polynomial import Polynomial
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layers.channel_norm import follow_channels


class PReLU(DynamicLayer, nn.PReLU):
    """torch.nn.PReLU with one slope a channel, following a width. Shapes: (batch, channels, …), unchanged."""

    plain_class = nn.PReLU
    sizes = {"num_parameters": "in_width"}
    tensors = {"weight": ("in_width",)}
    made = ()
    features = "each"

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        x = c.inputs[0]
        return [x] if c.module.num_parameters == 1 else follow_channels(c, 1 if len(x) > 1 else 0)

    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        params = Polynomial.constant(1) if module.num_parameters == 1 else size(op.inputs[0][1])
        flops = ACTIVATIONS["PReLU"] * numel(op.outputs[0])
        return OpCost(flops, flops, params)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.cut("weight"))
