import pytest
import torch
import torchaudio

from dyn_lightning.features import FixedScaling, RunningNorm, UtteranceNorm, make_front_end, make_normalisation


@pytest.fixture
def audio() -> torch.Tensor:
    return 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "rows"), [("log_mel", 40), ("lfcc", 120), ("log_stft", 257)])
def test_rows_and_frames(audio: torch.Tensor, kind: str, rows: int) -> None:
    front_end, n_rows = make_front_end(kind, n_fft=512, hop_length=128, n_bands=40)  # type: ignore[arg-type]
    assert n_rows == rows
    assert front_end(audio).shape == (2, rows, 122)
    assert not list(front_end.parameters())


def test_log_mel_equals_torchaudio(audio: torch.Tensor) -> None:
    reference = torchaudio.transforms.MelSpectrogram(16000, 512, hop_length=128, center=False, n_mels=30)(audio)
    front_end, _ = make_front_end("log_mel", n_fft=512, hop_length=128, n_bands=30)
    torch.testing.assert_close(front_end(audio), torch.log(reference + 1e-6))


def test_lfcc_equals_torchaudio(audio: torch.Tensor) -> None:
    reference = torchaudio.transforms.LFCC(
        16000, n_filter=20, n_lfcc=20, log_lf=True, speckwargs={"n_fft": 512, "hop_length": 128, "center": False}
    )(audio)
    slopes = torchaudio.functional.compute_deltas
    front_end, _ = make_front_end("lfcc", n_fft=512, hop_length=128, n_bands=20)
    expected = torch.cat((reference, slopes(reference), slopes(slopes(reference))), dim=1)
    torch.testing.assert_close(front_end(audio), expected, rtol=1e-4, atol=1e-4)


def test_log_stft_equals_torchaudio(audio: torch.Tensor) -> None:
    reference = torchaudio.transforms.Spectrogram(512, hop_length=128, center=False)(audio)
    front_end, _ = make_front_end("log_stft", n_fft=512, hop_length=128)
    torch.testing.assert_close(front_end(audio), torch.log(reference + 1e-6))


def test_normalisation_by_name() -> None:
    kinds = {"fixed": FixedScaling, "utterance": UtteranceNorm, "utterance_mean": UtteranceNorm, "running": RunningNorm}
    for kind, expected in kinds.items():
        made = make_normalisation(kind, 7)  # type: ignore[arg-type]
        assert type(made) is expected
        assert made(torch.randn(2, 7, 5)).shape == (2, 7, 5)
    assert make_normalisation("utterance", 7).variance
    assert not make_normalisation("utterance_mean", 7).variance


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="front_end='cqt'"):
        make_front_end("cqt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="normalisation='batch'"):
        make_normalisation("batch", 3)  # type: ignore[arg-type]
