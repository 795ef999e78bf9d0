"""torch.nn's layers, able to follow Widths."""

from dyn_lightning.layers.base import DynamicLayer
from dyn_lightning.layers.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from dyn_lightning.layers.filter_bank import FixedScaling, LogCompression, MelFilterBank
from dyn_lightning.layers.linear import Linear
from dyn_lightning.layers.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, PReLU
from dyn_lightning.layers.recurrent import GRU, LSTM

DYNAMIC_LAYERS: dict[type, type[DynamicLayer]] = {
    layer.plain_class: layer
    for layer in (
        Linear,
        Conv1d,
        Conv2d,
        ConvTranspose1d,
        ConvTranspose2d,
        BatchNorm1d,
        BatchNorm2d,
        LayerNorm,
        GroupNorm,
        PReLU,
        GRU,
        LSTM,
        MelFilterBank,
        LogCompression,
        FixedScaling,
    )
}
"""The dynamic class for each plain one."""

__all__ = ["DYNAMIC_LAYERS", "DynamicLayer", *(layer.__name__ for layer in DYNAMIC_LAYERS.values())]
