from types import SimpleNamespace

import pytest
import torch

from dyn_lightning.errors import SettingError
from dyn_lightning.features.frames import Frames, OutputFrames
from dyn_lightning.features.spectral import Spectrogram
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.tr_vad import TrVAD


@pytest.mark.parametrize("frames", [Frames(1024, 256), Frames(400, 160), Frames(512, 512)])
@pytest.mark.parametrize("n_samples", [1024, 1279, 5000])
def test_frames_are_those_of_an_stft(frames, n_samples):
    spectrogram = Spectrogram(frames.n_fft, frames.hop_length)(torch.zeros(1, n_samples))
    assert frames.count(n_samples) == spectrogram.shape[-1]
    assert frames.count(frames.n_fft - 1) == 0


@pytest.mark.parametrize(("make", "first"), [(CRNNVAD, 1), (TrVAD, 0)])
def test_networks_tell_which_frames_they_answer_for(make, first):
    network = make(16, hop_length=512)
    assert OutputFrames.of(network) == OutputFrames(Frames(1024, 512), first)
    outputs = network.eval()(torch.randn(1, 16000))
    assert outputs.shape[1] == Frames(1024, 512).count(16000) - 2 * first


def test_a_network_that_does_not_say_so():
    assert Frames.of(torch.nn.Linear(2, 2)) is None
    assert OutputFrames.of(SimpleNamespace(n_fft=1024, hop_length=256)) is None


def test_a_centre_that_no_frame_has():
    network = SimpleNamespace(n_fft=1024, hop_length=256, sample_rate=16000, first_frame_centre_s=0.04)
    with pytest.raises(SettingError, match=r"first_frame_centre_s=0\.04 of the network is the centre of none"):
        OutputFrames.of(network)
