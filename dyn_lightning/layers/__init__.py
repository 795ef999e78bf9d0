"""torch.nn's layers, able to follow Widths: one file a layer or close family, which says all that is known of it.

Such a file declares its layers as it is imported: how they are read (:mod:`dyn_lightning.graph.declared`), what they
cost (:mod:`dyn_lightning.costs.base`) and how they are written down (:mod:`dyn_lightning.modules.kinds`). A layer of
your own is declared in the same way, wherever its file is: docs/extend.md.
"""

from dyn_lightning.costs.base import OpCost, numel, size
from dyn_lightning.graph.layer_call import LayerCall
from dyn_lightning.graph.notes import Axes, Op
from dyn_lightning.layers import activations, pools, stacked_rnn
from dyn_lightning.layers.attention import MultiheadAttention, SlimMultiheadAttention
from dyn_lightning.layers.base import DYNAMIC_LAYERS, DynamicLayer
from dyn_lightning.layers.bilinear import Bilinear
from dyn_lightning.layers.cells import GRUCell, LSTMCell, RNNCell
from dyn_lightning.layers.channel_norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from dyn_lightning.layers.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from dyn_lightning.layers.declare import declare
from dyn_lightning.layers.embedding import Embedding
from dyn_lightning.layers.embedding_bag import EmbeddingBag
from dyn_lightning.layers.group_norm import GroupNorm
from dyn_lightning.layers.layer_norm import LayerNorm, RMSNorm
from dyn_lightning.layers.linear import Linear
from dyn_lightning.layers.mel_filter_bank import FixedScaling, LogCompression, MelFilterBank
from dyn_lightning.layers.prelu import PReLU
from dyn_lightning.layers.recurrent import GRU, LSTM, RNN

__all__ = [
    "DYNAMIC_LAYERS", "GRU", "LSTM", "RNN", "Axes", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Bilinear", "Conv1d",
    "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "DynamicLayer", "Embedding",
    "EmbeddingBag", "FixedScaling", "GRUCell", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "LSTMCell", "LayerCall", "LayerNorm", "Linear", "LogCompression", "MelFilterBank", "MultiheadAttention", "Op",
    "OpCost", "PReLU", "RMSNorm", "RNNCell", "SlimMultiheadAttention", "activations", "declare", "numel", "pools",
    "size", "stacked_rnn",
]  # fmt: skip
