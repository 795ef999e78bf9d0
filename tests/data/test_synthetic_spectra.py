import pytest
import torch

from dyn_lightning.data.synthetic_spectra import FilterBankDataModule, mel_targets, mel_weights, synthetic_batch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mel_weights_are_triangles_between_equally_spaced_mels():
    def mel(hz: torch.Tensor) -> torch.Tensor:
        return 2595 * torch.log10(1 + hz / 700)

    freqs = torch.linspace(0, 8000, 257, dtype=torch.float64)
    mels = torch.linspace(0, 1, 34, dtype=torch.float64) * mel(torch.tensor(8000.0))
    points = 700 * (10 ** (mels / 2595) - 1)
    left, centre, right = points[:-2], points[1:-1], points[2:]
    rising = (freqs[:, None] - left) / (centre - left)
    falling = (right - freqs[:, None]) / (right - centre)
    expected = torch.minimum(rising, falling).clamp_min(0).float()
    torch.testing.assert_close(mel_weights(), expected, atol=1e-4, rtol=0)


def test_targets_are_the_mel_bands_padded_or_not():
    power, padded = synthetic_batch(5, generator())
    same, bands = synthetic_batch(5, generator(), reading="readout")
    assert (power.shape, padded.shape, bands.shape) == ((5, 257), (5, 64), (5, 32))
    torch.testing.assert_close(power, same)
    torch.testing.assert_close(bands, power @ mel_weights())
    torch.testing.assert_close(padded[:, :32], bands)
    assert not padded[:, 32:].any()


def test_all_bands_carry_comparable_power_and_none_is_spare():
    power, bands = synthetic_batch(20000, generator(), reading="readout")
    assert (power >= 0).all()
    means = bands.mean(dim=0)
    assert means.min() > 0.9
    assert means.max() < 1.1
    assert bands.mean() == pytest.approx(1.0, abs=0.01)
    singular = torch.linalg.svdvals((bands - means) / bands.std(dim=0)) / 20000**0.5
    assert singular.min() > 0.5  # 1 if bands were uncorrelated, 0 if one followed from the others


@pytest.mark.parametrize("n_mels", [16, 40])
def test_other_sizes_keep_the_scale(n_mels):
    _, bands = synthetic_batch(5000, generator(), n_freqs=513, n_mels=n_mels, reading="readout")
    assert bands.mean() == pytest.approx(1.0, abs=0.02)


def test_bad_arguments():
    with pytest.raises(ValueError, match="'both' is unknown"):
        synthetic_batch(1, generator(), reading="both")
    with pytest.raises(ValueError, match="n_outputs=16 is smaller"):
        mel_targets(torch.ones(1, 257), n_outputs=16)
    with pytest.raises(ValueError, match="too many"), pytest.warns(UserWarning, match="zero"):
        mel_weights(65, 128)


def test_loaders_repeat_and_differ_where_they_should():
    def batches(loader, epoch=0):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(epoch)
        return [batch["input"] for batch in loader]

    def make(train_seed=0):
        return FilterBankDataModule(batch_size=4, batches_per_epoch=3, eval_batches=2, train_seed=train_seed)

    first = batches(make().train_dataloader())
    assert len(first) == 3
    assert first[0].shape == (4, 257)
    assert all(torch.equal(a, b) for a, b in zip(first, batches(make().train_dataloader()), strict=True))
    others = [
        *batches(make().train_dataloader(), epoch=1),
        *batches(make(train_seed=1).train_dataloader()),
        *batches(make().val_dataloader()),
        *batches(make().test_dataloader()),
    ]
    distinct = [*first, *others]
    assert len({float(batch.sum()) for batch in distinct}) == len(distinct)
    for name in ("val_dataloader", "test_dataloader"):
        pairs = zip(batches(getattr(make(), name)()), batches(getattr(make(1), name)()), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
