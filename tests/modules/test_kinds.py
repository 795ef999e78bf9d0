"""Every kind of layer comes back from JSON with the same options."""

import json

import pytest
import torch
from torch import nn

from dyn_lightning.errors import ArtifactError
from dyn_lightning.features.spectral import MelFilterBank
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.modules.kinds import KINDS, build_layer, describe_layer, is_known
from dyn_lightning.modules.stacked_rnn import StackedRNN

LAYERS = [
    nn.Linear(3, 4, bias=False),
    nn.Bilinear(2, 3, 4, bias=False),
    nn.Embedding(7, 3, padding_idx=1, max_norm=2.0),
    nn.EmbeddingBag(7, 3, mode="sum", include_last_offset=True),
    nn.Conv1d(4, 6, 3, stride=2, padding="valid", dilation=2, groups=2),
    nn.Conv2d(2, 3, (3, 1), padding=(1, 0), padding_mode="reflect", bias=False),
    nn.Conv3d(2, 3, (1, 2, 3), stride=(1, 2, 1)),
    nn.ConvTranspose1d(2, 3, 4, stride=2, output_padding=1),
    nn.ConvTranspose2d(2, 3, 4, bias=False),
    nn.ConvTranspose3d(2, 4, 2, groups=2),
    nn.BatchNorm1d(3, momentum=None),
    nn.BatchNorm2d(3, affine=False),
    nn.BatchNorm3d(3, track_running_stats=False),
    nn.SyncBatchNorm(3, eps=1e-3),
    nn.InstanceNorm1d(3, affine=True),
    nn.InstanceNorm2d(3, track_running_stats=True),
    nn.InstanceNorm3d(3),
    nn.LayerNorm((3, 4), bias=False),
    nn.LayerNorm(5, eps=1e-3, elementwise_affine=False),
    nn.RMSNorm(5, eps=1e-3),
    nn.GroupNorm(2, 4),
    nn.PReLU(3),
    nn.RNN(3, 4, 2, nonlinearity="relu"),
    nn.GRU(3, 4, 2, batch_first=True, bidirectional=True),
    nn.LSTM(3, 4, bias=False, proj_size=2),
    nn.RNNCell(3, 4, nonlinearity="relu"),
    nn.GRUCell(3, 4, bias=False),
    nn.LSTMCell(3, 4),
    nn.MultiheadAttention(8, 2, bias=False, add_bias_kv=True, kdim=5, batch_first=True),
    nn.MultiheadAttention(8, 4, dropout=0.1, add_zero_attn=True),
    StackedRNN("LSTM", 3, (4, 3), batch_first=True, bias=False),
    StackedRNN("LSTM", 3, (4, 3), proj_size=2),
    StackedRNN("RNN", 3, (4, 2), nonlinearity="relu"),
    SlimMultiheadAttention((6, 5, 4), 3, 2, 5, 7, fused=False, bias_kv=True, scale=0.5),
    SlimMultiheadAttention((6, 6, 6), 3, 2, 5, 6, bias=False, batch_first=True),
    MelFilterBank(257, 20, 8000, 100.0),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layer_is_rebuilt_from_json(layer):
    description = json.loads(json.dumps(describe_layer(layer)))
    again = build_layer(description)
    assert type(again) is type(layer)
    assert repr(again) == repr(layer)
    again.load_state_dict(layer.state_dict())
    assert json.loads(json.dumps(describe_layer(again))) == description


def test_every_kind_is_tried():
    assert {type(layer).__name__ for layer in LAYERS} == set(KINDS)


def test_attention_computes_the_same_after_it():
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, add_zero_attn=True, batch_first=True).eval()
    again = build_layer(json.loads(json.dumps(describe_layer(layer)))).eval()
    again.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(again(x, x, x), layer(x, x, x), rtol=0, atol=0)


def test_other_layers_are_not_described():
    class Own(nn.Linear):
        pass

    assert not is_known(Own(1, 1))
    with pytest.raises(ArtifactError, match="Own cannot be described"):
        describe_layer(Own(1, 1))
    with pytest.raises(ArtifactError, match=r"unknown layer kind 'os\.system'"):
        build_layer({"kind": "os.system", "options": {"command": "true"}})
    with pytest.raises(ArtifactError, match="Linear of the options"):
        build_layer({"kind": "Linear", "options": {"in_features": 2}})


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.Conv1d(2, 3, 3), "padding"),
        (nn.Conv1d(2, 3, 3), "stride"),
        (nn.GRU(2, 3), "bidirectional"),
        (nn.LSTM(2, 3), "dropout"),
    ],
)
def test_null_where_a_layer_takes_none_such_is_refused(layer, name):
    described = describe_layer(layer)
    described["options"][name] = None
    with pytest.raises(ArtifactError, match=f"{name} must not be null"):
        build_layer(described)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(3, momentum=None), nn.InstanceNorm1d(3, momentum=None), nn.RMSNorm(3)]
)
def test_null_where_a_layer_means_it_stays(layer):
    assert str(build_layer(describe_layer(layer))) == str(layer)
