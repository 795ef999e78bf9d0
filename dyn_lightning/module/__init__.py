"""The LightningModule around a backbone, and what becomes of it: its phases, its checkpoints, its artifact."""

from dyn_lightning.module.dynamic_module import DynamicModule

__all__ = ["DynamicModule"]
