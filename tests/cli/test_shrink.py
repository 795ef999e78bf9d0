"""dyn-lightning shrink: from a class, its weights and a folder of audio to an artifact; and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch import nn

from dyn_lightning.artifact import load_artifact
from dyn_lightning.cli import main
from dyn_lightning.cli.shrink import network_of
from dyn_lightning.errors import SettingError


def small_network(channels: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, channels, 9, 4), nn.ReLU(), nn.Conv1d(channels, 2, 1))


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    for i in range(6):
        noise = np.random.default_rng(i).standard_normal(900 + 400 * i) * 0.1
        soundfile.write(tmp_path / "audio" / f"{i}.wav", noise, 4000)
    return tmp_path / "audio"


def test_from_weights_and_audio_to_an_artifact(tmp_path: Path, audio: Path, capsys):
    network = small_network()
    with torch.no_grad():
        network[1].weight.mul_(2.0)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    code = main([
        "shrink", "--network", f"{__name__}.small_network", "--weights",
        str(tmp_path / "w.safetensors"), "--audio", str(audio), "--sample_rate", "4000", "--crop_s", "0.2", "--share",
        "0.5", "--steps", "6", "--out_dir", str(tmp_path / "out"), "--batch_size", "2", "--progress", "false",
        "--accelerator", "cpu",
    ])  # fmt: skip
    assert code == 0
    assert "consolidated: " in capsys.readouterr().out
    small, _ = load_artifact(tmp_path / "out" / "artifact")
    assert small(torch.randn(2, 800)).shape == network(torch.randn(2, 800)).shape
    again = ["shrink", "--network", "x.y", "--audio", str(audio), "--share", "0.5", "--out_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"is there already\. Give another --out_dir DIR, or --overwrite"):
        main(again)
    with pytest.raises(SystemExit, match=r"x\.y: is neither a folder nor can it be imported"):
        main([*again, "--overwrite"])
    with pytest.raises(SystemExit, match="one of --audio FOLDER and --data CLASS"):
        main([*again, "--data", "x.y"])


def test_networks_by_name(tmp_path: Path):
    network = network_of(f"{__name__}:small_network", {"channels": 4}, None)
    assert network[1].out_channels == 4  # type: ignore[index, union-attr]
    torch.save({"state_dict": small_network().state_dict()}, tmp_path / "w.ckpt")
    network_of(f"{__name__}.small_network", None, str(tmp_path / "w.ckpt"))
    with pytest.raises(SettingError, match=r"w\.ckpt: are not those of"):
        network_of(f"{__name__}.small_network", {"channels": 4}, str(tmp_path / "w.ckpt"))
    with pytest.raises(SettingError, match=r"x\.y: is neither a folder nor can it be imported"):
        network_of("x.y", None, None)
    with pytest.raises(SettingError, match=r"gives a dict, not a torch\.nn\.Module"):
        network_of("builtins.dict", {"size": 1}, None)
    with pytest.raises(SettingError, match="there is no such file"):
        network_of(f"{__name__}.small_network", None, "nowhere.pt")
