"""Artifacts with the ``from_pretrained`` and ``save_pretrained`` of model hubs. Wants the ``hub`` extra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dyn_lightning.artifact import load_artifact
from dyn_lightning.artifact.files import ARCHITECTURE, CONFIG, FILES, WEIGHTS, save_tensors
from dyn_lightning.files import write_atomically
from dyn_lightning.optional import require

require("huggingface_hub")
from huggingface_hub import PyTorchModelHubMixin, snapshot_download  # noqa: E402


class HubNetwork(nn.Module, PyTorchModelHubMixin):
    """A network from an artifact, and the artifact's other files.

    ``HubNetwork.from_pretrained(folder or repository)`` loads as ``load_artifact`` does: a class of another package
    than this is not imported, unless ``trusted=True`` or an instance is given (``backbone=``).
    ``save_pretrained(folder)`` writes an artifact with the weights as they are now.

    Args:
        network: the network.
        metadata: of the artifact.
        files: name → content of the artifact's files but the weights.
    """

    def __init__(self, network: nn.Module, metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        super().__init__()
        self.network = network
        self.metadata = dict(metadata)
        self.files = dict(files)

    def forward(self, *args: object, **kwargs: object) -> Any:
        """The network's output."""
        return self.network(*args, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        for name, content in self.files.items():
            write_atomically(save_directory / name, content)
        save_tensors(self.network.state_dict(), save_directory / WEIGHTS)
        # What hubs count downloads by; the architecture has a file of its own.
        write_atomically(save_directory / CONFIG, b'{"library_name": "dyn_lightning"}\n')

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        map_location: str = "cpu",
        backbone: nn.Module | None = None,
        trusted: bool = False,
        **unknown: object,
    ) -> HubNetwork:
        if unknown:
            raise TypeError(f"from_pretrained does not take {', '.join(unknown)}")
        folder = Path(model_id)
        if not (folder / ARCHITECTURE).is_file() and not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=sorted(FILES),
                )
            )
        network, metadata = load_artifact(folder, backbone=backbone, trusted=trusted, device=map_location)
        kept = sorted(FILES - {WEIGHTS, CONFIG})
        return cls(network, metadata, {n: (folder / n).read_bytes() for n in kept if (folder / n).is_file()})
