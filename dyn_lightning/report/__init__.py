"""What is kept of finished runs, and the page that is made of it."""

from dyn_lightning.report.history import plot_history
from dyn_lightning.report.records import append_result, config_hash, read_results, read_runs, result_record

__all__ = ["append_result", "config_hash", "plot_history", "read_results", "read_runs", "result_record"]
