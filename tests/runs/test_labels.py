"""What runs are called."""

from hypothesis import given
from hypothesis import strategies as st

from dyn_lightning.runs.labels import LONGEST, differing, flat, labels_of


def fit(share, path="dyn_lightning.objectives.FlopsBudget", callbacks=(), **more):
    objective = {"class_path": path, "init_args": {"share": share}}
    backbone = {"class_path": "dyn_lightning.models.crnn_vad.CRNNVAD", "init_args": {"n_mels": 64}}
    return {
        "model": {"backbone": backbone, "objective": objective, "lr": 1e-3, **more},
        "data": {"train_seed": share},
        "trainer": {"callbacks": list(callbacks), "max_epochs": 16},
    }


STOP = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/eer", "patience": 3}}
MORE = {"class_path": "dyn_lightning.callbacks.Reorder"}


def test_the_settings_that_differ_and_no_more_than_tell_apart():
    assert labels_of([fit(0.25), fit(0.5), fit(0.25)]) == ["share=0.25", "share=0.5", "share=0.25"]
    # the rate differs with the share: one of the two is enough
    assert labels_of([fit(0.25, lr=1e-3), fit(0.5, lr=3e-3)]) == ["share=0.25", "share=0.5"]
    grid = [fit(share, lr=lr) for share in (0.25, 0.5) for lr in (1e-3, 3e-3)]
    assert labels_of(grid)[1] == "share=0.25, lr=0.003"


def test_classes_by_their_names():
    others = "dyn_lightning.objectives.LambdaSquared"
    assert labels_of([fit(0.5), fit(0.5, others)]) == ["FlopsBudget", "LambdaSquared"]


def test_callbacks_by_their_names_wherever_they_stand():
    assert labels_of([fit(0.5), fit(0.5, callbacks=[MORE, STOP]), fit(0.5, callbacks=[MORE])]) == [
        "no Reorder, no EarlyStopping",
        "Reorder, EarlyStopping",
        "Reorder, no EarlyStopping",
    ]
    patient = {**STOP, "init_args": {"monitor": "val/eer", "patience": 9}}
    assert labels_of([fit(0.5, callbacks=[STOP]), fit(0.5, callbacks=[MORE, patient])]) == ["patience=3", "patience=9"]


def test_names_that_were_given():
    configs = [fit(0.25), fit(0.5), fit(1.0), fit(1.0, lr=1.0)]
    assert labels_of(configs, ["uniform 25 %", None, "full", "full"]) == [
        "uniform 25 %",
        "share=0.5, lr=0.001",
        "full, lr=0.001",
        "full, lr=1",
    ]


def test_runs_in_which_nothing_differs_are_called_by_what_they_train():
    assert labels_of([fit(0.25), fit(0.25)]) == ["CRNNVAD", "CRNNVAD"]
    assert labels_of([{"lr": 1}]) == ["all runs"]


def test_long_values_are_cut_and_numbered():
    configs = [fit(0.5, fixed=[f"{'layer' * 9}{i}"]) for i in range(3)]
    labels = labels_of(configs)
    assert [len(label) <= LONGEST for label in labels] == [True] * 3
    assert [label.endswith(end) for label, end in zip(labels, ("…", "… (2)", "… (3)"), strict=True)] == [True] * 3


VALUES = st.one_of(st.none(), st.booleans(), st.floats(0, 1), st.text("ab.", max_size=60), st.lists(st.integers(0, 2)))
NESTED = st.fixed_dictionaries({"b": VALUES})
CONFIGS = st.fixed_dictionaries({}, optional={"lr": VALUES, "a": NESTED, "class_path": VALUES})


@given(st.lists(st.tuples(CONFIGS, st.sampled_from([None, "x", "x (2)"])), min_size=1, max_size=6))
def test_other_configurations_have_other_labels(runs):
    labels = labels_of([config for config, _ in runs], [name for _, name in runs])
    keys = [(name, repr(sorted(flat(config).items(), key=repr))) for config, name in runs]
    told = dict(zip(keys, labels, strict=True))
    assert len(set(told.values())) == len(told)
    assert all(label and len(label) <= LONGEST for label in labels)


def test_differing_settings_of_each():
    found = differing([fit(0.5, callbacks=[STOP]), fit(0.5)])
    assert found[0]["trainer.callbacks.EarlyStopping.init_args.patience"] == 3
    assert found[1] == {}
