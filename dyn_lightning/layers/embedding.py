"""Table of vectors whose size may be learned."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, size
from dyn_lightning.graph import Op
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.layers.base import DynamicLayer


class Embedding(DynamicLayer, nn.Embedding):
    """torch.nn.Embedding with a learned size of its vectors. Shapes: (…) → (…, size)."""

    plain_class = nn.Embedding
    sizes = {"embedding_dim": "out_width"}
    tensors = {"weight": (None, "out_width")}

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        bound = c.bind()
        return [(*c.inputs[0], bound["out_width"])]

    @staticmethod
    def price(op: Op) -> OpCost:
        """Looking up is free."""
        module: Any = op.module
        return OpCost(params=module.num_embeddings * size(op.outputs[0][-1]))

    def forward(self, input: Tensor) -> Tensor:
        y = F.embedding(
            input,
            self.cut("weight"),
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )
        return self.noise(y, -1)
