import pytest
import torch
import torchaudio

from dyn_lightning.features import FixedScaling, LogCompression, MelFilterBank, Spectrogram


@pytest.fixture
def audio() -> torch.Tensor:
    return torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("n_fft", "hop", "center", "power"),
    [(1024, 256, False, 2.0), (512, 160, True, 1.0), (400, 100, False, 0.5)],
)
def test_spectrogram_equals_torchaudio(audio: torch.Tensor, n_fft: int, hop: int, center: bool, power: float) -> None:
    reference = torchaudio.transforms.Spectrogram(n_fft, hop_length=hop, center=center, power=power)(audio)
    torch.testing.assert_close(Spectrogram(n_fft, hop, center, power)(audio), reference)


def test_one_second_has_59_frames(audio: torch.Tensor) -> None:
    assert Spectrogram()(audio).shape == (2, 513, 59)


def test_frames_are_where_they_are_said_to_be() -> None:
    audio = torch.zeros(1, 4096)
    audio[0, 3 * 256 + 512] = 1.0  # the centre of frame 3
    assert int(Spectrogram()(audio).sum(1).argmax()) == 3


@pytest.mark.parametrize("center", [False, True])
def test_least_number_of_samples(center: bool) -> None:
    spectrogram = Spectrogram(center=center)
    least = spectrogram.min_samples
    assert spectrogram(torch.randn(1, least)).size(-1) >= 1
    with pytest.raises(ValueError, match=f"{least - 1} samples, at least {least}"):
        spectrogram(torch.randn(1, least - 1))


@pytest.mark.parametrize(("n_mels", "f_min", "f_max"), [(80, 0.0, None), (40, 60.0, 7600.0)])
def test_mel_equals_torchaudio(audio: torch.Tensor, n_mels: int, f_min: float, f_max: float | None) -> None:
    reference = torchaudio.transforms.MelSpectrogram(
        16000, 1024, hop_length=256, center=False, n_mels=n_mels, f_min=f_min, f_max=f_max
    )(audio)
    bank = MelFilterBank(513, n_mels, 16000, f_min, f_max)
    torch.testing.assert_close(bank(Spectrogram()(audio)), reference)


def test_mel_has_buffers_alone_and_no_empty_band() -> None:
    bank = MelFilterBank()
    assert not list(bank.parameters())
    assert bank.state_dict().keys() == {"fb"}
    assert bank.fb.shape == (513, 80)
    assert (bank.fb.amax(0) > 0).all()


def test_mel_refuses_empty_bands_and_ranges() -> None:
    with pytest.raises(ValueError, match="bands hold none"):
        MelFilterBank(n_freqs=129, n_mels=128)
    with pytest.raises(ValueError, match="f_max"):
        MelFilterBank(f_max=9000.0)


def test_resized_spans_the_same_range() -> None:
    bank = MelFilterBank(513, 80, 16000, 60.0, 7600.0)
    small = bank.resized(12)
    torch.testing.assert_close(small.fb, MelFilterBank(513, 12, 16000, 60.0, 7600.0).fb)
    frequencies_hz = torch.linspace(0, 8000, 513)
    for b in (bank, small):
        covered_hz = frequencies_hz[b.fb.amax(1) > 0]
        assert 60 <= covered_hz.min() < 80
        assert 7550 < covered_hz.max() <= 7600
    assert bank.mel_max == pytest.approx(torchaudio.functional.functional._hz_to_mel(7600.0))


def test_log_and_scaling() -> None:
    x = torch.tensor([[0.0, 1.0, 50.0]])
    torch.testing.assert_close(LogCompression(1e-3)(x), torch.log(x + 1e-3))
    torch.testing.assert_close(FixedScaling(2.0, 0.5)(x), 2 * x - 4)
    with pytest.raises(ValueError, match="std"):
        FixedScaling(std=0.0)


def test_silence_stays_finite_and_has_a_gradient() -> None:
    audio = torch.zeros(1, 2048, requires_grad=True)
    out = FixedScaling()(LogCompression()(MelFilterBank()(Spectrogram()(audio))))
    out.sum().backward()
    assert out.isfinite().all()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coarse_audio_is_refused_with_the_way_out(dtype):
    with pytest.raises(ValueError, match="too coarse for a spectrum: use precision bf16-mixed"):
        Spectrogram()(torch.zeros(1, 16000, dtype=dtype))
