"""PhaseSwitch: which epoch has which phase."""

import lightning
import pytest

from dyn_lightning.callbacks import PhaseSwitch


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


def test_needs_a_length_in_epochs(make_module, make_trainer, data):
    with pytest.raises(ValueError, match="max_epochs"):
        make_trainer(PhaseSwitch(1, 1), max_epochs=-1, max_steps=3).fit(make_module(), data)


def test_a_baseline_has_no_phases(make_module, make_trainer, data):
    module = make_module(dynamic=[])
    make_trainer(PhaseSwitch(5, 5), max_epochs=1).fit(module, data)
    assert module.phase == "settle"


@pytest.mark.parametrize("options", [{"warmup_epochs": -1}, {"search_epochs": 0}, {"mode": "least"}])
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PhaseSwitch(**options)
