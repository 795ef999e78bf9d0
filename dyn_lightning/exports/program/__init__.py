"""A network as data: the calls of torch's functions that it makes, as JSON that is looked through before it runs."""

from dyn_lightning.exports.program.traced import Program

__all__ = ["Program"]
