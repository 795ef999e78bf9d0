"""PhaseSwitch: which epoch has which phase."""

from types import SimpleNamespace

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler
from torch.utils.data import DataLoader, IterableDataset

from dyn_lightning.callbacks import PhaseSwitch, WidthsEarlyStopping


class Recorder(lightning.Callback):
    """Phase, search progress and λ at the start of every step."""

    def __init__(self):
        self.rows = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        lam = next(iter(module.widths.values())).lam.item()
        self.rows.append((module.phase, round(module.search_progress, 3), lam))

    @property
    def phases(self):
        return [row[0] for row in self.rows]


def test_fixed_lengths(make_module, make_trainer, data):
    recorder, module = Recorder(), make_module()
    make_trainer(PhaseSwitch(1, 2), recorder, max_epochs=4).fit(module, data)
    assert recorder.phases == ["warmup"] * 4 + ["search"] * 8 + ["settle"] * 4
    assert [row[1] for row in recorder.rows[4:12]] == [i / 8 for i in range(8)]
    lams = [row[2] for row in recorder.rows]
    assert lams[:5] == [1.0] * 5
    assert len(set(lams[4:12])) > 4
    assert len(set(lams[12:])) == 1


def test_without_settle_epochs_widths_freeze_at_the_end(make_module, make_trainer, data):
    recorder, module = Recorder(), make_module()
    make_trainer(PhaseSwitch(1), recorder, max_epochs=3).fit(module, data)
    assert recorder.phases == ["warmup"] * 4 + ["search"] * 8
    assert module.phase == "settle"
    assert all(width.frozen for width in module.widths.values())


def test_no_warmup(make_module, make_trainer, data):
    recorder = Recorder()
    make_trainer(PhaseSwitch(0, 1), recorder, max_epochs=2).fit(make_module(), data)
    assert recorder.phases == ["search"] * 4 + ["settle"] * 4


@pytest.mark.parametrize(("min_delta", "warmup_epochs"), [(1e9, 3), (0.0, 5)])
def test_monitor_ends_the_warmup_or_its_longest_length_does(make_module, make_trainer, data, min_delta, warmup_epochs):
    # With an impossible min_delta the first epoch is the only improvement: patience 2 ends after the third.
    recorder = Recorder()
    switch = PhaseSwitch(5, 1, monitor="val/loss", patience=2, min_delta=min_delta)
    make_trainer(switch, recorder, max_epochs=7).fit(make_module(), data)
    assert recorder.phases.count("warmup") == 4 * warmup_epochs
    assert recorder.phases.count("search") == 4


def test_unknown_monitor_lists_what_is_logged(make_module, make_trainer, data):
    trainer = make_trainer(PhaseSwitch(2, 1, monitor="val/accuracy"), max_epochs=4)
    with pytest.raises(ValueError, match="val/loss"):
        trainer.fit(make_module(), data)


def test_phases_longer_than_the_run(make_module, make_trainer, data):
    with pytest.raises(ValueError, match="raise max_epochs or shorten a phase"):
        make_trainer(PhaseSwitch(2, 2), max_epochs=3).fit(make_module(), data)


def test_phases_longer_than_the_steps_of_the_run(make_module, make_trainer, data):
    module = make_module()
    with pytest.warns(UserWarning, match=r"need 8 steps, the run has max_steps=6: its sizes will not be final"):
        make_trainer(PhaseSwitch(1, 1), max_epochs=-1, max_steps=6).fit(module, data)
    assert module.phase == "search"
    assert module._search_steps.tolist() == [4, 8]
    assert module.search_progress == 0.5


def test_a_search_without_an_end_is_refused(make_module, make_trainer, data):
    with pytest.raises(ValueError, match="never end"):
        make_trainer(PhaseSwitch(1), max_epochs=-1).fit(make_module(), data)


@pytest.mark.parametrize(
    ("trainer", "loader", "steps"),
    [
        ({"max_epochs": 6}, None, 4),
        ({"max_epochs": 100, "max_steps": 14}, None, 4),
        ({"max_epochs": -1, "max_steps": 14}, None, 4),
        ({"max_epochs": 6, "accumulate_grad_batches": 3}, None, 2),
        ({"max_epochs": 6, "limit_train_batches": 3}, None, 3),
        ({"max_epochs": 6, "limit_train_batches": 0.5}, None, 2),
        ({"max_epochs": 6, "overfit_batches": 2}, None, 2),
        ({"max_epochs": 6}, "endless", 4),
        ({"max_epochs": -1, "max_steps": 14}, "endless", 4),
        ({"max_epochs": 6, "limit_train_batches": 3}, "endless", 3),
    ],
    ids=str,
)
def test_an_epoch_of_search_is_an_epoch_of_the_data(make_module, make_trainer, data, trainer, loader, steps):
    recorder, module, given = Recorder(), make_module(), {"datamodule": data}
    if loader == "endless":
        data.setup("fit")
        given = {"train_dataloaders": DataLoader(Stream(data.train_dataloader()), batch_size=None)}
    make_trainer(PhaseSwitch(1, 2), recorder, **trainer).fit(module, **given)
    assert module._search_steps.tolist() == [steps, 3 * steps]
    assert module.phase == "settle"
    accumulated = trainer.get("accumulate_grad_batches", 1)
    assert recorder.phases.count("search") == (8 if accumulated == 3 else 2 * steps)


class Stream(IterableDataset):
    """A data set that does not tell its length."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        return iter(self.loader)


@pytest.mark.parametrize("switch", [[PhaseSwitch(0, 2)], []], ids=["no warm-up", "no phases"])
def test_a_length_that_nobody_knows_is_asked_for(make_module, make_trainer, data, switch):
    data.setup("fit")
    loader = DataLoader(Stream(data.train_dataloader()), batch_size=None)
    with pytest.raises(ValueError, match="limit_train_batches"):
        make_trainer(*switch).fit(make_module(), train_dataloaders=loader)


def test_accumulation_that_changes_is_counted(make_module, make_trainer, data):
    module = make_module()
    callbacks = GradientAccumulationScheduler({0: 1, 2: 4}), PhaseSwitch(1, 2)
    make_trainer(*callbacks, max_epochs=5).fit(module, data)
    assert module._search_steps.tolist() == [4, 4 + 4 + 1]


def test_early_stopping_waits_for_the_final_sizes(make_module, make_trainer, data):
    """It would end the run after its second epoch; counted from the final sizes on, after the second of those."""
    options = {"monitor": "val/loss", "patience": 1, "min_delta": 1e9}
    stock, ours = make_module(), make_module()
    with pytest.warns(UserWarning, match="WidthsEarlyStopping"):
        make_trainer(PhaseSwitch(2, 2), EarlyStopping(**options), max_epochs=8).fit(stock, data)
    assert (stock.phase, stock.global_step) == ("warmup", 8)
    make_trainer(PhaseSwitch(2, 2), WidthsEarlyStopping(**options), max_epochs=8).fit(ours, data)
    # The search ends with the last step of an epoch, whose validation has the final sizes.
    assert (ours.phase, ours.global_step) == ("settle", 20)


@pytest.mark.parametrize("values", [["nan", 3.0, 2.0], [3.0, "nan", 2.0], ["inf", 3.0, 2.0]])
def test_a_monitored_value_that_is_no_number_is_no_improvement(make_module, values):
    switch, module = PhaseSwitch(5, monitor="val/loss", patience=2), make_module()
    module.set_phase("warmup")
    stalled = []
    for value in values:
        metrics = {"val/loss": torch.tensor(float(value))}
        trainer = SimpleNamespace(callback_metrics=metrics, sanity_checking=False)
        switch.on_validation_end(trainer, module)
        stalled.append(switch.epochs_without_improvement)
    assert switch.best == 2.0
    assert stalled[-1] == 0
    assert sum(stalled) == 1


def test_a_baseline_has_no_phases(make_module, make_trainer, data):
    module = make_module(dynamic=[])
    make_trainer(PhaseSwitch(5, 5), max_epochs=1).fit(module, data)
    assert module.phase == "settle"


@pytest.mark.parametrize(
    "options",
    [{"warmup_epochs": -1}, {"search_epochs": 0}, {"mode": "least"}, {"patience": 0}, {"min_delta": float("nan")}],
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PhaseSwitch(**options)
