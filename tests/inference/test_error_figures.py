"""Figures: what is drawn, and that it is written as a whole."""

from statistics import NormalDist

import matplotlib.figure
import pytest
import torch

from dyn_lightning.inference import error_figures as figures
from dyn_lightning.metrics.det import det_curve


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they were saved."""
    kept: list[matplotlib.figure.Figure] = []
    save = figures.save_figure

    def keep(figure, path):
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "save_figure", keep)
    return kept


def test_det_of_gaussians_is_a_straight_line(tmp_path, drawn):
    quantiles = torch.special.ndtri(torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1])
    scores = torch.cat([quantiles + 2.0, quantiles])
    targets = torch.cat([torch.ones_like(quantiles), torch.zeros_like(quantiles)])
    curves = {"all": det_curve(scores, targets)[:2], "A01": det_curve(scores + targets, targets)[:2]}
    figures.plot_det(curves, tmp_path / "det.png")
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["det.png"]
    axes = drawn[0].axes[0]
    low, high = (NormalDist().inv_cdf(limit) for limit in figures.DET_LIMITS)
    for line, distance in zip(axes.lines[1:], (2.0, 3.0), strict=True):
        x, y = line.get_data()
        assert min(x.min(), y.min()) == pytest.approx(low)  # what lies outside is on the edge
        assert max(x.max(), y.max()) == pytest.approx(high)
        inside = (x > low + 0.01) & (x < high - 0.01) & (y > low + 0.01) & (y < high - 0.01)
        assert inside.sum() > 1000
        assert (x + y)[inside] == pytest.approx(-distance, abs=0.03)  # the quantiles end at 1/20000
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["all", "A01"]


def test_bars_are_percent_with_their_intervals(tmp_path, drawn):
    rates, intervals = {"A01": 0.02, "A02": 0.10}, {"A01": (0.01, 0.04), "A02": (0.11, 0.12)}
    figures.plot_by_system(rates, tmp_path / "bars.png", intervals=intervals, pooled=0.05)
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    axes = drawn[0].axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([2.0, 10.0])
    segments = axes.collections[0].get_segments()
    assert [tuple(s[:, 1]) for s in segments] == [pytest.approx((1.0, 4.0)), pytest.approx((10.0, 12.0))]
    assert "5.00 %" in drawn[0].legends[0].get_texts()[0].get_text()


def test_nothing_to_draw_is_named(tmp_path):
    with pytest.raises(ValueError, match="no curve"):
        figures.plot_det({}, tmp_path / "det.png")
    with pytest.raises(ValueError, match="no attack"):
        figures.plot_by_system({}, tmp_path / "bars.png", intervals={}, pooled=0.1)
