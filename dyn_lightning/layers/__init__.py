"""torch.nn's layers, able to follow Widths."""

from dyn_lightning.layers.attention import MultiheadAttention, SlimMultiheadAttention
from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layers.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from dyn_lightning.layers.linear import Linear
from dyn_lightning.layers.mel_filter_bank import FixedScaling, LogCompression, MelFilterBank
from dyn_lightning.layers.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    PReLU,
    RMSNorm,
)
from dyn_lightning.layers.recurrent import GRU, LSTM, RNN
from dyn_lightning.layers.table import Embedding, GRUCell, LSTMCell, RNNCell

DYNAMIC_LAYERS: dict[type, type[DynamicLayer]] = {
    layer.plain_class: layer
    for layer in (
        Linear, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, BatchNorm1d, BatchNorm2d,
        BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm, RMSNorm, GroupNorm, PReLU, GRU, LSTM,
        RNN, GRUCell, LSTMCell, RNNCell, Embedding, MultiheadAttention, SlimMultiheadAttention,
        MelFilterBank, LogCompression, FixedScaling,
    )
}  # fmt: skip
"""The dynamic class for each plain one."""

__all__ = ["DYNAMIC_LAYERS", "DynamicLayer", *(layer.__name__ for layer in DYNAMIC_LAYERS.values())]
