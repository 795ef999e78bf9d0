import pytest
import torch
from torch import nn

from dyn_lightning.profiling.forward_mode import OpenDerivatives, default_dtype, plain_kernels


@pytest.mark.parametrize("function", [torch.relu, nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardtanh()])
def test_rectifiers_let_everything_through(function) -> None:
    x = torch.tensor([-9.0, -0.5, 0.5, 9.0], requires_grad=True)
    with OpenDerivatives():
        function(x * 1.0).sum().backward()
    assert (x.grad != 0).all()
    x.grad = None
    function(x * 1.0).sum().backward()
    assert (x.grad == 0).any()


def test_in_place_rectifiers_stay_in_place() -> None:
    x = torch.tensor([-2.0, 2.0])
    with OpenDerivatives():
        x.relu_()
    assert x.tolist() == [-1.0, 2.0]


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (nn.MaxPool1d(3, 2, 1), (1, 2, 9)),
        (nn.MaxPool1d(2, ceil_mode=True), (1, 2, 9)),
        (nn.MaxPool2d((3, 2), padding=(1, 0)), (1, 2, 8, 9)),
        (lambda x: nn.functional.max_pool2d(x, 3, stride=1), (1, 2, 8, 9)),
    ],
)
def test_maxima_depend_on_their_whole_window(pool, shape) -> None:
    x = torch.randn(shape, requires_grad=True)
    with OpenDerivatives():
        out = pool(x)
    assert out.shape == pool(x).shape
    sizes = [len(torch.autograd.grad(o, x, retain_graph=True)[0].nonzero()) for o in out.flatten()]
    pool(x).sum().backward()
    assert max(sizes) > 1
    assert min(sizes) >= 1


def test_a_dilated_maximum_stays_what_it_is() -> None:
    x, pool = torch.randn(1, 1, 9), nn.MaxPool1d(3, dilation=2)
    with OpenDerivatives():
        torch.testing.assert_close(pool(x), nn.functional.max_pool1d(x, 3, dilation=2))


def test_settings_are_put_back() -> None:
    fastpath, mkldnn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled

    def fail() -> None:
        assert torch.zeros(1).dtype == torch.float64
        assert not torch.backends.mkldnn.enabled
        raise KeyError

    with pytest.raises(KeyError), plain_kernels(), default_dtype(torch.float64):
        fail()
    assert torch.get_default_dtype() == torch.float32
    assert torch.backends.mha.get_fastpath_enabled() == fastpath
    assert torch.backends.mkldnn.enabled == mkldnn
