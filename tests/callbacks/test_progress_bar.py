"""WidthsProgressBar: phase and cost are on show."""

from dyn_lightning.callbacks import WidthsProgressBar


def test_phase_and_cost(make_module, make_trainer):
    bar, module = WidthsProgressBar(), make_module()
    trainer = make_trainer()
    metrics = bar.get_metrics(trainer, module)
    assert metrics["phase"] == "search"
    assert metrics["MFLOPs/call"] == f"{module.complexity.flops_full_size() / 1e6:.2f}"
    module.widths["bands"].set_lam(0.25)
    assert bar.get_metrics(trainer, module)["MFLOPs/call"] == f"{module.complexity.flops_now() / 1e6:.2f}"
    assert "v_num" not in metrics
    assert (metrics["of all"], metrics["learnable"]) == ("100 %", "100 %")
    kept = bar.get_metrics(trainer, module)
    assert (kept["of all"], kept["learnable"]) == ("25 %", "25 %")
    # What 80 columns leave for metrics beside the bar, counts, times and speed.
    assert max(len(f"{name}: {kept[name]}") for name in ("MFLOPs/call", "of all", "learnable", "phase")) <= 17
