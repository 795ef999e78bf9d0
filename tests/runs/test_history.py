"""Histories: sorted, read from a checkpoint and a log alike, and drawn as they were logged."""

import numpy as np
import pytest
import torch

from dyn_lightning.callbacks import ComplexityLogger
from dyn_lightning.runs.history import (
    MOST_STEPS,
    FitHistory,
    brief_history,
    columns_of,
    history_figure,
    history_of,
    read_history,
)


def test_columns_are_sorted_by_what_they_are():
    steps = [1.0, 2.0]
    found = history_of(
        {
            "width/conv/lam": (steps, [0.5, 0.25]),
            "width/conv/k": (steps, [16.0, 8.0]),
            "width/conv/size": (steps, [16.0, 8.0]),
            "width/gru/k": (steps, [7.5, 6.5]),
            "complexity/flops_per_call": (steps, [3.0, 2.0]),
            "complexity/flops_per_call_paper": (steps, [2.0, 1.0]),
            "complexity/parameters": (steps, [9.0, 8.0]),
            "val/eer": (steps, [0.2, 0.1]),
            "train/loss": (steps, [1.0, 0.9]),
        },
        "run",
    )
    assert found.widths == {"conv": (steps, [16.0, 8.0]), "gru": (steps, [7.5, 6.5])}
    assert found.full == {"conv": 32, "gru": 7.5}  # K/λ, and the largest where λ is not known
    assert found.flops == {"flops_per_call": (steps, [3.0, 2.0])}
    assert found.errors == {"val/eer": (steps, [0.2, 0.1])}


def test_what_never_changed_is_nothing_to_see():
    still = ([1.0, 2.0], [8.0, 8.0])
    assert not history_of({"width/a/size": still, "complexity/flops_per_second": still})
    assert history_of({"width/a/size": still, "complexity/flops_per_second": ([1.0, 2.0], [2.0, 1.0])})


def test_log_and_checkpoint_of_a_fit_say_the_same(make_module, make_trainer, data, tmp_path):
    logger = ComplexityLogger()
    trainer = make_trainer(logger, max_epochs=2)
    trainer.fit(make_module(), data)
    checkpoint = tmp_path / "last.ckpt"
    trainer.save_checkpoint(checkpoint)
    kept = read_history(checkpoint, "run")
    logged = read_history(f"{trainer.logger.log_dir}/metrics.csv", "run")
    assert kept.widths["bands"] == (logger.history["step"], logger.history["width/bands/size"])
    assert logged.widths["bands"][1] == kept.widths["bands"][1][1:]  # what was before the first step is in no log
    assert logged.flops["flops_per_call"][1] == pytest.approx(kept.flops["flops_per_call"][1][1:])
    assert kept.full == logged.full == {"bands": 16}


def test_a_checkpoint_without_a_history_is_empty(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "best.ckpt")
    assert not read_history(tmp_path / "best.ckpt", "run")


def test_a_record_keeps_the_steps_at_which_something_changed():
    history = {
        "step": [0.0, 10.0, 20.0, 30.0, 40.0, 50.0],
        "complexity/flops_per_second": [4.5, 4.5, 4.5, 4.5, 2.0, 2.0],
        "complexity/flops_per_second_paper": [4.0, 4.0, 4.0, 4.0, 2.0, 2.0],
        "complexity/parameters": [9.0] * 6,
        "width/a/lam": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
        "width/a/k": [8.0, 7.2, 6.4, 5.6, 4.8, 4.0],
        "width/a/size": [8.0, 8.0, 7.0, 7.0, 7.0, 7.0],
    }
    assert brief_history(history) == {
        "step": [0, 20, 40, 50],
        "complexity/flops_per_second": [4.5, 4.5, 2, 2],
        "width/a/size": [8, 7, 7, 7],
    }
    assert brief_history({key: values[:2] for key, values in history.items()}) == {}  # nothing has changed yet
    assert brief_history({}) == {}


def test_a_record_keeps_no_more_than_can_be_seen():
    steps = [float(s) for s in range(1000)]
    kept = brief_history({"step": steps, "width/a/size": [2000 - s for s in steps]})
    assert 50 <= len(kept["step"]) <= 70
    assert (kept["step"][0], kept["step"][-1]) == (0, 999)
    assert kept["width/a/size"] == [2000 - s for s in kept["step"]]
    # evenly, and each value where it was
    assert max(b - a for a, b in zip(kept["step"], kept["step"][1:], strict=False)) <= 16


def test_lines_are_the_sizes_and_the_cost_in_a_unit_that_suits():
    steps = [float(s) for s in range(10)]
    columns = {
        "width/a/size": (steps, [8.0] * 5 + [4.0] * 5),
        "complexity/flops_per_second": (steps, [3e6] * 5 + [2e6] * 5),
        "val/eer": ([3.0, 9.0], [0.2, 0.1]),
    }
    widths, flops, errors = history_figure(history_of(columns)).axes
    assert widths.lines[0].get_ydata().tolist() == [8.0] * 5 + [4.0] * 5
    assert flops.lines[0].get_ydata() == pytest.approx([3.0] * 5 + [2.0] * 5)
    assert flops.get_ylabel() == "MFLOPs/s"
    assert errors.lines[0].get_ydata() == pytest.approx([20.0, 10.0])


def test_many_sizes_are_drawn_as_shares():
    steps = [10.0, 20.0, 40.0]
    columns = {f"width/w{i}/size": (steps, [10.0, 10.0 - i, 5.0]) for i in range(9)}
    columns["width/w0/size"] = ([10.0, 40.0], [10.0, 2.0])  # logged less often: the last value holds
    axes = history_figure(history_of(columns)).axes[0]
    shares = np.asarray(axes.collections[0].get_array())
    assert shares.shape == (9, 3)
    assert shares[0] == pytest.approx([1.0, 1.0, 0.2])
    assert shares[3] == pytest.approx([1.0, 0.7, 0.5])
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"w{i}" for i in range(9)]


def test_long_histories_are_thinned_and_end_where_they_end():
    steps = list(range(10_000))
    columns = {"width/a/size": (steps, [20_000 - s for s in steps])}
    x, y = history_figure(history_of(columns)).axes[0].lines[0].get_data()
    assert MOST_STEPS / 2 < len(x) <= MOST_STEPS + 1
    assert (x[0], x[-1], y[-1]) == (0, 9_999, 10_001)


def test_values_that_are_not_there_are_left_out():
    assert columns_of({"step": [1, 2, 3], "a": [0.1, None, 0.3]}) == {"a": ([1, 3], [0.1, 0.3])}
    assert columns_of({}) == {}


def test_legends_stand_above_the_lines():
    widths = {name: ([0, 100], [80, 20]) for name in "abcd"}
    errors = {"val/eer": ([0, 100], [0.4, 0.1])}
    figure = history_figure(FitHistory("run", widths, dict.fromkeys(widths, 80), {}, errors))
    figure.draw_without_rendering()
    legends = [(axes.get_legend().get_window_extent(), axes.get_window_extent()) for axes in figure.axes]
    assert len(legends) == 2
    assert all(legend.y0 >= axes.y1 for legend, axes in legends)
