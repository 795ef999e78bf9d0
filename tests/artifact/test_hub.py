"""An artifact through from_pretrained and save_pretrained, without a network connection."""

import json

import pytest
import torch

from dyn_lightning.artifact import ArtifactError, load_artifact, save_artifact
from dyn_lightning.models.crnn_vad import CRNNVAD

hub = pytest.importorskip("dyn_lightning.artifact.hub", reason="wants the hub extra")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("the network was asked"))


def test_weights_as_they_are_now_are_saved(tmp_path):
    torch.manual_seed(0)
    network = CRNNVAD(20, 12, 10).eval()
    save_artifact(network, tmp_path / "a", metadata={"threshold": 0.5}, report={"flops": 1.0})
    loaded = hub.HubNetwork.from_pretrained(tmp_path / "a")
    audio = torch.randn(1, 9000)
    torch.testing.assert_close(loaded(audio), network(audio))
    assert loaded.metadata["threshold"] == 0.5
    with torch.no_grad():
        loaded.network.linear.bias.add_(1.0)
    loaded.save_pretrained(tmp_path / "b")
    again, metadata = load_artifact(tmp_path / "b")
    torch.testing.assert_close(again(audio), network(audio) + 1.0)
    assert metadata == loaded.metadata
    assert json.loads((tmp_path / "b" / "report.json").read_text()) == {"flops": 1.0}
    assert (tmp_path / "b" / "README.md").read_text() == (tmp_path / "a" / "README.md").read_text()
    names = {p.name for p in (tmp_path / "a").iterdir()}
    assert {p.name for p in (tmp_path / "b").iterdir()} == names | {"config.json"}
    hub.HubNetwork.from_pretrained(tmp_path / "b").save_pretrained(tmp_path / "b")  # in place


def test_a_folder_that_is_no_artifact_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"architecture\.json: no such file"):
        hub.HubNetwork.from_pretrained(tmp_path)
    save_artifact(CRNNVAD(20, 12, 10), tmp_path / "a", metadata={})
    with pytest.raises(TypeError, match="does not take color"):
        hub.HubNetwork.from_pretrained(tmp_path / "a", color="red")
