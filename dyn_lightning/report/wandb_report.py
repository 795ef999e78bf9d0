"""The report of one fit as panels of Weights & Biases."""

from __future__ import annotations

import io
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.loggers import WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dyn_lightning.callbacks.complexity_logger import ComplexityLogger
from dyn_lightning.module import DynamicModule
from dyn_lightning.report.charts import kept_charts
from dyn_lightning.report.history import columns_of, history_figure, history_of
from dyn_lightning.report.statistics import Summary

HISTORY, KEPT, LAYERS = "report/sizes_and_cost", "report/kept", "report/layers"
_DPI = 150


class WandbReport(Callback):
    """Logs the report's figures, and a table of layers, when a fit ends; without a ``WandbLogger`` it does nothing.

    Panels: ``report/sizes_and_cost`` (over the steps, where a ``ComplexityLogger`` ran), ``report/kept`` (what each
    learned size kept) and ``report/layers`` (``Complexity.table``: each layer's parameters and FLOPs before and after).
    Sizes are those of the last step.
    """

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not (loggers and trainer.is_global_zero and isinstance(pl_module, DynamicModule)):
            return
        figures = figures_of(trainer, pl_module)
        images = {name: _image(figure) for name, figure in figures.items()}
        rows = pl_module.complexity.table()
        for logger in loggers:
            for name, image in images.items():
                logger.log_image(name, [image])
            if rows:
                logger.log_table(LAYERS, columns=list(rows[0]), data=[list(row.values()) for row in rows])


def figures_of(trainer: lightning.Trainer, module: DynamicModule) -> dict[str, Figure]:
    """Panel → figure of a fit that has ended."""
    found: dict[str, Figure] = {}
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, ComplexityLogger) and (history := history_of(columns_of(callback.history))):
            found[HISTORY] = history_figure(history)
    full, now = module.complexity.full_sizes, module.complexity.sizes_now
    if full:
        sizes = {name: (Summary(1, now[name]), full[name]) for name in full}
        found[KEPT] = kept_charts({"this run": sizes})[0].figure
    return found


def _image(figure: Figure) -> Image.Image:
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return Image.open(content)
