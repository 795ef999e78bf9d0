"""torchvision and timm."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.registry import of_library

torchvision = of_library("torchvision")
timm = of_library("timm")
CLASSES = 7


def _images(size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, size, size)


def _timm(name: str, size: int, **options: Any) -> tuple[nn.Module, Tensor]:
    from timm import create_model

    return create_model(name, pretrained=False, num_classes=CLASSES, **options), _images(size)


@torchvision
def torchvision_resnet18() -> tuple[nn.Module, Tensor]:
    from torchvision.models import resnet18

    return resnet18(num_classes=CLASSES), _images(40)


@torchvision
def torchvision_resnext() -> tuple[nn.Module, Tensor]:
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, groups=8, width_per_group=4), _images(40)


@torchvision
def torchvision_densenet() -> tuple[nn.Module, Tensor]:
    from torchvision.models import DenseNet

    return DenseNet(10, (2, 3, 2), 14, bn_size=2, num_classes=CLASSES), _images(40)


@torchvision
def torchvision_mobilenet_v2() -> tuple[nn.Module, Tensor]:
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(num_classes=CLASSES, width_mult=0.35), _images(40)


@torchvision
def torchvision_mobilenet_v3() -> tuple[nn.Module, Tensor]:
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(num_classes=CLASSES, width_mult=0.5), _images(40)


@torchvision
def torchvision_shufflenet_v2() -> tuple[nn.Module, Tensor]:
    from torchvision.models import ShuffleNetV2

    return ShuffleNetV2([2, 2, 2], [12, 20, 32, 40, 56], num_classes=CLASSES), _images(40)


@torchvision
def torchvision_squeezenet() -> tuple[nn.Module, Tensor]:
    from torchvision.models import squeezenet1_1

    return squeezenet1_1(num_classes=CLASSES), _images(40)


@torchvision
def torchvision_mnasnet() -> tuple[nn.Module, Tensor]:
    from torchvision.models import mnasnet0_5

    return mnasnet0_5(num_classes=CLASSES), _images(40)


@torchvision
def torchvision_efficientnet() -> tuple[nn.Module, Tensor]:
    from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

    blocks = [
        FusedMBConvConfig(2, 3, 1, 16, 16, 1),
        FusedMBConvConfig(2, 3, 2, 16, 24, 2),
        MBConvConfig(3, 3, 2, 24, 32, 2),
    ]
    return EfficientNet(blocks, dropout=0.0, num_classes=CLASSES, last_channel=48), _images(32)


@torchvision
def torchvision_regnet() -> tuple[nn.Module, Tensor]:
    from torchvision.models.regnet import BlockParams, RegNet

    parameters = BlockParams([1, 2, 1], [16, 24, 40], [8, 8, 8], [1.0] * 3, [2] * 3, se_ratio=0.25)
    return RegNet(parameters, num_classes=CLASSES, stem_width=12), _images(32)


@torchvision
def torchvision_convnext() -> tuple[nn.Module, Tensor]:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt(
        [CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 2)], layer_scale=0.5, num_classes=CLASSES
    ), _images(32)


@torchvision
def torchvision_vgg() -> tuple[nn.Module, Tensor]:
    from torchvision.models.vgg import VGG, make_layers

    net = VGG(make_layers([12, "M", 20, "M", 28, 28, "M"], batch_norm=True), dropout=0.0)
    net.classifier = nn.Sequential(nn.Linear(28 * 49, 36), nn.ReLU(True), nn.Linear(36, CLASSES))
    return net, _images(56)


@torchvision
def torchvision_googlenet() -> tuple[nn.Module, Tensor]:
    from torchvision.models import GoogLeNet

    return GoogLeNet(num_classes=CLASSES, aux_logits=False, init_weights=False, dropout=0.0), _images(40)


@torchvision
def torchvision_vit() -> tuple[nn.Module, Tensor]:
    from torchvision.models import VisionTransformer

    return VisionTransformer(24, 8, 2, 4, 28, 44, num_classes=CLASSES), _images(24)


@torchvision
def torchvision_swin() -> tuple[nn.Module, Tensor]:
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [3, 3], stochastic_depth_prob=0.0, num_classes=CLASSES), _images(
        24
    )


@torchvision
def torchvision_deeplab_v3() -> tuple[nn.Module, Tensor]:
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

    config = partial(InvertedResidualConfig, width_mult=1.0)
    blocks = [config(16, 3, 24, 24, True, "RE", 2, 1), config(24, 3, 40, 32, True, "HS", 2, 1)]
    features = MobileNetV3(blocks, 48, num_classes=CLASSES).features
    backbone = IntermediateLayerGetter(features, {"2": "out"})
    return DeepLabV3(backbone, DeepLabHead(32, CLASSES, (2, 4))), _images(40)


def _timm_resnet(block: Any, channels: tuple[int, ...], **options: Any) -> tuple[nn.Module, Tensor]:
    from timm.models.resnet import ResNet

    return ResNet(block, (1, 1, 1, 1), num_classes=CLASSES, channels=channels, **options), _images(40)


@timm
def timm_res2net() -> tuple[nn.Module, Tensor]:
    from timm.models.res2net import Bottle2neck

    return _timm_resnet(Bottle2neck, (12, 16, 20, 28), base_width=28, block_args={"scale": 4})


@timm
def timm_se_resnet() -> tuple[nn.Module, Tensor]:
    from timm.models.resnet import BasicBlock

    return _timm_resnet(BasicBlock, (16, 20, 28, 36), stem_width=12, block_args={"attn_layer": "se"})


@timm
def timm_vit() -> tuple[nn.Module, Tensor]:
    return _timm("vit_tiny_patch16_224", 32, img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3)


@timm
def timm_deit_distilled() -> tuple[nn.Module, Tensor]:
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 20, "depth": 2, "num_heads": 2}
    return _timm("deit_tiny_distilled_patch16_224", 32, **options)


@timm
def timm_mixer() -> tuple[nn.Module, Tensor]:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(CLASSES, 32, patch_size=8, num_blocks=2, embed_dim=20), _images(32)


@timm
def timm_poolformer() -> tuple[nn.Module, Tensor]:
    from timm.models.metaformer import MetaFormer

    net = MetaFormer(
        num_classes=CLASSES,
        depths=(1, 1, 1, 1),
        dims=(12, 16, 20, 28),
        layer_scale_init_values=0.5,
        res_scale_init_values=(None, None, 1.0, 1.0),
    )
    return net, _images(40)


@timm
def timm_ghostnet() -> tuple[nn.Module, Tensor]:
    return _timm("ghostnet_050", 40)


@timm
def timm_lcnet() -> tuple[nn.Module, Tensor]:
    return _timm("lcnet_035", 40)


@timm
def timm_mobilevit() -> tuple[nn.Module, Tensor]:
    return _timm("mobilevit_xxs", 64)


@timm
def timm_convmixer() -> tuple[nn.Module, Tensor]:
    from timm.models.convmixer import ConvMixer

    return ConvMixer(18, 3, kernel_size=5, patch_size=4, num_classes=CLASSES), _images(24)


@timm
def timm_vovnet() -> tuple[nn.Module, Tensor]:
    from timm.models.vovnet import VovNet

    config = {
        "stem_chs": [12, 12, 16],
        "stage_conv_chs": [12, 16, 20, 24],
        "stage_out_chs": [20, 28, 36, 40],
        "layer_per_block": 2,
        "block_per_stage": [1, 1, 1, 1],
        "residual": True,
        "depthwise": False,
        "attn": "ese",
    }
    return VovNet(config, num_classes=CLASSES), _images(40)


@timm
def timm_repvgg() -> tuple[nn.Module, Tensor]:
    from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

    blocks = tuple(ByoBlockCfg(type="rep", d=2, c=c, s=2, gs=0) for c in (16, 24, 28))
    return ByobNet(ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=12), num_classes=CLASSES), _images(40)


@timm
def timm_swin() -> tuple[nn.Module, Tensor]:
    options = {
        "img_size": 32,
        "patch_size": 4,
        "window_size": 4,
        "embed_dim": 16,
        "depths": (2, 2),
        "num_heads": (2, 4),
    }
    return _timm("swin_tiny_patch4_window7_224", 32, **options)


@timm
def timm_hrnet() -> tuple[nn.Module, Tensor]:
    return _timm("hrnet_w18_small", 64)
