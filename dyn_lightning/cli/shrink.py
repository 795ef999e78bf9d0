"""``dyn-lightning shrink``: a trained network made small, without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from dyn_lightning.errors import SettingError
from dyn_lightning.files import check_absent

if TYPE_CHECKING:
    from torch import nn

ARTIFACT = "artifact"


def shrink(args: Sequence[str] | None = None) -> int:
    """``dyn-lightning shrink``: a trained network made small, with itself as teacher. Gives the exit status."""
    parser = _parser()
    options = parser.parse_args(None if args is None else list(args))
    if (options.audio is None) == (options.data is None):
        raise SettingError("give the inputs as one of --audio FOLDER and --data CLASS")
    folder = Path(options.out_dir)
    if not options.overwrite:
        check_absent([folder / ARTIFACT], "--out_dir DIR")
    # Imported when the options are right: with torch they take seconds.
    from dyn_lightning.module.artifact import summary
    from dyn_lightning.shrink import shrink as run
    from dyn_lightning.tasks import Imitation

    network = network_of(options.network, options.network_args, options.weights, trusted=options.trusted)
    batches, duration_s = _batches(options, network)
    small, report = run(
        network, batches, share=options.share, share_of_all=options.share_of_all,
        flops_per_second=options.flops_per_second, steps=options.steps, search=options.search, lr=options.lr,
        task=Imitation(outputs=options.outputs, features=options.features), duration_s=duration_s,
        dynamic=options.dynamic, fixed=options.fixed, out_dir=folder, progress=options.progress, seed=options.seed,
        trainer={"accelerator": options.accelerator},
    )  # fmt: skip
    del small
    print(summary(report, folder / ARTIFACT))
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="dyn-lightning shrink", description="Make a trained network small, with itself as the teacher: no labels."
    )
    add = parser.add_argument
    add("--network", type=str, required=True, help="An artifact's folder, or package.module.NAME: a class or function.")
    add("--network_args", type=dict | None, default=None, help="Arguments of that class or function.")
    add("--weights", type=str | None, default=None, help="A state_dict of it: .safetensors, .pt or .ckpt.")
    add("--trusted", type=bool, default=False, help="Import and run the class that the artifact names.")
    add("--audio", type=str | None, default=None, help="A folder of audio.")
    add("--crop_s", type=float, default=1.0, help="Seconds of audio in an item.")
    add("--sample_rate", type=int | None, default=None, help="In Hz; the network's own where it says so.")
    add("--batch_size", type=int, default=16, help="Items in a batch of --audio.")
    add("--data", type=str | None, default=None, help="Instead of --audio: package.module.NAME of a data module.")
    add("--data_args", type=dict | None, default=None, help="Its arguments.")
    add("--share", type=float | None, default=None, help="The budget as a share of the learnable FLOPs.")
    add("--share_of_all", type=float | None, default=None, help="The budget as a share of all FLOPs.")
    add("--flops_per_second", type=float | None, default=None, help="The budget in FLOPs per second of audio.")
    add("--steps", type=int, default=2000, help="Optimiser steps.")
    add("--search", type=float, default=0.3, help="Share of them in which sizes still learn.")
    add("--lr", type=float, default=1e-3, help="Learning rate of the weights.")
    add("--outputs", type=str | None, default=None, help="How outputs are compared: kl, bce, cosine, l1, …")
    add("--features", type=list[str] | None, default=None, help="Layers that are imitated as well.")
    add("--dynamic", type=list[str] | None, default=None, help="Patterns of the layers whose sizes are learned.")
    add("--fixed", type=list[str], default=[], help="Patterns of sizes to leave alone.")
    add("--out_dir", type=str, required=True, help="Profile, checkpoints, artifact and figure; a run goes on there.")
    add("--overwrite", action="store_true", help="Replace an artifact that is there.")
    add("--accelerator", type=str, default="auto", help="As of Lightning's Trainer.")
    add("--progress", type=bool, default=True, help="Say what is done.")
    add("--seed", type=int, default=0)
    return parser


def network_of(name: str, arguments: dict[str, Any] | None, weights: str | None, *, trusted: bool = False) -> nn.Module:
    """The trained network that the options name.

    Args:
        name: an artifact's folder, or the path of a class or function of a module.
        arguments: of the class or function.
        weights: a file with its state_dict; a checkpoint's is looked for under "state_dict".

    Raises:
        SettingError: where there is no such thing, it gives no network, or the weights are not its own.
    """
    from torch import nn

    from dyn_lightning.artifact import trained_network

    if Path(name).is_dir():
        network = trained_network(name, trusted=trusted)
    else:
        network = _named(name, "--network")(**(arguments or {}))
    if not isinstance(network, nn.Module):
        raise SettingError(f"--network {name}: gives a {type(network).__name__}, not a torch.nn.Module")
    if weights is not None:
        try:
            network.load_state_dict(_state(weights))
        except RuntimeError as error:
            raise SettingError(
                f"--weights {weights}: are not those of {name} ({str(error).splitlines()[-1].strip()})"
            ) from error
    return network.eval()


def _named(path: str, option: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(f"{option} {path}: is neither a folder nor can it be imported ({error})") from error


def _state(path: str) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    if not os.path.isfile(path):
        raise SettingError(f"--weights {path}: there is no such file")
    if path.endswith(".safetensors"):
        return load_file(path)
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content.get("state_dict", content)


def _batches(options: Any, network: nn.Module) -> tuple[Any, float | None]:
    """What the network is run on, and the seconds of audio in an item."""
    from torch.utils.data import DataLoader

    from dyn_lightning.data.audio_folder import AudioFolder

    if options.data is not None:
        return _named(options.data, "--data")(**(options.data_args or {})), None
    rate = options.sample_rate or getattr(network, "sample_rate", None)
    if rate is None:
        raise SettingError("--sample_rate: the network has no attribute sample_rate, so give it")
    data = AudioFolder(options.audio, int(rate), options.crop_s)
    size = min(options.batch_size, len(data))
    return DataLoader(data, batch_size=size, shuffle=True, drop_last=True), options.crop_s
