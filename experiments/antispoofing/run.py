"""The anti-spoofing study: every system with every seed, then the tables and the figure.

``make reproduce-asvspoof DATA_ROOT=… PRESET=…`` on ASVspoof2019 LA or a corpus of its layout. A run that is in
``results.jsonl`` is not run again, and a run that was killed goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule
from dyn_lightning.data.score_files import ScoreTable, write_scores
from dyn_lightning.features.front_ends import Normalisation
from dyn_lightning.metrics.bootstrap import bootstrap_interval
from dyn_lightning.metrics.eer import eer
from dyn_lightning.module import DynamicModule
from dyn_lightning.runs import read_runs, result_record
from dyn_lightning.tasks.spoof_detection import bonafide_scores
from experiments.antispoofing.data import FewUtterances, is_published
from experiments.antispoofing.data import data_name as data_name
from experiments.antispoofing.systems import (
    LAM_MINS_ALONE,
    PRESETS,
    SEEDS,
    Settings,
    System,
    all_systems,
    changed,
    full_complexity,
)
from experiments.antispoofing.table import names, runs_of, studies, write_tables
from experiments.command import as_command, results_file
from experiments.study import (
    Record,
    begin_run,
    evaluate,
    finished,
    fit,
    keep_artifact,
    quieten,
    run_folder,
    run_jobs,
    runs_at_a_time,
    unknown_names,
)

HERE = Path(__file__).parent
SCORES = "eval_scores.txt"
"""Name of the file, in a run's folder, that ``dyn-lightning score`` reads."""
Job = tuple[System, int, Settings, argparse.Namespace]


def train(job: Job) -> Record:
    """Train, choose the checkpoint on dev, test on eval, and write the artifact of one system with one seed."""
    system, seed, settings, args = job
    begin_run(seed, args.jobs)
    config = {"system": system.name, **settings.as_json()}
    dataset = data_name(args.data_root, args.per_system)
    folder = run_folder(args.runs, config, seed, dataset)
    data = data_module(args, settings, seed)
    module = system.module(settings)
    fitted = fit(system, module, data, folder, settings.epochs, search_share=settings.search_share)
    last = evaluate(fitted.trainer, module, data, fitted.last) if system.kind == "full" else None
    record = result_record(
        module,
        metrics=evaluate(fitted.trainer, module, data, fitted.best),
        config=config,
        seed=seed,
        dataset=dataset,
        wall_time_s=fitted.wall_time_s,
        history=fitted.history,
    )
    table = eval_scores(module, data)
    write_scores(folder / SCORES, table)
    record |= {
        "kind": system.kind,
        "published_corpus": args.per_system is None and is_published(args.data_root),
        "eer_interval": list(eer_interval(table)),
        "resumed": fitted.resumed,
        "flops_per_second_full": full_complexity(settings).flops_full_size(),
    }
    if last is not None:
        # What the paper's setting, which has no time to settle in, is compared with.
        record["metrics_last"] = last
    return record | keep_artifact(module, data, fitted.history, folder)


def data_module(args: argparse.Namespace, settings: Settings, seed: int = 0) -> ASVspoof2019DataModule:
    """The data of a run."""
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "n_samples": settings.n_samples,
        "train_seed": seed,
        "num_workers": args.num_workers,
    }
    if args.per_system is None:
        return ASVspoof2019DataModule(args.data_root, **options)
    return FewUtterances(args.data_root, args.per_system, **options)


def check_data(args: argparse.Namespace) -> str:
    """What runs would be trained and tested on.

    Raises:
        DatasetError: names the folder and what is missing in it, and the mend.
    """
    data_module(args, args.settings).setup()
    return data_name(args.data_root, args.per_system)


@torch.no_grad()
def eval_scores(module: DynamicModule, data: ASVspoof2019DataModule) -> ScoreTable:
    """What the network says of every utterance of eval, as a score file of the challenge has it."""
    module.eval()
    names: list[str] = []
    systems: list[str] = []
    scores: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in data.test_dataloader()[0]:
        audio = batch["audio"].to(module.device)
        scores.append(bonafide_scores(module.network(audio), "cross_entropy").cpu())
        targets.append(batch["target"])
        names += batch["utterance_id"]
        systems += batch["meta"]["system"]
    keys = ["bonafide" if target else "spoof" for target in torch.cat(targets).tolist()]
    return ScoreTable(names, systems, keys, torch.cat(scores).double())


def eer_interval(table: ScoreTable) -> tuple[float, float]:
    """95 % bootstrap interval of the EER, by utterances."""
    return bootstrap_interval(lambda s, t: eer(s, t, convention="asvspoof2019")[0], table.scores, table.targets)


def score_files(results: Path, runs: Path) -> list[Path]:
    """Score files of the table's first study: of each system the first seed whose file is still there."""
    records = next(iter(studies(read_runs(results)).values()), [])
    found = []
    for name in names(records):
        own = (run_folder(runs, r["config"], r["seed"], r["dataset"]) / SCORES for r in runs_of(name, records))
        found += [path for path in own if path.is_file()][:1]
    return found


def summary(record: Record) -> str:
    """A finished run in one line; no result on eval, by which nothing may be chosen."""
    return (
        f"{record['config']['system']:28s} seed {record['seed']}: dev EER {100 * record['metrics']['val/eer']:.2f} %, "
        f"{100 * record['flops_per_second'] / record['flops_per_second_full']:.1f} % of the FLOPs, "
        f"{record['wall_time_s']:.0f} s"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; what it leaves out is the preset's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data_root", default=os.environ.get("DATA_ROOT", "data"), help="folder that holds LA")
    parser.add_argument("--preset", choices=list(PRESETS), default="full")
    parser.add_argument("--seeds", type=int, nargs="+", help="the preset's when absent")
    parser.add_argument("--only", nargs="*", help="names of systems; all when absent")
    parser.add_argument("--per_system", type=int, help="take only the first so many utterances of each system, to try")
    parser.add_argument("--jobs", type=int, default=runs_at_a_time(), help="runs at a time: on a GPU 2")
    parser.add_argument("--num_workers", type=int, default=0, help="loader processes of each run")
    parser.add_argument("--runs", default="runs/antispoofing", help="checkpoints and artifacts")
    parser.add_argument("--results", default=results_file("antispoofing"))
    of_preset = parser.add_argument_group("in place of the preset's")
    of_preset.add_argument("--epochs", type=int)
    of_preset.add_argument("--batch_size", type=int)
    of_preset.add_argument("--lr", type=float, help="at full size")
    of_preset.add_argument("--lr_growth", type=float, help="exponent of what a network is narrower by")
    of_preset.add_argument("--normalisation", choices=get_args(Normalisation))
    of_preset.add_argument("--freq_mask", type=int)
    of_preset.add_argument("--time_mask", type=int)
    args = parser.parse_args(arguments)
    names = ("epochs", "batch_size", "lr", "lr_growth", "normalisation", "freq_mask", "time_mask")
    args.settings = changed(PRESETS[args.preset], **{name: getattr(args, name) for name in names})
    args.seeds = args.seeds or SEEDS[args.preset]
    args.systems = all_systems(args.settings, LAM_MINS_ALONE[args.preset])
    if args.only:
        if problem := unknown_names(args.only, [s.name for s in args.systems]):
            parser.error(problem)
        args.systems = [s for s in args.systems if s.name in args.only]
    return args


def main(arguments: list[str] | None = None) -> None:
    """Runs what is missing, prints what was found, and writes tables and the figure."""
    quieten()
    args = parse(arguments)
    done = finished(args.results, args.settings.as_json(), check_data(args))
    order = [
        (s, seed) for kind in (False, True) for seed in args.seeds for s in args.systems if (s.kind == "paper") == kind
    ]
    jobs: list[Job] = [(s, seed, args.settings, args) for s, seed in order if (s.name, seed) not in done]
    print(f"{len(jobs)} runs to do, {len(order) - len(jobs)} done in {args.results}", flush=True)
    run_jobs(train, jobs, args.results, summary, args.jobs)
    write_tables(args.results, Path(args.results).parent)


if __name__ == "__main__":
    as_command(main)
