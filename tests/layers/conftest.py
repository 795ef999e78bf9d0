"""What must hold for every dynamic layer, whatever it computes."""

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.layers import DYNAMIC_LAYERS, DynamicLayer
from dyn_lightning.widths.width import Width


def tensors(out: Any) -> list[Tensor]:
    if isinstance(out, Tensor):
        return [out]
    if isinstance(out, nn.utils.rnn.PackedSequence):
        return [out.data]
    return [t for part in out for t in tensors(part)]


def assert_close(a: Any, b: Any, relative: float) -> None:
    for one, two in zip(tensors(a), tensors(b), strict=True):
        assert one.shape == two.shape
        assert (one - two).abs().max() <= relative * max(1.0, two.abs().max().item())


class Contract:
    """Holds a dynamic layer to its plain one.

    Args:
        plain: the torch.nn layer.
        refs: from a list of Widths to the arguments that bind them.
        full_sizes: the Widths' full sizes.
        inputs: from the current sizes of the Widths to the layer's arguments.
    """

    def __init__(
        self,
        plain: nn.Module,
        refs: Callable[..., dict[str, Any]],
        full_sizes: list[int],
        inputs: Callable[..., tuple[Any, ...]],
        *,
        resampled: bool = False,
    ) -> None:
        torch.manual_seed(0)
        for parameter in plain.parameters():
            nn.init.normal_(parameter, std=0.5)
        self.plain, self.inputs = plain, inputs
        self.widths = [Width(n, resampled=resampled) for n in full_sizes]
        self.layer: Any = DYNAMIC_LAYERS[type(plain)].from_plain(copy.deepcopy(plain), **refs(*self.widths))

    def call(self, layer: nn.Module, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        arguments = self.inputs(*(w.current for w in self.widths))
        torch.manual_seed(seed)
        return layer(*arguments)

    def set(self, *lams: float) -> None:
        for width, lam in zip(self.widths, lams, strict=True):
            width.set_lam(lam)

    def check(self) -> None:
        self.same_names()
        self.same_at_full_size()
        self.same_gradients_at_full_size()
        self.same_as_consolidated()
        self.noise_reaches_lam()
        self.other_dtypes()

    def same_names(self) -> None:
        assert isinstance(self.layer, DynamicLayer)
        assert list(self.layer.state_dict()) == list(self.plain.state_dict())
        assert [n for n, _ in self.layer.named_parameters()] == [n for n, _ in self.plain.named_parameters()]
        self.layer.load_state_dict(self.plain.state_dict())

    def same_at_full_size(self) -> None:
        self.set(*[1.0] * len(self.widths))
        assert_close(self.call(self.layer.eval()), self.call(self.plain.eval()), 1e-6)
        for width in self.widths:
            width.set_learning(False)
        a, b = self.call(self.layer.train()), self.call(self.plain.train())
        assert_close(a, b, 1e-6)
        for width in self.widths:
            width.set_learning(True)

    def same_gradients_at_full_size(self) -> None:
        for width in self.widths:
            width.set_learning(False)
        for layer in (self.layer.train(), self.plain.train()):
            layer.zero_grad()
            if list(layer.parameters()):
                sum(t.square().sum() for t in tensors(self.call(layer))).backward()
        for one, two in zip(self.layer.parameters(), self.plain.parameters(), strict=True):
            assert one.grad is not None
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)
        for width in self.widths:
            width.set_learning(True)

    def same_as_consolidated(self) -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            self.set(*(w.lam_min + (1 - w.lam_min) * float(torch.rand((), generator=generator)) for w in self.widths))
            self.layer.eval()
            small = self.layer.to_plain()
            assert type(small).__module__.split(".")[0] == "torch" or ".layers." not in type(small).__module__
            assert not [v for v in vars(small).values() if isinstance(v, (Width, DynamicLayer))]
            assert "_refs" not in vars(small)
            assert_close(self.call(self.layer), self.call(small), 1e-5)

    def noise_reaches_lam(self) -> None:
        self.layer.train()
        self.set(*((math.floor(0.7 * w.units) - 0.4) / w.units for w in self.widths))
        out = tensors(self.call(self.layer))
        assert all(torch.isfinite(t).all() for t in out)
        for i, width in enumerate(self.widths):
            if width not in self.layer.makes() or width.resampled:  # its gradient comes of the layers behind
                continue
            width.theta.grad = None
            sum(t.square().sum() for t in tensors(self.call(self.layer))).backward()
            assert width.theta.grad is not None, i
            assert torch.isfinite(width.theta.grad)
            assert width.theta.grad != 0

    def other_dtypes(self) -> None:
        for layer in (self.layer.train(), self.layer.eval()):
            reference = tensors(self.call(layer))
            if isinstance(layer, nn.LSTM) and not _lstm_runs_in_bfloat16():
                continue
            with torch.autocast("cpu", torch.bfloat16):
                low = tensors(self.call(layer))
            assert all(torch.isfinite(t).all() for t in low)
            if not layer.training:
                assert all(
                    (a - b).abs().max() <= 0.1 * (1 + b.abs().max()) for a, b in zip(low, reference, strict=True)
                )
        double = copy.deepcopy(self.layer).double()
        torch.manual_seed(0)
        arguments = [_double(x) for x in self.inputs(*(w.current for w in self.widths))]
        out = tensors(double(*arguments))
        assert all(t.dtype == torch.float64 for t in out)
        for a, b in zip(out, tensors(self.call(self.layer)), strict=True):
            torch.testing.assert_close(a.float(), b, rtol=1e-4, atol=1e-4)


@functools.cache
def _lstm_runs_in_bfloat16() -> bool:
    """torch's own kernel needs a processor that knows bfloat16."""
    try:
        with torch.autocast("cpu", torch.bfloat16):
            nn.LSTM(2, 2)(torch.randn(1, 1, 2))
    except RuntimeError:
        return False
    return True


def _double(x: Any) -> Any:
    if isinstance(x, tuple) and not isinstance(x, nn.utils.rnn.PackedSequence):
        return tuple(map(_double, x))
    return x.double() if isinstance(x, Tensor) or hasattr(x, "data") else x


@pytest.fixture
def contract() -> type[Contract]:
    return Contract
