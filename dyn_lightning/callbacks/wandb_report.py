"""The report of one fit and its test as panels of Weights & Biases."""

from __future__ import annotations

import io
from collections.abc import Mapping

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.loggers import WandbLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dyn_lightning.callbacks.complexity_logger import ComplexityLogger
from dyn_lightning.data.score_files import ScoreTable
from dyn_lightning.module import DynamicModule
from dyn_lightning.report.charts import det_charts, kept_charts
from dyn_lightning.report.studies import Run, studies_of
from dyn_lightning.report.table import Cell, Table
from dyn_lightning.report.tables import group_tables
from dyn_lightning.runs.history import columns_of, history_figure, history_of
from dyn_lightning.runs.records import result_record
from dyn_lightning.runs.statistics import Summary

HISTORY, KEPT, LAYERS, DET = "report/sizes_and_cost", "report/kept", "report/layers", "report/det"
_RUN = "this run"
_DPI = 150


class WandbReport(Callback):
    """Logs the report's figures and tables when a fit and a test end; without a ``WandbLogger`` it does nothing.

    After a fit: ``report/sizes_and_cost`` (over the steps, where a ``ComplexityLogger`` ran), ``report/kept`` (what
    each learned size kept) and ``report/layers`` (``Complexity.table``: each layer's parameters and FLOPs before and
    after). Sizes are those of the last step.

    After a test (of ``fit --results`` too), where the task measures them: ``report/snr`` (EER by signal-to-noise
    ratio), ``report/attacks`` (EER by attack), each with the test set's name where there are several, and
    ``report/det`` (detection error trade-off of a spoofing countermeasure).
    """

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        loggers = _loggers(trainer)
        if not (loggers and trainer.is_global_zero and isinstance(pl_module, DynamicModule)):
            return
        figures, rows = figures_of(trainer, pl_module), pl_module.complexity.table()
        for logger in loggers:
            _log_figures(logger, figures)
            if rows:
                logger.log_table(LAYERS, columns=list(rows[0]), data=[list(row.values()) for row in rows])

    def on_test_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        loggers = _loggers(trainer)
        if not (loggers and isinstance(pl_module, DynamicModule)):
            return
        scores = scores_of_test(pl_module)  # of all processes: each has to come here
        if not trainer.is_global_zero:
            return
        tables = tables_of_test(pl_module, trainer.callback_metrics)
        figures = {DET: det_charts(scores)[0].figure} if scores else {}
        for logger in loggers:
            for table in tables:
                columns = [column.title for column in table.columns]
                data = [[_plain(row.get(column.key)) for column in table.columns] for row in table.rows]
                logger.log_table(f"report/{table.name}", columns=columns, data=data)
            _log_figures(logger, figures)


def figures_of(trainer: lightning.Trainer, module: DynamicModule) -> dict[str, Figure]:
    """Panel → figure of a fit that has ended."""
    found: dict[str, Figure] = {}
    callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, ComplexityLogger) and (history := history_of(columns_of(callback.history))):
            found[HISTORY] = history_figure(history)
    full, now = module.complexity.full_sizes, module.complexity.sizes_now
    if full:
        sizes = {name: (Summary(1, now[name]), full[name]) for name in full}
        found[KEPT] = kept_charts({_RUN: sizes})[0].figure
    return found


def tables_of_test(module: DynamicModule, metrics: Mapping[str, object]) -> list[Table]:
    """The report's tables of parts of the test sets, as the task divides them, of one run.

    Args:
        module: after the test.
        metrics: as the trainer logged them.
    """
    tested = {name: value for name, value in metrics.items() if name.startswith("test")}
    if not tested:
        return []
    record = result_record(module, metrics=tested, config={"system": _RUN}, seed=None, dataset="", wall_time_s=0.0)
    (study,) = studies_of([Run(record, "")])
    return group_tables(study)


def scores_of_test(module: DynamicModule) -> dict[str, ScoreTable]:
    """Test set → scores of its utterances, over all processes; where the task has such scores."""
    tables = {name: metrics.scores() for name, metrics in module.evaluations("test").items()}
    return {name: table for name, table in tables.items() if table is not None}


def _loggers(trainer: lightning.Trainer) -> list[WandbLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]


def _log_figures(logger: WandbLogger, figures: Mapping[str, Figure]) -> None:
    for name, figure in figures.items():
        logger.log_image(name, [_image(figure)])


def _plain(cell: Cell) -> str | float | None:
    return cell.mean if isinstance(cell, Summary) else cell


def _image(figure: Figure) -> Image.Image:
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return Image.open(content)
