"""Sums, means and maxima of a table's vectors, whose size may be learned."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.costs.base import OpCost, size
from dyn_lightning.costs.transforms import embedding_bag_flops
from dyn_lightning.graph import Op
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes
from dyn_lightning.graph.products import bag_axes
from dyn_lightning.layers.base import DynamicLayer


class EmbeddingBag(DynamicLayer, nn.EmbeddingBag):
    """torch.nn.EmbeddingBag with a learned size of its vectors.

    Shapes: (bags, entries), or (entries) and ``offsets`` (bags) → (bags, size); ``per_sample_weights`` as the entries.
    """

    plain_class = nn.EmbeddingBag
    sizes = {"embedding_dim": "out_width"}
    tensors = {"weight": (None, "out_width")}

    @staticmethod
    def trace(c: LayerCall) -> list[Axes]:
        return [bag_axes(c.t, c.inputs[0], c.bind()["out_width"], c.results[0], c.name)]

    @staticmethod
    def price(op: Op) -> OpCost:
        module: Any = op.module
        # Indices and offsets are no numbers that anything is multiplied by.
        weights = len(op.inputs) - (2 if len(op.inputs[0]) == 1 else 1)
        flops = embedding_bag_flops(op.inputs[0], op.outputs[0], module.mode, bool(weights))
        return OpCost(flops, params=module.num_embeddings * size(op.outputs[0][-1]))

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        y = F.embedding_bag(
            input, self.cut("weight"), offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
            self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip
        return self.noise(y, -1)
