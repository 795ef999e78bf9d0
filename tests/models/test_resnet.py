import pytest
import torch

from dyn_lightning.models.resnet import BasicBlock, ResNet34
from dyn_lightning.network.plain import plain_complexity


def test_published_parameters() -> None:
    assert sum(p.numel() for p in ResNet34().parameters()) == 5_389_666


def test_published_flops() -> None:
    # 80 bands and 122 frames: one second with n_fft 512 and hop 128, if the front end had 80 bands.
    complexity = plain_complexity(ResNet34(), torch.zeros(1, 1, 80, 122), 1.0)
    assert round(complexity.flops_full_size("paper") / 1e9, 2) == 5.64
    assert not complexity.uncounted


@pytest.mark.parametrize("frames", [20, 33])
def test_shapes_and_strides(frames: int) -> None:
    network = ResNet34((4, 6, 8, 10), (1, 2, 1, 1), embedding_size=5, num_classes=3).eval()
    seen = []
    network.stacks.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    assert network(torch.randn(2, 1, 16, frames)).shape == (2, 3)
    assert seen == [(2, 10, 2, -(-frames // 8))]  # three stacks halve, rounding up


def test_a_block_of_zeros_is_its_shortcut() -> None:
    block = BasicBlock(4, 4).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(block(x), x.relu())


def test_stacks_must_agree() -> None:
    with pytest.raises(ValueError, match="of one length"):
        ResNet34((8, 16), (1,))
