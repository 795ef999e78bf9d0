"""The convention of the paper: counts that its first author's own package gives."""

import csv
import io

import pytest
import torch
from torch import nn

from dyn_lightning.costs import op_cost
from dyn_lightning.graph import Op

# Counted by moduleprofiler 0.0.4, whose convention the published counts of arXiv 2601.13704 follow.
PAPER_CONVENTION = """layer;input_shape;params;flops
Linear(in=80, out=80, bias=True);1x59x80;6480;755200
Linear(in=80, out=80, bias=False);1x59x80;6400;750480
Linear(in=257, out=64, bias=True);1x59x257;16512;1940864
Linear(in=13, out=7, bias=False);1x59x13;91;10325
Linear(in=5120, out=256, bias=True);1x59x5120;1310976;154664960
Conv1d(80, 80, 3, stride=1, groups=1, bias=True);1x80x59;19280;2188800
Conv1d(81, 80, 3, stride=1, groups=1, bias=True);1x81x59;19520;2216160
Conv1d(16, 16, 5, stride=2, groups=16, bias=False);1x16x59;80;4032
Conv1d(24, 48, 3, stride=1, groups=4, bias=True);1x24x59;912;98496
Conv2d(1, 32, 3, stride=1, padding=1, groups=1, bias=False);1x1x40x62;288;1349120
Conv2d(32, 64, 3, stride=2, padding=1, groups=1, bias=False);1x32x40x62;18432;22816000
Conv2d(32, 64, 1, stride=2, padding=0, groups=1, bias=False);1x32x40x62;2048;2499840
Conv2d(64, 64, 3, stride=1, padding=1, groups=64, bias=True);1x64x40x62;640;2856960
Conv2d(24, 40, 3, stride=1, padding=1, groups=8, bias=True);1x24x40x62;1120;5356800
GRU(80, 256, num_layers=2, bidirectional=False, batch_first=True);1x57x80;654336;74856960
GRU(81, 256, num_layers=2, bidirectional=False, batch_first=True);1x57x81;655104;74944512
GRU(40, 64, num_layers=1, bidirectional=True, batch_first=True);1x57x40;40704;4705920
GRU(33, 17, num_layers=3, bidirectional=False, batch_first=True);1x57x33;6324;747099
LSTM(80, 256, num_layers=2, bidirectional=False, batch_first=True);1x57x80;872448;99896832
LSTM(40, 64, num_layers=1, bidirectional=True, batch_first=True);1x57x40;54272;6296448
LayerNorm(80);1x59x80;160;33276
BatchNorm1d(80);1x80x59;160;33360
BatchNorm2d(32);1x32x40x62;64;555648
ReLU();1x80x59;0;4720
Sigmoid();1x80x59;0;14160
Tanh();1x80x59;0;33040
ELU();1x80x59;0;14160
SELU();1x80x59;0;33040
PReLU();1x80x59;1;18880
LeakyReLU();1x80x59;0;18880
Softplus();1x80x59;0;23600
GELU();1x80x59;0;0
SiLU();1x80x59;0;0
Softmax(-1);1x4x59x59;0;55460
ConvTranspose1d(12, 8, 5, stride=2, padding=1, bias=True);1x12x20;488;29088
ConvTranspose1d(12, 8, 4, stride=4, groups=4, bias=False);1x12x20;96;8960
ConvTranspose2d(6, 4, 3, stride=2, bias=False);1x6x9x7;216;74028
GRU(20, 12, num_layers=2, bidirectional=True, bias=False, batch_first=True);1x9x20;4896;94608
LSTM(20, 12, num_layers=2, bidirectional=True, bias=False, batch_first=True);1x9x20;6528;127440
GRUCell(20, 12);1x20;1224;2556
LSTMCell(20, 12);1x20;1632;3444
MaxPool2d(2);1x8x10x12;0;240
AvgPool1d(3);1x8x12;0;96
AvgPool2d((2, 3));1x8x10x12;0;960
AdaptiveAvgPool2d(1);1x8x10x12;0;8
LayerNorm(80, elementwise_affine=False);1x59x80;0;23836
LayerNorm(80, bias=False);1x59x80;80;28556
BatchNorm1d(80, affine=False);1x80x59;0;23920
Softmax(1);1x4x59x59;0;52215
"""


def torch_layer(text):
    """A row's layer: torch.nn's constructor call, with Linear's arguments spelt short."""
    text = text.replace("in=", "in_features=", 1).replace("out=", "out_features=") if "Linear" in text else text
    return eval(f"nn.{text}", {"nn": nn})


def op_of(module, x):
    """The Op of a layer called on a tensor."""
    with torch.no_grad():
        y = module(x)
    y = y[0] if isinstance(y, tuple) else y
    axes = [tuple((n,) for n in x.shape) for x in (x, y)]
    hidden = tuple((module.hidden_size,) for _ in range(module.num_layers)) if isinstance(module, nn.RNNBase) else ()
    return Op("layer", type(module).__name__, module, (axes[0],), (axes[1],), hidden)


@pytest.mark.parametrize(
    "row", list(csv.DictReader(io.StringIO(PAPER_CONVENTION), delimiter=";")), ids=lambda row: row["layer"]
)
def test_paper_convention_reproduces_the_published_counts(row):
    module = torch_layer(row["layer"])
    cost = op_cost(op_of(module, torch.randn([int(n) for n in row["input_shape"].split("x")])))
    assert cost.flops_paper.at({}) == int(row["flops"])
    assert cost.params.at({}) == int(row["params"]) == sum(p.numel() for p in module.parameters())
    assert cost.counted


def test_paper_gru_follows_the_published_closed_form():
    frames, inputs, hidden, layers = 57, 80, 256, 3
    op = op_of(nn.GRU(inputs, hidden, layers, batch_first=True), torch.randn(1, frames, inputs))
    closed = 6 * frames * hidden * (inputs + (2 * layers - 1) * hidden + 3.5 * layers)
    assert op_cost(op).flops_paper.at({}) == closed
