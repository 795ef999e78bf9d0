"""torch.nn's Transformer layers with every kind of mask, whatever the example had."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning import layers
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width

PADDED = torch.zeros(2, 9).bool()
PADDED[1, 6:] = True
CAUSAL = nn.Transformer.generate_square_subsequent_mask(9)
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "padding": {"pad": PADDED},
    "padding on the left": {"pad": PADDED.flip(1)},
    "padding in numbers": {"pad": torch.zeros(2, 9).masked_fill(PADDED, float("-inf"))},
    "causal": {"mask": CAUSAL, "causal": True},
    "for each head": {"mask": CAUSAL.repeat(8, 1, 1)},
    "both": {"mask": torch.triu(torch.ones(9, 9), 1).bool(), "pad": PADDED},
}


class Encoder(nn.Module):
    def __init__(self, norm_first: bool, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        layer = nn.TransformerEncoderLayer(
            16, 4, 24, dropout=0.0, norm_first=norm_first, batch_first=batch_first, activation="gelu"
        )
        self.a, self.encoder, self.b = nn.Linear(6, 16), nn.TransformerEncoder(layer, 1), nn.Linear(16, 3)

    def forward(self, x: Tensor, mask: Any = None, pad: Any = None, causal: bool | None = None) -> Tensor:
        y = self.a(x)
        y = self.encoder(y if self.batch_first else y.transpose(0, 1), mask, pad, causal)
        return self.b(y if self.batch_first else y.transpose(0, 1))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize(
    ("norm_first", "batch_first", "example"),
    [(False, True, "none"), (False, True, "padding"), (True, True, "both"), (False, False, "padding")],
)
def test_masks(norm_first: bool, batch_first: bool, example: str) -> None:
    torch.manual_seed(0)
    backbone, x = Encoder(norm_first, batch_first).eval(), torch.randn(2, 9, 6)
    dynamic = dynamize(backbone, {"x": x, **MASKS[example]}).eval()
    assert len(dynamic.widths) == 5
    for given in MASKS.values():
        # Where nested tensors are used, torch has zeros at masked positions.
        heard = ~given["pad"].bool() if "pad" in given else torch.ones(2, 9).bool()
        with torch.no_grad():
            torch.testing.assert_close(dynamic(x, **given)[heard], backbone(x, **given)[heard])
    for width in dynamic.widths.values():
        width.set_lam(0.5)
    small, _ = consolidate(dynamic)
    for given in MASKS.values():
        with torch.no_grad():
            torch.testing.assert_close(dynamic(x, **given), small(x, **given))
        dynamic.train()(x, **given).sum().backward()
        small.train()(x, **given).sum().backward()
        dynamic.eval()
        small.eval()


def test_encoder_and_decoder_with_padding() -> None:
    torch.manual_seed(0)
    net = nn.Transformer(16, 2, 1, 1, 24, dropout=0.0, batch_first=True).eval()
    x, y = torch.randn(2, 9, 16), torch.randn(2, 5, 16)
    masks = {
        "src_key_padding_mask": PADDED, "memory_key_padding_mask": PADDED, "tgt_key_padding_mask": PADDED[:, -5:],
        "tgt_mask": torch.triu(torch.ones(5, 5), 1).bool(), "tgt_is_causal": True,
    }  # fmt: skip
    dynamic = dynamize(net, {"src": x, "tgt": y})
    with torch.no_grad():
        torch.testing.assert_close(dynamic(x, y, **masks)[0], net(x, y, **masks)[0])
    for width in dynamic.widths.values():
        width.set_lam(max(0.5, width.lam_min))
    small, report = consolidate(dynamic.eval(), [{"src": x, "tgt": y}, {"src": x, "tgt": y, **masks}])
    assert report.largest_relative_difference < 1e-5
    small.train()(x, y, **masks).sum().backward()


def test_a_causal_hint_without_a_mask_is_refused_as_torch_does() -> None:
    x = torch.randn(2, 9, 16)
    for net in (nn.MultiheadAttention(16, 4), SlimMultiheadAttention((16, 16, 16), 4, 4, 4, 16)):
        with pytest.raises(RuntimeError, match="attn_mask"):
            net(x, x, x, is_causal=True)
    layer = layers.MultiheadAttention.from_plain(nn.MultiheadAttention(16, 4), heads=Layout(Width(4)))
    with pytest.raises(RuntimeError, match="give attn_mask as well"):
        layer(x, x, x, is_causal=True)
