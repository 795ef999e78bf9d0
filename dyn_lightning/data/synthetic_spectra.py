"""The synthetic study of arXiv 2601.13704: random power spectra, and their mel band powers as the target."""

import functools
from typing import Any, Literal

import lightning
import numpy as np
import torch
import torchaudio.functional
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dyn_lightning.checks import whole
from dyn_lightning.data.sampling import EpochSampler
from dyn_lightning.errors import SettingError

Reading = Literal["padded", "readout"]

_ENVELOPE_STD = 0.5  # of the log-power at each envelope knot, in nepers: ± 2 dB
_KNOTS_PER_BAND = 2


@functools.lru_cache(maxsize=8)
def mel_weights(n_freqs: int = 257, n_mels: int = 32, sample_rate: int = 16000) -> Tensor:
    """Triangular mel filters from 0 Hz to half the sample rate, (n_freqs, n_mels), HTK mel scale, peak 1.

    Raises:
        SettingError: a band is narrower than the frequency spacing and so holds no bin.
    """
    weights = torchaudio.functional.melscale_fbanks(n_freqs, 0.0, sample_rate / 2, n_mels, sample_rate)
    if bool((weights.sum(dim=0) == 0).any()):
        raise SettingError(f"n_mels={n_mels} is too many for n_freqs={n_freqs}: a band is empty. Use fewer bands.")
    return weights


@functools.lru_cache(maxsize=8)
def _spectrum_shape(n_freqs: int, n_mels: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Mean power per bin, (n_freqs,), and the interpolation from envelope knots to bins, (knots, n_freqs)."""
    freq_hz = torch.linspace(0.0, sample_rate / 2, n_freqs, dtype=torch.float64)
    mel_slope = 1.0 / (700.0 + freq_hz)  # d mel / d f up to a constant: equal power per mel
    mel = torch.log1p(freq_hz / 700.0)
    n_knots = _KNOTS_PER_BAND * (n_mels + 1) + 1
    position = mel / mel[-1] * (n_knots - 1)
    knots = torch.arange(n_knots, dtype=torch.float64)[:, None]
    interpolation = (1.0 - (position - knots).abs()).clamp_min(0.0)
    weights = mel_weights(n_freqs, n_mels, sample_rate).double()
    envelope_mean = torch.exp(0.5 * _ENVELOPE_STD**2 * interpolation.square().sum(dim=0))
    mean_power = mel_slope / envelope_mean
    mean_power = mean_power / (mean_power * envelope_mean @ weights).mean()
    return mean_power.float(), interpolation.float()


def mel_targets(power: Tensor, n_mels: int = 32, sample_rate: int = 16000, n_outputs: int | None = None) -> Tensor:
    """Mel band powers of power spectra, padded with zeros to ``n_outputs`` where given.

    Args:
        power: (..., n_freqs), power per frequency bin.
        n_mels: number of mel bands.
        sample_rate: in Hz.
        n_outputs: size of the last dimension of the result; None means ``n_mels``.

    Returns:
        (..., n_outputs).

    Raises:
        SettingError: ``n_outputs`` is smaller than ``n_mels``.
    """
    bands = power @ mel_weights(power.shape[-1], n_mels, sample_rate).to(power)
    if n_outputs is None:
        return bands
    if n_outputs < n_mels:
        raise SettingError(f"n_outputs={n_outputs} is smaller than n_mels={n_mels}. Ask for at least n_mels.")
    return torch.nn.functional.pad(bands, (0, n_outputs - n_mels))


def synthetic_batch(
    n: int,
    generator: torch.Generator,
    *,
    n_freqs: int = 257,
    n_mels: int = 32,
    sample_rate: int = 16000,
    reading: Reading = "padded",
    n_outputs: int = 64,
) -> tuple[Tensor, Tensor]:
    """Draws random power spectra and their mel band powers.

    A spectrum is the periodogram of a stationary noise: per bin an exponential variable (χ² with two degrees
    of freedom) times a mean power. The mean falls with frequency as mel(f) flattens, so that every mel band
    holds the same power on average however wide it is, times a random log-normal envelope, linear between
    independent knots half a band apart on the mel axis (standard deviation 0.5 nepers, mean power unchanged).
    So the bands are all needed: none is small, and none is a combination of the others. Band targets average
    1 (single bands within 10 %, a matter of the bins that happen to fall into the narrow ones).

    Args:
        n: number of spectra.
        generator: a CPU generator; all randomness comes from it.
        n_freqs: bins from 0 Hz to half the sample rate.
        n_mels: number of bands.
        sample_rate: in Hz.
        reading: how a layer with more outputs than bands meets its targets. The paper does not say, hence
            both: "padded" (targets padded with zeros to ``n_outputs``), or "readout" (the bands only; the
            model ends in a linear read-out ``n_outputs`` → ``n_mels``).
        n_outputs: outputs of the layer in question; used by "padded".

    Returns:
        Input (n, n_freqs) and target, (n, n_outputs) or (n, n_mels), both float32 and non-negative.

    Raises:
        SettingError: unknown reading, or ``n_outputs < n_mels``.
    """
    if reading not in ("padded", "readout"):
        raise SettingError(f"reading={reading!r} is unknown. Use 'padded' or 'readout'.")
    mean_power, interpolation = _spectrum_shape(n_freqs, n_mels, sample_rate)
    # −log(1 − uniform) is exponential, and four times faster than exponential_.
    periodogram = torch.rand(n, n_freqs, generator=generator).neg_().log1p_().neg_()
    knots = _ENVELOPE_STD * torch.randn(n, interpolation.shape[0], generator=generator)
    power = mean_power * periodogram * torch.exp(knots @ interpolation)
    return power, mel_targets(power, n_mels, sample_rate, n_outputs if reading == "padded" else None)


class SyntheticBatches(Dataset[dict[str, Any]]):
    """Whole batches by key: batch ``divmod(key, n_batches)`` = (epoch, index) comes from its own generator.

    Args:
        n_batches: batches per epoch.
        batch_size: spectra per batch.
        seed: together with the key, decides a batch.
        options: passed on to :func:`synthetic_batch`.
    """

    def __init__(self, n_batches: int, batch_size: int, seed: tuple[int, ...], options: dict[str, Any]) -> None:
        self.n_batches, self.batch_size, self.seed, self.options = n_batches, batch_size, seed, options

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, key: int) -> dict[str, Any]:
        # torch's CPU generator heeds the lowest 32 bits of a seed only, so epoch and seeds are hashed into
        # these.
        state = np.random.SeedSequence((*self.seed, key)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        spectra, target = synthetic_batch(self.batch_size, generator, **self.options)
        return {"input": spectra, "target": target}


class FilterBankDataModule(lightning.LightningDataModule):
    """Batches of random power spectra with their mel band powers as targets, made as they are asked for.

    A batch holds ``input`` (batch, n_freqs) and ``target`` as described at :func:`synthetic_batch`.
    Validation and test batches are the same in every run.

    Args:
        batch_size: spectra per batch.
        batches_per_epoch: training batches in an epoch.
        eval_batches: validation batches, and test batches.
        n_freqs: size of an input.
        n_mels: number of mel bands.
        n_outputs: outputs of the layer under study.
        sample_rate: in Hz.
        reading: "padded" or "readout".
        train_seed: decides the training batches; None is 0, and on the command line ``seed_everything``.
    """

    def __init__(
        self,
        batch_size: int = 64,
        batches_per_epoch: int = 200,
        eval_batches: int = 16,
        n_freqs: int = 257,
        n_mels: int = 32,
        n_outputs: int = 64,
        sample_rate: int = 16000,
        reading: Reading = "padded",
        train_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        whole(1, batch_size=batch_size, batches_per_epoch=batches_per_epoch, eval_batches=eval_batches)
        whole(1, n_mels=n_mels, n_outputs=n_outputs, sample_rate=sample_rate)
        whole(2, n_freqs=n_freqs)
        whole(0, train_seed=train_seed)
        self.batch_size, self.batches_per_epoch, self.eval_batches = (
            batch_size,
            batches_per_epoch,
            eval_batches,
        )
        self.train_seed = train_seed or 0
        self.options: dict[str, Any] = {
            "n_freqs": n_freqs,
            "n_mels": n_mels,
            "n_outputs": n_outputs,
            "sample_rate": sample_rate,
            "reading": reading,
        }

    def _batches(self, n_batches: int, seed: tuple[int, ...]) -> SyntheticBatches:
        return SyntheticBatches(n_batches, self.batch_size, seed, self.options)

    def train_dataloader(self) -> DataLoader[dict[str, object]]:
        """New batches in each epoch; the same again for the same ``train_seed``."""
        batches = self._batches(self.batches_per_epoch, (0, self.train_seed))
        world_size = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        sampler = EpochSampler(batches, self.train_seed, world_size, rank, shuffle=False)
        return DataLoader(batches, batch_size=None, sampler=sampler)

    def val_dataloader(self) -> DataLoader[dict[str, object]]:
        """The same batches each time."""
        return DataLoader(self._batches(self.eval_batches, (1,)), batch_size=None)

    def test_dataloader(self) -> DataLoader[dict[str, object]]:
        """The same batches each time, none of them in validation."""
        return DataLoader(self._batches(self.eval_batches, (2,)), batch_size=None)
