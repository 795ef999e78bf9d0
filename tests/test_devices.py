"""bfloat16 autocast and channels-last, on the CPU and, where there is one, on a GPU."""

import copy
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.conformer import Conformer
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.resnet import ResNet34
from dyn_lightning.network.compiled import CompiledNetwork

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "ResNet": (lambda: ResNet34((16, 32), (1, 1), embedding_size=8), (4, 1, 16, 20)),
    "CRNNVAD": (lambda: CRNNVAD(n_mels=20, channels=8, hidden_size=12), (4, 6000)),
    "Conformer": (lambda: Conformer(d_model=16, num_layers=1, d_hidden=24, dropout=0.0), (4, 8000)),
}


def make(name: str, device: str, lam: float) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    network, shape = NETWORKS[name]
    x = torch.randn(shape)
    dynamic: Any = dynamize(network(), x[:1], duration_s=1.0)
    for width in dynamic.widths.values():
        width.set_lam(max(lam, 1 / width.units))
    return dynamic.to(device), x.to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_search_step_in_bfloat16_has_the_gradients_of_float32(name: str, device: str) -> None:
    gradients = []
    for autocast in (False, True):
        dynamic, x = make(name, device, 1.0)  # no noise in the values, whose draws would differ
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = dynamic.train()(x).float().square().mean()
        loss.backward()
        gradients.append({n: p.grad for n, p in dynamic.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any("theta" in n for n in gradients[0])
    for n, exact in gradients[0].items():
        assert gradients[1][n].isfinite().all()
        assert gradients[1][n].dtype == exact.dtype
    weights = [n for n in gradients[0] if "theta" not in n]
    one, two = (torch.cat([g[n].flatten() for n in weights]) for g in gradients)
    assert nn.functional.cosine_similarity(one, two, dim=0) > 0.98


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_consolidated_equals_dynamic_on_the_device(name: str, device: str) -> None:
    dynamic, x = make(name, device, 0.6)
    small, _ = consolidate(dynamic.eval())
    assert {p.device.type for p in small.parameters()} == {device}
    torch.testing.assert_close(small.eval()(x), dynamic(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("lam", [1.0, 0.5])
def test_channels_last_stays_so_behind_the_noise_and_changes_nothing(device: str, lam: float) -> None:
    # Eight channels at least: torch 2.11's CPU kernel of a strided 1×1 convolution corrupts memory with fewer.
    dynamic, x = make("ResNet", device, lam)
    last = copy.deepcopy(dynamic).to(memory_format=torch.channels_last)
    formats = []
    last.stem.register_forward_hook(
        lambda _m, _i, y: formats.append(y.is_contiguous(memory_format=torch.channels_last))
    )
    results = []
    for network, given in ((dynamic, x), (last, x.to(memory_format=torch.channels_last))):
        network.eval()
        y = network(given)
        results.append([y, *torch.autograd.grad(y.square().sum(), list(network.stacks.parameters()))])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)
    last.train()(x.to(memory_format=torch.channels_last)).sum().backward()
    assert formats == [True, True]
    assert all(w.theta.grad is not None and w.theta.grad.isfinite() for w in last.widths.values())


@needs_gpu
def test_a_compiled_network_on_a_gpu_gives_the_uncompiled_result() -> None:
    dynamic, x = make("ResNet", "cuda", 0.6)
    dynamic.eval()
    torch.testing.assert_close(CompiledNetwork(dynamic)(x), dynamic(x), rtol=1e-3, atol=1e-4)


@needs_gpu
def test_sizes_follow_what_is_written_past_autograd() -> None:
    """Weight averaging writes through ``.data``, which leaves no trace on the tensor."""
    dynamic, x = make("ResNet", "cuda", 1.0)
    dynamic.eval()(x)
    width = next(iter(dynamic.widths.values()))
    width.theta.data.copy_(torch.tensor(0.5).log())
    assert width.size == width.full_size // 2


@pytest.mark.parametrize("device", DEVICES)
def test_a_whole_run_in_mixed_precision(device: str, make_module: Any, tmp_path: Any, data: Any) -> None:
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator=device,
        devices=1,
        precision="bf16-mixed",
        callbacks=[PhaseSwitch(1, 1), LambdaClamp()],
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    module = make_module()
    trainer.fit(module, data)
    assert module.phase == "settle"
    assert all(width.size < width.full_size for width in module.widths.values())
    assert all(p.isfinite().all() for p in module.parameters())
