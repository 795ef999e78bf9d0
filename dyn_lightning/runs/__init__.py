"""What is kept of a run: its folder, its record, its history, and the machine that it ran on."""

from dyn_lightning.runs.history import plot_history
from dyn_lightning.runs.records import append_result, config_hash, keep_result, read_results, read_runs, result_record

__all__ = ["append_result", "config_hash", "keep_result", "plot_history", "read_results", "read_runs", "result_record"]
