"""The command ``dyn-lightning``: one module a command, ``entry`` finds it, ``training`` holds those of Lightning."""

from dyn_lightning.cli.entry import COMMANDS, main

__all__ = ["COMMANDS", "main"]
