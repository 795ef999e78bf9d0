import os
from pathlib import Path
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from torch import nn

from dyn_lightning.data import mixing
from dyn_lightning.data.audio import AudioError, DatasetError
from dyn_lightning.data.vad import MixtureOptions, VADDataModule
from dyn_lightning.errors import SettingError
from dyn_lightning.features.frames import Frames
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.module import DynamicModule
from dyn_lightning.tasks import FrameDetection

REAL = Path(os.environ.get("DATA_ROOT", Path(__file__).parents[2] / "../shared/data"))


def make(root, **options):
    sizes = {"batch_size": 4, "items_per_epoch": 8, "val_items": 4, "test_items": 4, "duration_s": 1.0}
    module = VADDataModule(str(root), **sizes | options)
    module.setup()
    return module


def batches(loader, epoch=0):
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    return list(loader)


def same(left, right):
    return all(
        torch.equal(a["audio"], b["audio"])
        and torch.equal(a["target"], b["target"])
        and a["utterance_id"] == b["utterance_id"]
        for a, b in zip(left, right, strict=True)
    )


def test_batch(data_root):
    batch = batches(make(data_root).train_dataloader())[0]
    assert batch["audio"].shape == (4, 16000)
    assert batch["audio"].dtype == torch.float32
    assert batch["target"].shape == (4, 1 + (16000 - 1024) // 256)
    assert batch["length"].tolist() == [16000] * 4
    assert len(set(batch["utterance_id"])) == 4
    assert batch["meta"]["snr_db"].shape == (4,)


def test_items_mix_what_their_labels_and_ratio_say(data_root):
    """At a high ratio loud frames are speech and soft ones are not; the noise is as loud as it should be."""
    options = {"gain_db_min": 0.0, "gain_db_max": 0.0}
    clear = make(data_root, snr_db_min=90.0, snr_db_max=90.0, **options).mixtures["train"]
    noisy = make(data_root, snr_db_min=3.0, snr_db_max=3.0, **options).mixtures["train"]
    for key in range(40):
        clean, mixed = clear[key]["audio"].numpy(), noisy[key]["audio"].numpy()
        target = clear[key]["target"].numpy() > 0
        np.testing.assert_array_equal(target, noisy[key]["target"].numpy() > 0)
        levels = mixing.frame_levels_dbfs(clean)
        assert levels[target].min() > levels[~target].max(initial=-120.0) - 0.1
        active = mixing.covered_samples(target, len(clean))
        noise_power = ((mixed - clean) ** 2).mean()
        ratio_db = 10 * np.log10((clean[active].astype(float) ** 2).mean() / noise_power)
        assert ratio_db == pytest.approx(3.0, abs=0.05)
        assert noisy[key]["meta"]["snr_db"] == pytest.approx(3.0)


def test_items_always_hold_speech_within_the_ranges(data_root):
    dataset = make(data_root, snr_db_min=-5.0, snr_db_max=30.0, duration_s=1.5).mixtures["train"]
    items = [dataset[key] for key in range(300)]
    shares = torch.stack([item["target"].mean() for item in items])
    assert shares.min() > 0
    assert 0.3 < shares.mean() < 0.6
    assert shares.std() > 0.1
    ratios = [item["meta"]["snr_db"] for item in items]
    assert -5 <= min(ratios) < 0
    assert 25 < max(ratios) <= 30
    assert max(float(item["audio"].abs().max()) for item in items) <= 0.9901


def test_items_do_not_depend_on_workers_or_cache(data_root):
    expected = batches(make(data_root).train_dataloader(), epoch=1)
    assert same(expected, batches(make(data_root, num_workers=2).train_dataloader(), epoch=1))
    assert same(expected, batches(make(data_root, cache_mib=0.0).train_dataloader(), epoch=1))


def test_training_items_follow_epoch_and_train_seed(data_root):
    def inputs(epoch, **options):
        return torch.cat([b["audio"] for b in batches(make(data_root, **options).train_dataloader(), epoch)])

    everything = torch.cat([inputs(0), inputs(1), inputs(0, train_seed=1)])
    assert len(everything.unique(dim=0)) == 24
    assert torch.equal(inputs(1), inputs(1, seed=5))


def test_evaluation_items_follow_seed_alone(data_root):
    def evaluation(**options):
        module = make(data_root, **options)
        return batches(module.val_dataloader()) + batches(module.test_dataloader()[0])

    assert same(evaluation(), evaluation(train_seed=7, items_per_epoch=3, batch_size=4))
    assert not same(evaluation(), evaluation(seed=1))
    assert not same(evaluation()[:1], evaluation()[1:])


def test_splits_share_no_speaker_and_no_noise(data_root):
    mixtures = make(data_root).mixtures
    for kind in ("speech", "noise"):
        clips = [{clip.clip_id for clip in getattr(mixtures[split], kind).clips} for split in mixtures]
        assert all(clips)
        assert sum(map(len, clips)) == len(set.union(*clips))
    speakers = [{clip.group for clip in mixtures[split].speech.clips} for split in mixtures]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 12


def test_test_loaders_with_and_without_ami(data_root, tmp_path):
    module = make(data_root)
    assert module.test_names == ["mixed", "ami"]
    (ami,) = module.test_dataloader()[1]
    assert ami["audio"].shape == (1, 5 * 16000)
    assert set(ami["target"].unique().tolist()) == {-100.0, 0.0, 1.0}
    assert ami["meta"]["snr_db"].isnan().all()
    for name in ("LibriSpeech", "ESC-50"):
        (tmp_path / name).symlink_to(data_root / name)
    module = make(tmp_path)
    assert module.test_names == ["mixed"]
    assert len(module.test_dataloader()) == 1


def test_loader_leaves_the_global_generator_alone(data_root):
    module = make(data_root)
    torch.manual_seed(0)
    batches(module.train_dataloader())
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


class Recorder(lightning.LightningModule):
    """Notes the names of the items that it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[str] = []

    def training_step(self, batch, batch_index):
        self.seen += batch["utterance_id"]
        return (self.scale * batch["audio"]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data_root, tmp_path, epochs, checkpoint=None):
    model = Recorder()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    weights_only = True if checkpoint else None
    trainer.fit(model, datamodule=make(data_root), ckpt_path=checkpoint, weights_only=weights_only)
    trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
    return model


@pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader.")
def test_a_resumed_run_sees_the_items_of_an_uninterrupted_one(data_root, tmp_path):
    whole = fit(data_root, tmp_path / "whole", 3)
    first = fit(data_root, tmp_path / "parts", 2)
    second = fit(data_root, tmp_path / "parts", 3, tmp_path / "parts/2.ckpt")
    assert len(set(whole.seen)) == 24
    assert first.seen + second.seen == whole.seen
    assert torch.equal(second.scale, whole.scale)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"snr_db_min": 40.0}, r"snr_db_min=40\.0 exceeds snr_db_max=30\.0"),
        ({"gain_db_min": 40.0}, "gain_db_min"),
        ({"speech_share_max": 1.2}, "speech_share"),
        ({"speech_share_min": 0.0}, "speech_share"),
        ({"label_threshold_db": -3.0}, "label_threshold_db"),
    ],
)
def test_bad_ranges(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureOptions(**options)


@pytest.mark.parametrize("frames", [Frames(512, 128), Frames(400, 160), Frames(1024, 512)])
def test_labels_are_for_the_frames_of_the_network(data_root, frames):
    """In silence but for speech, a frame is speech where it has its power, by a count of its own."""
    options = {"snr_db_min": 90.0, "snr_db_max": 90.0, "gain_db_min": 0.0, "gain_db_max": 0.0}
    module = make(data_root, **options)
    module.follow(SimpleNamespace(n_fft=frames.n_fft, hop_length=frames.hop_length, sample_rate=16000))
    for key in range(10):
        item = module.mixtures["train"][key]
        target = item["target"].numpy() > 0
        windows = item["audio"].unfold(0, frames.n_fft, frames.hop_length)
        levels = 10 * np.log10(windows.double().square().mean(1).numpy() + 1e-12)
        assert len(target) == len(levels)
        assert levels[target].min() > levels[~target].max(initial=-120.0) - 0.1
    recording = module.recordings[0]["target"].numpy()
    centres_s = (np.arange(len(recording)) * frames.hop_length + frames.n_fft / 2) / 16000
    np.testing.assert_array_equal(recording == 1, (centres_s >= 1.0) & (centres_s < 1.5))


def test_the_network_that_is_trained_owns_the_frames(data_root, make_trainer):
    """Given once, to the network: the data follow, and the loss is that of the right frames."""
    module = DynamicModule(CRNNVAD(8, 8, 8, hop_length=512), FrameDetection(), dynamic=[])
    data = VADDataModule(str(data_root), batch_size=2, items_per_epoch=4, val_items=2, duration_s=1.0)
    make_trainer(max_epochs=1).fit(module, data)
    assert data.mixtures["train"][0]["target"].shape == (Frames(1024, 512).count(16000),)
    with pytest.raises(SettingError, match="audio of 8000 Hz, the data are of 16000 Hz"):
        data.follow(CRNNVAD(8, 8, 8, sample_rate=8000))


@pytest.mark.parametrize("name", ["duration_s", "eval_duration_s"])
def test_a_duration_that_no_item_has_is_refused_at_once(tmp_path, name):
    with pytest.raises(SettingError, match=rf"{name}=1e\+09 must be at most 3600 s"):
        VADDataModule(str(tmp_path), **{name: 1e9})


def test_bad_duration_and_root(tmp_path):
    with pytest.raises(ValueError, match=r"duration_s=0\.01 is shorter than a frame"):
        VADDataModule(str(tmp_path), duration_s=0.01)
    with pytest.raises(DatasetError, match="Set data_root"):
        make(tmp_path / "gone")


def test_silent_speech_names_its_file(data_root, tmp_path, write_audio):
    (tmp_path / "ESC-50").symlink_to(data_root / "ESC-50")
    for speaker in range(10):
        path = tmp_path / f"LibriSpeech/train-clean-100/{speaker}/1/{speaker}-1-0000.flac"
        write_audio(path, np.zeros(16000))
    with pytest.raises(AudioError, match=r"-1-0000\.flac: is silent"):
        batches(make(tmp_path).train_dataloader())


@pytest.mark.skipif(not (REAL / "LibriSpeech").is_dir(), reason="no real audio: set DATA_ROOT")
def test_real_audio_is_about_half_speech():
    module = make(REAL, duration_s=2.0)
    dataset = module.mixtures["train"]
    shares = torch.stack([dataset[key]["target"].mean() for key in range(200)])
    assert shares.min() > 0
    assert 0.45 < shares.mean() < 0.57
