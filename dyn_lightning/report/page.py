"""The report: one HTML page that needs nothing else, and the CSV of each of its tables."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dyn_lightning
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.files import write_atomically
from dyn_lightning.report import tables
from dyn_lightning.report.charts import Chart, det_charts, front_chart, kept_charts
from dyn_lightning.report.markup import Markup, chart_markup, details, joined, section, table_markup, tag
from dyn_lightning.report.sources import Published, Sources, histories_of, read_published, read_sources
from dyn_lightning.report.studies import Run, Study, System, per_of, studies_of
from dyn_lightning.report.style import STYLE
from dyn_lightning.report.table import Table
from dyn_lightning.runs.figure_style import flops_scale
from dyn_lightning.runs.history import WIDTHS_CAPTION, FitHistory, history_figure
from dyn_lightning.runs.latest import left_out
from dyn_lightning.runs.statistics import Summary

TITLE = "Error and complexity of the finished runs"
MOST_OPEN = 6
MOST_UNFOLDED = 2


def write_report(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    published: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    protocol: str | None = None,
    metrics: Sequence[str] = (),
    title: str = TITLE,
) -> list[Path]:
    """Write a page of finished runs, and each of its tables as ``<page>.<table>.csv`` beside it.

    Args:
        paths: results, run folders, artifacts and score files, see ``read_sources``.
        out: the page; it is there as a whole or not at all, after its CSV files.
        published: CSV files of published results, see ``read_published``; laid over the runs of the same data set.
        protocol: of score files that do not say what each utterance is.
        metrics: those to show; by default the EERs of tests.
        title: of the page.

    Returns:
        What was written, the page first.

    Raises:
        DatasetError: names the file and line that cannot be used, or a metric that no run has.
    """
    sources = read_sources(paths, protocol)
    studies = studies_of(sources.runs, metrics)
    known = {name for run in sources.runs for name in run.record["metrics"]}
    if unknown := [name for name in metrics if name not in known]:
        raise DatasetError(f"no run has {', '.join(unknown)}; there are: {', '.join(sorted(known)) or 'none'}.")
    out = Path(out)
    page = Page(out.stem)
    given = [published] if isinstance(published, (str, os.PathLike)) else published or []
    text = page.render(sources, studies, [point for file in given for point in read_published(file)], title)
    files = {out.with_name(name): table.csv() for name, table in page.tables.items()}
    for path, content in files.items():
        write_atomically(path, content.encode())
    write_atomically(out, text.encode())
    return [out, *files]


class Page:
    """A page while it is made: counts its figures and keeps its tables.

    Args:
        stem: begins the names of CSV files.

    Attributes:
        tables: file name → table.
    """

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.tables: dict[str, Table] = {}
        self._figures = 0

    def render(
        self, sources: Sources, studies: Sequence[Study], published: Sequence[Published] = (), title: str = TITLE
    ) -> str:
        """The whole page; sections without data are left out."""
        sections: list[tuple[str, Markup]] = []
        for number, study in enumerate(studies, start=1):
            suffix = f"-{number}" if len(studies) > 1 else ""
            sections.append((heading(study), self._study(study, suffix, published)))
        if sources.scores:
            sections.append(("Detection errors", self._scores(sources)))
        if sources.histories or sources.reports:
            sections.append(("Run folders", self._folders(sources)))
        if studies or sources.configs:
            sections.append(("How the runs were made", self._making(sources, studies)))
        body = [section(name, f"s{i}", content) for i, (name, content) in enumerate(sections, start=1)]
        links = [tag("li", tag("a", name, href=f"#s{i}")) for i, (name, _) in enumerate(sections, start=1)]
        header = tag("header", tag("h1", title), tag("p", _summary(sources, studies)))
        footer = tag("footer", f"Made by dyn_lightning {dyn_lightning.__version__}. Its tables are beside it as CSV.")
        nav = tag("nav", tag("ul", *links)) if len(links) > 1 else Markup()
        content = tag("body", header, nav, tag("main", joined(body)), footer)
        head = Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
        document = tag("html", tag("head", head, tag("title", title), tag("style", Markup(STYLE))), content, lang="en")
        return f"<!DOCTYPE html>\n{document}\n"

    def _study(self, study: Study, suffix: str, published: Sequence[Published]) -> Markup:
        main = study.main_metric
        tested = main if main is not None and main.startswith("test") else None
        laid_over = [p for p in published if is_published(study, p) and p.metric == (tested or "").rpartition("/")[2]]
        # Costs of two counts have no place on one axis.
        apart = study.published_unit is not None
        fronts = [
            front_chart(study, metric, laid_over if metric == tested and not apart else ()) for metric in study.metrics
        ]
        if tested is not None and laid_over and apart:
            fronts.append(front_chart(study, tested, laid_over, study.published_unit))
        kept = {system.name: sizes for system in study.systems if (sizes := tables.kept_sizes(system))}
        histories = [h for system in study.systems for h in histories_of(system.runs, _first_seed(system))]
        drawn = self._charts(chart for chart in fronts if chart is not None)
        learned = self._gallery(kept_charts(kept), "What each layer kept")
        return joined(
            [
                tag("p", _settings(study)),
                drawn,
                self._table(tables.systems_table(study), suffix),
                *(self._table(table, suffix) for table in tables.group_tables(study)),
                self._part("What each layer kept", learned, self._folded(tables.sizes_table(study), suffix)),
                self._part("Sizes and cost over training", self._gallery(map(_history_chart, histories), "Histories")),
                self._part("Runs and their times", self._folded(tables.runs_table(study), suffix)),
            ]
        )

    def _scores(self, sources: Sources) -> Markup:
        table = tables.scores_table(sources.scores)
        return joined([self._gallery(det_charts(sources.scores), "Detection errors"), self._table(table)])

    def _folders(self, sources: Sources) -> Markup:
        pieces = [self._gallery(map(_history_chart, sources.histories), "Histories")]
        for number, (label, report) in enumerate(sources.reports.items(), start=1):
            suffix = f"-{number}" if len(sources.reports) > 1 else ""
            sizes = {name: (Summary(1, kept), full) for name, (kept, full) in report.get("sizes", {}).items()}
            chart = self._charts(kept_charts({label: sizes})) if sizes else Markup()
            layers = self._folded(tables.layers_table(report, "layers"), suffix)
            content = (tag("p", _consolidated(report)), chart, layers)
            folded = len(sources.reports) > MOST_UNFOLDED
            pieces.append(details(label, *content) if folded else self._part(label, *content))
        return joined(pieces)

    def _making(self, sources: Sources, studies: Sequence[Study]) -> Markup:
        pieces = [self._table(tables.versions_table(sources.runs)), self._table(tables.commands_table(sources.runs))]
        for study in studies:
            for system in study.systems:
                pieces += [_configuration(system, runs) for runs in _by_configuration(system)]
        for path, text in sources.configs.items():
            command = f"dyn-lightning fit -c {path}"
            pieces.append(details(path, tag("pre", tag("code", command)), tag("pre", tag("code", text))))
        return joined(pieces)

    def _charts(self, charts: Iterable[Chart]) -> Markup:
        drawn = []
        for chart in charts:
            self._figures += 1
            drawn.append(chart_markup(chart, self._figures))
        return tag("div", joined(drawn), class_="charts") if drawn else Markup()

    def _gallery(self, charts: Iterable[Chart], name: str) -> Markup:
        """Figures side by side; those beyond the first few are folded away."""
        charts = list(charts)
        first, others = self._charts(charts[:MOST_OPEN]), self._charts(charts[MOST_OPEN:])
        return joined([first, details(f"{name}: {len(charts) - MOST_OPEN} more", others)]) if others else first

    def _table(self, table: Table, suffix: str = "") -> Markup:
        if not table:
            return Markup()
        name = f"{self.stem}.{table.name}{suffix}.csv"
        self.tables[name] = table
        return table_markup(table, name)

    def _folded(self, table: Table, suffix: str) -> Markup:
        if not table:
            return Markup()
        summary = _count(len(table.rows), "run") if table.name == "runs" else "As a table"
        return details(summary, self._table(table, suffix))

    @staticmethod
    def _part(title: str, *pieces: Markup) -> Markup:
        return joined([tag("h3", title), *pieces]) if any(pieces) else Markup()


def is_published(study: Study, published: Published) -> bool:
    """Whether a study's data are those of a published result, by name (what stands before the colon) and by what the
    records say of their corpus."""
    named = published.dataset in (study.dataset, study.dataset.split(":")[0])
    return (
        study.unit == "flops_per_second"
        and named
        and all(run.record.get("published_corpus", True) for run in study.runs)
    )


def heading(study: Study) -> str:
    """A study's data set and the settings in which others differ."""
    name = study.dataset.split(":")[0].split(";")[0].strip() or "Runs"
    settings = ", ".join(f"{key.split('.')[-1]} {value}" for key, value in study.settings.items())
    return f"{name} ({settings})" if settings else name


def _settings(study: Study) -> str:
    seeds = sorted({len(system.runs) for system in study.systems})
    of_seeds = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    scale, flops = flops_scale(study.full_flops)
    text = f"{study.dataset}. {_count(len(study.runs), 'run')} of {_count(len(study.systems), 'system')}"
    text += f", {of_seeds} of each. " if len(study.runs) > 1 else ". "
    which = "largest network" if study.has_several_networks else "network"
    text += f"The {which} at full size takes {study.full_flops / scale:,.4g} {flops} per {per_of(study.unit)}"
    if study.fixed_flops and study.fixed_flops > 1e-3 * study.full_flops:
        text += f", of which {study.fixed_flops / scale:,.3g} are governed by no size"
    return f"{text}."


def _summary(sources: Sources, studies: Sequence[Study]) -> str:
    runs = sum(len(study.runs) for study in studies)
    logs, files, artifacts = len(sources.histories), len(sources.scores), len(sources.reports)
    counts = {"finished run": runs, "training log": logs, "score file": files, "artifact": artifacts}
    words = [_count(n, what) for what, n in counts.items() if n]
    text = f"Made from {', '.join(words)}."
    if sources.left_out:
        text += f" {left_out(sources.left_out)}."
    if studies or sources.reports or sources.histories:
        text += " FLOPs count all that runs, front end included; columns of another count say so."
    return text


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _first_seed(system: System) -> str:
    seed = system.runs[0].record.get("seed")
    return system.name if seed is None else f"{system.name}, seed {seed}"


def _history_chart(history: FitHistory) -> Chart:
    caption = f"{history.label}: {WIDTHS_CAPTION}"
    return Chart(history_figure(history), f"Sizes and cost over training, {history.label}", caption)


def _consolidated(report: Mapping[str, Any]) -> str:
    """What consolidation reported, in a sentence."""
    if not {"parameters", "parameters_before", "flops", "flops_before", "unit"} <= report.keys():
        return ""
    unit = "FLOPs per second" if report["unit"] == "flops_per_second" else "FLOPs per call"
    text = (
        f"{report['flops_before']:,.0f} → {report['flops']:,.0f} {unit}, {report['parameters_before']:,} → "
        f"{report['parameters']:,} parameters"
    )
    largest = report.get("largest_difference")
    return text + ("." if largest is None else f"; outputs of both networks within {largest:.2g}.")


def _by_configuration(system: System) -> list[list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in system.runs:
        found.setdefault(json.dumps(run.record["config"], sort_keys=True), []).append(run)
    return list(found.values())


def _configuration(system: System, runs: Sequence[Run]) -> Markup:
    """What a system's runs were told, and the commands that make them again."""
    config = runs[0].record["config"]
    seeds = ", ".join(str(run.record.get("seed")) for run in runs)
    text = json.dumps(config, indent=2, ensure_ascii=False)
    commands = "\n".join(dict.fromkeys(line for run in runs for line in _commands(run)))
    blocks = [tag("pre", tag("code", block)) for block in (commands, text) if block]
    mark = f" · {runs[0].record['config_hash']}" if runs[0].record["config_hash"] else ""
    return details(f"{system.name} · seeds {seeds}{mark}", *blocks)


def _commands(run: Run) -> list[str]:
    """Lines for a shell that make a run again; none where its record does not say."""
    record, config = run.record, run.record["config"]
    lines = [str(record["command"])] if "command" in record else []
    if "config_file" in record:
        lines += ["# or, by what it wrote down itself:", f"dyn-lightning fit -c {record['config_file']}"]
    elif not lines and {"model", "trainer"} <= config.keys():
        root = " --data.init_args.data_root DIR" if "data" in config else ""
        seed = "" if record.get("seed") is None else f" --seed_everything {record['seed']}"
        lines = ["# with what follows saved as config.json:", f"dyn-lightning fit -c config.json{root}{seed}"]
    return lines
