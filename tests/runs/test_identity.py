from dyn_lightning.runs.identity import run_config


def test_what_decides_a_run_has_no_places_in_it():
    given = {
        "model": {"lr": 1},
        "data": {"init_args": {"data_root": "/home/me", "seed": 1}},
        "trainer": {
            "logger": {"save_dir": "/x"},
            "max_epochs": 3,
            "callbacks": [
                {"class_path": f"dyn_lightning.{c}"} for c in ("report.wandb_report.WandbReport", "callbacks.X")
            ],
        },
        "results": "x",
        "ckpt_path": "/y",
    }
    kept = run_config(given)
    assert kept == {
        "model": {"lr": 1},
        "data": {"init_args": {"seed": 1}},
        "trainer": {"max_epochs": 3, "callbacks": [{"class_path": "dyn_lightning.callbacks.X"}]},
    }
    assert given["data"]["init_args"]["data_root"] == "/home/me"
