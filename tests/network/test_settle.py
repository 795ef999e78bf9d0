"""Weights behind a filter bank, stored anew when its size is final: the same network, trained as a plain one is."""

from __future__ import annotations

import copy

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dyn_lightning import DynamicModule
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.network.settle import settle_samples
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.optim import narrowing
from dyn_lightning.tasks import FrameDetection

SIZES = {"mel": 5, "conv": 4, "gru-l0": 6, "gru-l1": 9}


def network(sizes: dict[str, int] | None = None) -> nn.Module:
    torch.manual_seed(0)
    backbone = CRNNVAD(12, 8, 16, sample_rate=8000, n_fft=256, hop_length=64)
    dynamic = dynamize(backbone, torch.zeros(1, 8000), duration_s=1.0)
    for name, size in (SIZES if sizes is None else sizes).items():
        dynamic.widths[name].freeze(size)
    return dynamic


def audio(items: int = 3) -> Tensor:
    return torch.randn(items, 4000, generator=torch.Generator().manual_seed(1))


def test_the_output_is_the_same_and_the_weights_are_stored_at_the_final_size() -> None:
    dynamic = network().eval()
    before = dynamic(audio())
    assert settle_samples(dynamic) == [dynamic.conv.weight]
    assert dynamic.widths["mel"].samples == 5
    torch.testing.assert_close(dynamic(audio()), before)
    small, report = consolidate(dynamic, [audio()])
    assert report.largest_relative_difference < 1e-6
    torch.testing.assert_close(dynamic.conv.weight[:4, :5], small.conv.weight)


def test_a_step_is_that_of_the_plain_network() -> None:
    dynamic = network()
    plain, _ = consolidate(dynamic, [audio()])
    other = copy.deepcopy(dynamic)  # without: its weights are sums of stored ones
    settle_samples(dynamic)
    for net in (dynamic, plain, other):
        net.train()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            net(audio()).square().mean().backward()
            optimizer.step()
    outputs = [net.eval()(audio()) for net in (dynamic, plain, other)]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    assert (outputs[2] - outputs[1]).abs().max() > 1e-3


def test_smaller_sizes_are_sampled_from_those_stored() -> None:
    dynamic = network().eval()
    settle_samples(dynamic)
    dynamic.widths["mel"].freeze(3)
    small, report = consolidate(dynamic, [audio()])
    assert small.conv.weight.shape[1] == 3
    assert report.largest_relative_difference < 1e-5


def test_it_survives_a_checkpoint_and_older_ones_still_load() -> None:
    dynamic = network().eval()
    old = {k: v.clone() for k, v in dynamic.state_dict().items() if not k.endswith("_samples")}
    before = dynamic(audio())
    settle_samples(dynamic)
    again, older = network().eval(), network().eval()
    again.load_state_dict(dynamic.state_dict())
    assert again.widths["mel"].samples == 5
    torch.testing.assert_close(again(audio()), before)
    older.load_state_dict(old)
    assert older.widths["mel"].samples == 12
    torch.testing.assert_close(older(audio()), before)


def test_nothing_is_done_before_the_size_is_final() -> None:
    dynamic = network({})
    assert settle_samples(dynamic) == []
    assert dynamic.widths["mel"].samples == 12


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dynamic", "share", "least"), [(None, 0.5, 1.1), (["mel"], 0.85, 1.04)])
def test_settling_stores_forgets_what_the_optimiser_knew_and_the_rate_grows(
    dynamic: list[str] | None, share: float, least: float
) -> None:
    backbone = CRNNVAD(12, 8, 16, sample_rate=8000, n_fft=256, hop_length=64)
    module = DynamicModule(
        backbone, FrameDetection(), FlopsBudget(share=share), dynamic, lr=1e-3, lr_schedule="constant", lr_growth=1.0
    )
    data = [{"audio": a, "target": torch.ones(1 + (4000 - 256) // 64)} for a in audio(4)]
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data, batch_size=2))  # type: ignore[arg-type]
    mel = module.widths["mel"]
    assert module.phase == "settle"
    assert mel.samples == mel.size < 12
    assert module.network.conv.weight not in trainer.optimizers[0].state
    widths = list(module.widths.values())
    factor = narrowing(widths) ** (len(widths) / 4)  # of four sizes; what is not learned counts too
    assert factor > least
    trainer.lr_scheduler_configs[0].scheduler.step()  # the run's last step was before the sizes were final
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3 * factor)
