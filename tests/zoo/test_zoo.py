"""Every backbone of the zoo: whole at λ = 1, the same dynamic and consolidated at any λ, all sizes learnable.

The networks of libraries are those of `SMALL` unless ``ZOO=all`` asks for the others and the large ones as well.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.inputs import call_arguments, tensors_in
from dyn_lightning.modules.attention import SlimMultiheadAttention
from dyn_lightning.modules.stacked_rnn import StackedRNN
from dyn_lightning.network.plain import plain_complexity
from tests.zoo import LARGE, LIBRARY_OF, NETWORKS, OWN
from tests.zoo.masking import NOT_COMPARABLE, all_different, difference_from_masked, outputs, relative_difference

ALL = os.environ.get("ZOO") == "all"
SMALL = {
    "speechbrain/conformer_asr",
    "speechbrain/conv_tasnet",
    "speechbrain/crdnn",
    "speechbrain/ecapa_tdnn",
    "speechbrain/resnet",
    "speechbrain/sepformer",
    "speechbrain/transformer_asr",
    "speechbrain/xvector",
    "timm/convmixer",
    "timm/mixer",
    "timm/res2net",
    "timm/vit",
    "torchaudio/conformer",
    "torchaudio/conv_tasnet",
    "torchaudio/deepspeech",
    "torchaudio/emformer",
    "torchaudio/wav2vec2",
    "torchaudio/wavernn",
    "torchvision/convnext",
    "torchvision/densenet",
    "torchvision/efficientnet",
    "torchvision/regnet",
    "torchvision/shufflenet_v2",
    "torchvision/vgg",
    "torchvision/vit",
    "transformers/ast",
    "transformers/bert",
    "transformers/llama",
    "transformers/wav2vec2",
    "transformers/whisper",
}


@dataclass
class Case:
    """A backbone, its input, and what dynamize makes of it."""

    name: str
    backbone: nn.Module
    example: Any
    dynamic: Any

    def set_random_sizes(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for width in self.dynamic.widths.values():
            width.set_lam(max(width.lam_min, torch.rand((), generator=generator).item()))


def made(name: str) -> tuple[nn.Module, Any]:
    """The network of that name, with parameters that all differ, and its input."""
    if name in LIBRARY_OF:
        pytest.importorskip(LIBRARY_OF[name])
    torch.manual_seed(0)
    backbone, example = {**NETWORKS, **LARGE}[name]()
    all_different(backbone)
    return backbone, example


@pytest.fixture(scope="module", params=list(NETWORKS))
def case(request: pytest.FixtureRequest) -> Case:
    name = request.param
    if not (ALL or name in OWN or name in SMALL):
        pytest.skip("runs with ZOO=all")
    backbone, example = made(name)
    return Case(name, backbone, example, dynamize(backbone, example))


def test_whole_at_full_size(case: Case) -> None:
    for width in case.dynamic.widths.values():
        width.set_lam(1.0)
    assert relative_difference(outputs(case.dynamic, case.example), outputs(case.backbone, case.example)) <= 1e-6


@pytest.mark.parametrize("seed", [1, 2])
def test_consolidated_computes_the_same(case: Case, seed: int) -> None:
    case.set_random_sizes(seed)
    small, report = consolidate(case.dynamic)
    expected = outputs(case.backbone, case.example)
    found = outputs(case.dynamic, case.example)
    assert [x.shape for x in found] == [x.shape for x in expected]
    assert relative_difference(outputs(small, case.example), found) <= 1e-5
    assert report.parameters == sum(p.numel() for p in small.parameters())
    assert all(1 <= size <= full for size, full in report.sizes.values())
    recount = plain_complexity(small, case.example, None)
    for convention in ("full", "paper"):
        assert case.dynamic.complexity.flops_now(convention) == recount.flops_full_size(convention)


def test_removed_means_zero(case: Case) -> None:
    """Each element that is left is joined to the elements that it was joined to before."""
    if case.name in NOT_COMPARABLE:
        pytest.skip(NOT_COMPARABLE[case.name])
    case.set_random_sizes(3)
    small, _ = consolidate(case.dynamic)
    assert difference_from_masked(case.backbone, small, case.example) <= 1e-4


def test_consolidated_can_be_made_dynamic_again(case: Case) -> None:
    """Above all where consolidation puts classes of its own in torch.nn's place."""
    case.set_random_sizes(4)
    small, _ = consolidate(case.dynamic)
    if not ALL and not any(isinstance(m, (StackedRNN, SlimMultiheadAttention)) for m in small.modules()):
        pytest.skip("runs with ZOO=all: nothing but layers of torch.nn is left")
    again = Case(case.name, small, case.example, dynamize(small, case.example))
    test_whole_at_full_size(again)
    test_consolidated_computes_the_same(again, 5)


def test_gradient_reaches_every_width(case: Case) -> None:
    """At one of a few sizes, that is: a boundary unit may be one that its activation keeps at zero."""
    case.dynamic.train()
    case.dynamic.zero_grad()
    args, kwargs = call_arguments(case.example)
    for seed, share in enumerate((0.5, 0.7, 0.9, 0.3, 0.8, 0.6, 0.4, 0.2)):
        for width in case.dynamic.widths.values():
            width.set_lam(min(1.0, max(1.25, round(share * width.units) - 0.5) / width.units))
        torch.manual_seed(seed)
        found = [x for x in tensors_in(case.dynamic(*args, **kwargs)) if x.requires_grad]
        sum((x.abs() * torch.randn(x.shape)).sum() for x in found).backward()  # type: ignore[union-attr]
        gradients = {name: width.theta.grad for name, width in case.dynamic.widths.items()}
        missing = [name for name, g in gradients.items() if g is None or not torch.isfinite(g) or g == 0.0]
        if not missing or (seed == 0 and any(gradients[name] is None for name in missing)):
            break
    assert missing == []


@pytest.mark.skipif(not ALL, reason="runs with ZOO=all")
@pytest.mark.parametrize("name", list(LARGE))
def test_large(name: str) -> None:
    """A network of more than 100 million parameters: dynamize, one training step, consolidate."""
    backbone, example = made(name)
    assert sum(p.numel() for p in backbone.parameters()) > 100e6
    dynamic = dynamize(backbone, example)
    case = Case(name, backbone, example, dynamic)
    test_gradient_reaches_every_width(case)
    torch.optim.SGD(dynamic.parameters(), lr=1e-6).step()
    test_consolidated_computes_the_same(case, 1)
