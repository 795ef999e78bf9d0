import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dyn_lightning.layers import Linear, MultiheadAttention
from dyn_lightning.layers import SlimMultiheadAttention as DynamicSlim
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.widths.layout import Layout
from dyn_lightning.widths.width import Width

E, H = 12, 3


def make(plain: nn.MultiheadAttention, *, inputs: bool = False) -> tuple[Any, dict[str, Width]]:
    """The dynamic form with a Width for everything of its own, and where asked for those of its inputs."""
    torch.manual_seed(0)
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.4)
    widths = {name: Width(n) for name, n in (("heads", H), ("head_size", E // H), ("value_size", E // H), ("out", E))}
    refs: dict[str, Any] = {}
    if inputs:
        widths["in"] = Width(E)
        refs["in_width"] = widths["in"]
        same = plain.kdim == plain.vdim == E
        refs["key_width"] = widths["in"] if same else widths.setdefault("key", Width(plain.kdim))
        refs["value_width"] = widths["in"] if same else widths.setdefault("value", Width(plain.vdim))
    own = copy.deepcopy(plain)
    inner = Layout(widths["heads"], widths["value_size"])
    own.out_proj = Linear.from_plain(own.out_proj, out_width=widths["out"], in_width=inner)
    parts = {name: widths[name] for name in ("heads", "head_size", "value_size")}
    return MultiheadAttention.from_plain(own, **parts, **refs), widths


def masks(kind: str, batch: int, queries: int, keys: int) -> dict[str, torch.Tensor]:
    if kind == "none":
        return {}
    torch.manual_seed(1)
    boolean = torch.rand(queries, keys) > 0.6
    boolean[:, 0] = False
    if kind == "bool":
        return {"attn_mask": boolean}
    if kind == "float":
        return {"attn_mask": torch.randn(queries, keys)}
    if kind == "heads":
        return {"attn_mask": torch.randn(batch * H, queries, keys)}
    padding = torch.zeros(batch, keys, dtype=torch.bool)
    padding[1:, -2:] = True
    if kind == "padding":
        return {"key_padding_mask": padding}
    return {"key_padding_mask": torch.randn(batch, keys), "attn_mask": torch.randn(queries, keys)}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"kdim": 10, "vdim": 6, "batch_first": True},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "batch_first": True},
    {"add_bias_kv": True, "add_zero_attn": True, "kdim": 5},
]


def arguments(plain: nn.MultiheadAttention, sizes: dict[str, int]) -> list[torch.Tensor]:
    torch.manual_seed(2)
    batch, queries, keys = 2, 4, 5
    key = torch.randn(batch, keys, sizes.get("key", sizes.get("in", plain.kdim) if plain.kdim == E else plain.kdim))
    value = torch.randn(batch, keys, sizes.get("value", sizes.get("in", plain.vdim) if plain.vdim == E else plain.vdim))
    found = [torch.randn(batch, queries, sizes.get("in", E)), key, value]
    return found if plain.batch_first else [x.transpose(0, 1) for x in found]


@pytest.mark.parametrize("mask", ["none", "bool", "float", "heads", "padding", "both"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_at_full_size_it_is_torchs(options: dict[str, Any], mask: str) -> None:
    plain = nn.MultiheadAttention(E, H, **options)
    layer, _ = make(plain)
    assert list(layer.state_dict()) == list(plain.state_dict())
    layer.eval()
    plain.train()  # in evaluation torch may take a fused path that rounds differently
    inputs, given = arguments(plain, {}), masks(mask, 2, 4, 5)
    for need_weights, average in ((True, True), (True, False), (False, True)):
        call = {**given, "need_weights": need_weights, "average_attn_weights": average}
        (y, w), (expected, weights) = layer(*inputs, **call), plain(*inputs, **call)
        assert (y - expected).abs().max() <= 1e-6 * max(1.0, expected.abs().max().item())
        assert (w is None) == (weights is None)
        if w is not None:
            assert w.shape == weights.shape
            assert (w - weights).abs().max() <= 1e-6


def test_unbatched_input() -> None:
    plain = nn.MultiheadAttention(E, H)
    layer, _ = make(plain)
    layer.eval()
    x, padding = torch.randn(5, E), torch.tensor([False] * 3 + [True] * 2)
    for call in ({}, {"key_padding_mask": padding}, {"attn_mask": torch.randn(5, 5)}, {"average_attn_weights": False}):
        for one, other in zip(layer(x, x, x, **call), plain(x, x, x, **call), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_any_size_is_the_consolidated_layer(options: dict[str, Any], inputs: bool) -> None:
    plain = nn.MultiheadAttention(E, H, **options)
    if options.get("kdim") == 5:
        plain = nn.MultiheadAttention(E, H, **{**options, "vdim": 7})
    layer, widths = make(plain, inputs=inputs)
    layer.eval()
    generator = torch.Generator().manual_seed(3)
    for mask in ("none", "heads", "both"):
        for width in widths.values():
            width.set_lam(width.lam_min + (1 - width.lam_min) * float(torch.rand((), generator=generator)))
        small = layer.to_plain()
        assert type(small) is SlimMultiheadAttention
        assert not any(isinstance(m, (Width, MultiheadAttention)) for m in small.modules())
        assert (small.num_heads, small.head_size) == (widths["heads"].size, widths["head_size"].size)
        given = arguments(plain, {name: w.size for name, w in widths.items()})
        for call in ({"need_weights": False}, {"average_attn_weights": False}):
            one = layer(*given, **masks(mask, 2, 4, 5), **call)
            other = small(*given, **masks(mask, 2, 4, 5), **call)
            for a, b in zip(one, other, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    assert a.shape == b.shape
                    assert (a - b).abs().max() <= 1e-5 * max(1.0, b.abs().max().item())


SLIM: list[dict[str, Any]] = [
    {"batch_first": True},
    {"fused": False, "in_sizes": (8, 6, 7), "scale": 0.3},
    {"bias": False, "zero_attn": True},
    {"bias_kv": True, "batch_first": True},
]


@pytest.mark.parametrize("options", SLIM, ids=str)
def test_slim_attention_at_any_size_is_the_slimmer_one(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    options = {"in_sizes": (8, 8, 8), "heads": 3, "head_size": 4, "value_size": 5, "out_size": 6} | options
    plain = SlimMultiheadAttention(**options).eval()
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.4)
    widths = {"heads": Width(3), "head_size": Width(4), "value_size": Width(5), "out": Width(6)}
    names = ("in_width", "key_width", "value_width")
    inputs = {n: Width(size) for n, size in zip(names, options["in_sizes"], strict=True)}
    if plain.fused:
        inputs = dict.fromkeys(names, inputs["in_width"])
    own = copy.deepcopy(plain)
    inner = Layout(widths["heads"], widths["value_size"])
    own.out_proj = Linear.from_plain(own.out_proj, out_width=widths["out"], in_width=inner)
    parts = {n: widths[n] for n in ("heads", "head_size", "value_size")}
    layer = DynamicSlim.from_plain(own, **parts, **inputs).eval()
    assert list(layer.state_dict()) == list(plain.state_dict())
    full = [torch.randn(2, 5, n) for n in options["in_sizes"]]
    torch.testing.assert_close(layer(*full)[0], plain(*full)[0], rtol=0, atol=0)

    for name, size in {"heads": 2, "head_size": 3, "value_size": 2, "out": 4}.items():
        widths[name].freeze(size)
    for width in inputs.values():
        width.freeze(5)
    small = layer.to_plain()
    assert type(small) is SlimMultiheadAttention
    assert (small.in_sizes, small.num_heads, small.head_size) == ((5, 5, 5), 2, 3)
    assert (small.value_size, small.out_size, small.scale) == (2, 4, plain.scale)
    cut = [x[..., :5] for x in full]
    for a, b in zip(layer(*cut), small(*cut), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    # What is gone is not heard: in the full layer, heads and features whose weights are zero; keys of zero too.
    silent = copy.deepcopy(plain)
    with torch.no_grad():
        silent.out_proj.weight.view(6, 3, 5)[:, 2:] = 0.0
        silent.out_proj.weight.view(6, 3, 5)[..., 2:] = 0.0
        matrices = plain.in_proj_weight.split([12, 12, 15]) if plain.fused else None
        for i, name in enumerate("qk"):
            weight = silent.in_proj_weight[12 * i : 12 * i + 12] if matrices else getattr(silent, f"{name}_proj_weight")
            weight.view(3, 4, -1)[:, 3:] = 0.0
            if silent.in_proj_bias is not None:
                silent.in_proj_bias[12 * i : 12 * i + 12].view(3, 4)[:, 3:] = 0.0
        if silent.bias_k is not None:
            silent.bias_k.view(3, 4)[:, 3:] = 0.0
    padded = [F.pad(x, (0, n - 5)) for x, n in zip(cut, options["in_sizes"], strict=True)]
    torch.testing.assert_close(small(*cut)[0], silent(*padded)[0][..., :4], rtol=1e-5, atol=1e-5)


def test_fewer_heads_are_the_first_ones_of_the_full_layer() -> None:
    """Independent of the layer's own code: torch's layer, whose other heads are not heard."""
    plain = nn.MultiheadAttention(E, H, batch_first=True)
    layer, widths = make(plain)
    layer.eval()
    widths["heads"].freeze(2)
    reference = copy.deepcopy(layer)
    silent = nn.MultiheadAttention(E, H, batch_first=True).eval()
    silent.load_state_dict(reference.state_dict())
    with torch.no_grad():
        silent.out_proj.weight[:, 2 * E // H :] = 0.0
    x = torch.randn(2, 5, E)
    torch.testing.assert_close(layer(x, x, x)[0], silent(x, x, x)[0])
    # the same for features of each head: queries and keys of zero are those that are gone
    widths["heads"].unfreeze()
    widths["head_size"].freeze(3)
    widths["value_size"].freeze(2)
    silent.load_state_dict(reference.state_dict())
    with torch.no_grad():
        for part, size in ((0, 3), (1, 3), (2, 2)):
            rows = silent.in_proj_weight[part * E : (part + 1) * E].view(H, E // H, E)
            rows[:, size:] = 0.0
            silent.in_proj_bias[part * E : (part + 1) * E].view(H, E // H)[:, size:] = 0.0
    torch.testing.assert_close(layer(x, x, x)[0], silent(x, x, x)[0])


@pytest.mark.parametrize("name", ["heads", "head_size", "value_size", "out"])
def test_noise_and_the_gradient_of_each_size(name: str) -> None:
    plain = nn.MultiheadAttention(E, H, batch_first=True)
    layer, widths = make(plain)
    layer.train()
    for width in widths.values():
        width.set_learning(False)
    width = widths[name]
    width.set_learning(True)
    width.set_lam((width.full_size - 0.5) / width.full_size)
    x = torch.randn(2, 5, E)
    for call in ({}, {"need_weights": False}):
        one, other = layer(x, x, x, **call)[0], layer(x, x, x, **call)[0]
        assert torch.isfinite(one).all()
        assert not torch.equal(one, other)
        same = (one == other).flatten(0, 1).all(0)
        assert same.tolist() == ([True] * (E - 1) + [False] if name == "out" else [False] * E)
        width.theta.grad = None
        one.square().sum().backward()
        assert width.theta.grad is not None
        assert torch.isfinite(width.theta.grad)
        assert width.theta.grad != 0
    layer.eval()
    assert torch.equal(layer(x, x, x)[0], layer(x, x, x)[0])


def test_gradients_at_full_size_are_torchs() -> None:
    plain = nn.MultiheadAttention(E, H, batch_first=True, add_bias_kv=True)
    layer, widths = make(plain)
    for width in widths.values():
        width.set_learning(False)
    x = torch.randn(2, 5, E)
    for module in (layer.train(), plain.train()):
        module(x, x, x)[0].square().sum().backward()
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("training", [False, True])
def test_inside_torchs_transformer_layers(kind: str, training: bool) -> None:
    torch.manual_seed(0)
    options = {"batch_first": True, "dropout": 0.0}
    if kind == "encoder":
        plain: Any = nn.TransformerEncoderLayer(E, H, 16, **options)
        inputs: tuple[Any, ...] = (torch.randn(2, 5, E),)
    else:
        plain = nn.TransformerDecoderLayer(E, H, 16, **options)
        inputs = (torch.randn(2, 5, E), torch.randn(2, 4, E))
    plain.train(training)
    with torch.no_grad():
        expected = plain(*inputs)
    dynamic = copy.deepcopy(plain)
    heads, size = Width(H), Width(E // H)
    for name in ("self_attn", "multihead_attn"):
        if hasattr(dynamic, name):
            own = getattr(dynamic, name)
            own.out_proj = Linear.from_plain(own.out_proj, in_width=Layout(heads, size))
            setattr(dynamic, name, MultiheadAttention.from_plain(own, heads=heads, value_size=size))
    dynamic.train(training)
    for width in (heads, size):
        width.set_learning(False)
    with torch.no_grad():
        torch.testing.assert_close(dynamic(*inputs), expected, rtol=1e-5, atol=1e-5)
        heads.freeze(2)
        size.freeze(3)
        found = dynamic(*inputs)
        small = copy.deepcopy(dynamic)
        for name in ("self_attn", "multihead_attn"):
            if hasattr(small, name):
                setattr(small, name, getattr(small, name).to_plain())
        torch.testing.assert_close(small(*inputs), found, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found, expected)
