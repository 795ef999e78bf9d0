"""A finished run's network can be trained on, and its class stays known."""

import json

import pytest
import torch
from torch import nn

from dyn_lightning.artifact import ArtifactError, save_artifact, trained_network
from dyn_lightning.artifact.trained import PATHS, constructor_of
from dyn_lightning.consolidate import consolidate
from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.crnn_vad import CRNNVAD


class Foreign(nn.Module):
    """A network of another package."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


@pytest.fixture
def folder(tmp_path):
    network = CRNNVAD(n_mels=12, channels=8, hidden_size=6)
    return save_artifact(network, tmp_path / "full", metadata={}, example_input=torch.randn(1, 16000))


def test_its_weights_are_there_and_learn(folder):
    network = trained_network(str(folder))
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    dynamic = dynamize(network, torch.randn(1, 16000), duration_s=1.0)
    assert {w.full_size for w in dynamic.widths.values()} == {12, 8, 6}


def test_one_that_was_shrunk_before_keeps_its_sizes(folder, tmp_path):
    dynamic = dynamize(trained_network(str(folder)), torch.randn(1, 16000), duration_s=1.0)
    for width in dynamic.widths.values():
        width.set_lam(0.5)
    small, _ = consolidate(dynamic.eval())
    given = constructor_of({"class_path": PATHS[0], "init_args": {"artifact": str(folder)}})
    save_artifact(small, tmp_path / "small", metadata={}, backbone=given)
    again = dynamize(trained_network(str(tmp_path / "small")), torch.randn(1, 16000), duration_s=1.0)
    assert {w.full_size for w in again.widths.values()} == {6, 4, 3}


@pytest.mark.parametrize("path", PATHS)
def test_the_constructor_is_that_of_the_first_run(folder, path):
    expected = json.loads((folder / "architecture.json").read_text())["backbone"]
    assert expected["class_path"] == "dyn_lightning.models.crnn_vad.CRNNVAD"
    assert constructor_of({"class_path": path, "init_args": {"artifact": str(folder)}}) == expected


def test_other_backbones_are_what_their_configuration_says():
    assert constructor_of(None) is None
    assert constructor_of({"class_path": "a.B"}) == {"class_path": "a.B", "init_args": {}}
    assert constructor_of({"class_path": "a.B", "init_args": {"c": 1}}) == {"class_path": "a.B", "init_args": {"c": 1}}


def test_a_foreign_network_has_to_be_trusted(tmp_path):
    backbone = {"class_path": f"{__name__}.Foreign", "init_args": {}}
    folder = save_artifact(
        Foreign(), tmp_path / "foreign", metadata={}, backbone=backbone, example_input=torch.randn(2, 3)
    )
    with pytest.raises(ArtifactError, match=r"foreign: holds a network of another package.*trusted=True"):
        trained_network(str(folder))
    assert type(trained_network(str(folder), trusted=True)).__name__ == "Foreign"


def test_an_absent_artifact_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="nothing"):
        trained_network(str(tmp_path / "nothing"))
    with pytest.raises(ArtifactError, match="nothing"):
        constructor_of({"class_path": PATHS[0], "init_args": {"artifact": str(tmp_path / "nothing")}})
