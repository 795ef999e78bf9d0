"""The page: its numbers, what it leaves out, that it is well formed, escaped, and needs nothing else."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from dyn_lightning.cli import main
from dyn_lightning.data.audio import DatasetError
from dyn_lightning.report.page import is_published, write_report
from dyn_lightning.report.sources import Published
from dyn_lightning.report.studies import studies_of
from dyn_lightning.report.style import STYLE

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;"
VOID = {"meta", "img", "br", "link", "hr", "input", "base", "source"}
EERS = {"full": (0.0512, 0.0633, 0.0571), "learned 25 %": (0.0701, 0.0652, 0.0618)}


class Reader(HTMLParser):
    """Checks that elements nest, and keeps what there is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words.append(data)
            if {"td", "th"} & set(self.stack):
                self.cells[-1][-1] += data

    def tags(self, *names: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag in names]

    def headings(self) -> list[str]:
        text = "".join(self.words)
        names = ["Detection errors", "Run folders", "What each layer kept", "Sizes and cost over training"]
        return [name for name in names if name in text]


@pytest.fixture
def page(tmp_path):
    def make(*paths, **options) -> Reader:
        out = tmp_path / "out" / "report.html"
        write_report(paths, out, **options)
        return Reader(out.read_text(encoding="utf-8"))

    return make


@pytest.fixture
def seeds(record, write):
    given = [
        record(name, seed, eer, flops=8e6 if name == "full" else 2e6)
        for name in EERS
        for seed, eer in enumerate(EERS[name])
    ]
    return write(*given)


def test_numbers_are_those_of_numpy_and_scipy(page, seeds, tmp_path):
    found = page(seeds)
    for name, eers in EERS.items():
        values = 100 * np.array(eers)
        low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
        (row,) = [cells for cells in found.cells if cells[0] == name and "[" in cells[2]]
        assert row[1] == "3"
        assert row[2] == f"{values.mean():.2f} ± {values.std(ddof=1):.2f} [{low:.2f}, {high:.2f}]"
    assert "6 runs of 2 systems, 3 of each" in "".join(found.words)
    with (tmp_path / "out" / "report.systems.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["system"] == "learned 25 %"]
    assert float(row["test_eer_percent"]) == pytest.approx(100 * np.mean(EERS["learned 25 %"]), rel=1e-12)
    assert float(row["percent_of_full"]) == 25.0


def test_everything_from_records_is_escaped(page, record, write, tmp_path):
    evil = {
        "config": {"system": EVIL, "note": EVIL},
        "config_hash": EVIL,
        "dataset": EVIL,
        "command": EVIL,
        "metrics": {"test/eer": 0.1, f"test/eer_{EVIL}": 0.1, f"test/eer_snr_db_{EVIL}": 0.1, f"val/{EVIL}": 0.1},
        "widths": {EVIL: [1, 2], "b": [2, 2]},
        "versions": {EVIL: EVIL},
        "history": {"step": [1, 2], f"width/{EVIL}/size": [2.0, 1.0], "width/b/size": [2.0, 2.0]},
    }
    records = [{**record(seed=seed), **evil} for seed in (0, 1)]
    records += [{**r, "config": {"system": f"{EVIL} 2", "note": EVIL}, "flops_per_second": 3e6} for r in records]
    folder = tmp_path / "<i>run"
    folder.mkdir()
    (folder / "config.yaml").write_text(f"note: {EVIL}\n")
    (folder / "report.json").write_text(json.dumps({"sizes": {EVIL: [1, 2]}, "layers": [{"name": EVIL}]}))
    (folder / "architecture.json").write_text("{}")
    (folder / "scores.txt").write_text("u1 - bonafide 2.0\nu2 <u>A07</u> spoof 1.0\n")
    found = page(write(*records), folder, title=EVIL)
    assert not found.tags("script", "img", "u", "i")
    assert not [attrs for _, attrs in found.elements if any(name.startswith("on") for name in attrs)]
    text = "".join(found.words)
    assert text.count(EVIL) > 20
    assert "<u>A07</u>" in text


def test_page_needs_nothing_else(page, seeds, tmp_path):
    found = page(seeds)
    assert not found.tags("script", "link", "img", "iframe", "object", "embed", "image", "base", "source")
    text = (tmp_path / "out" / "report.html").read_text()
    assert not re.findall(r"https?:|@import|url\((?!#)", text)
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    files = {path.name for path in (tmp_path / "out").iterdir()}
    for attrs in found.tags("a", "use"):
        target = attrs["href"]
        assert target[1:] in ids if target.startswith("#") else target in files
    for attrs in found.tags("svg"):
        assert attrs["role"] == "img"
        assert set(attrs["aria-labelledby"].split()) <= set(ids)


def test_it_is_readable_on_any_screen(page, seeds):
    found = page(seeds)
    assert found.tags("html")[0]["lang"] == "en"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.tags("meta")
    assert len(found.tags("table")) == sum(attrs.get("class") == "scroll" for attrs in found.tags("div"))


def test_parts_without_data_are_left_out(page, record, write, tmp_path):
    lone = {**record("full", widths={}), "metrics": {"test/eer": 0.1}, "versions": {}}
    found = page(write(lone))
    assert found.headings() == []
    assert not found.tags("svg")
    assert "signal-to-noise" not in "".join(found.words)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html",
        "report.systems.csv",
        "report.runs.csv",
    }


def test_parts_with_data_are_there(page, record, write, tmp_path):
    history = {"step": [1.0, 2.0], "width/conv/size": [8.0, 4.0]}
    results = write(record(history=history), record("full", flops=8e6))
    (tmp_path / "eval.txt").write_text("u1 - bonafide 2.0\nu2 A07 spoof 1.0\nu3 A07 spoof 3.0\n")
    (tmp_path / "metrics.csv").write_text("step,width/conv/size\n1,8\n2,4\n")
    found = page(results, tmp_path / "eval.txt", tmp_path / "metrics.csv")
    assert found.headings() == [
        "Detection errors",
        "Run folders",
        "What each layer kept",
        "Sizes and cost over training",
    ]
    captions = re.findall(r"Figure (\d+)\.", "".join(found.words))
    assert captions == ["1", "2", "3", "4", "5"]
    assert len(found.tags("svg")) == 5
    assert (tmp_path / "out" / "report.scores.csv").read_text().splitlines()[0] == (
        "scores,n_bonafide,n_spoof,eer_percent,A07"
    )


def test_score_files_alone_are_enough(page, tmp_path):
    (tmp_path / "eval.txt").write_text("u1 - bonafide 2.0\nu2 - spoof 1.0\n")
    assert page(tmp_path / "eval.txt").headings() == ["Detection errors"]


@pytest.mark.parametrize(
    ("dataset", "claim", "same"),
    [
        ("ASVspoof2019 LA: train 2580 + 22800", {"published_corpus": True}, True),
        ("ASVspoof2019 LA", {}, True),
        ("ASVspoof2019 LA: train 2580 + 22800", {"published_corpus": False}, False),
        ("MiniSpoof, which is not ASVspoof2019 LA: train 155 + 228", {}, False),
    ],
)
def test_published_points_are_of_data_of_one_name(record, runs, dataset, claim, same):
    (study,) = studies_of(runs(record(dataset=dataset), record(seed=1, dataset=dataset, **claim)))
    assert is_published(study, Published("ASVspoof2019 LA", "ResNet34", 5.64e9, 6.26)) == same


def test_published_points_lie_over_their_own_data_alone(page, record, write, tmp_path):
    results = write(*(record(n, dataset=d, flops=f) for d in ("LA: 3", "Mini") for n, f in (("a", 1e6), ("b", 2e6))))
    (tmp_path / "published.csv").write_text("dataset,model,gflops,eer_percent\nLA,ResNet34,5.64,6.26\n")
    found = page(results, published=tmp_path / "published.csv")
    assert found.words.count("published") == 1  # in the legend of one of two figures
    assert "".join(found.words).count("Crosses: published results") == 2  # description and caption of the same
    # an EER of a test is nothing to compare other metrics with
    other = page(results, published=tmp_path / "published.csv", metrics=["val/eer", "test/loss"])
    assert "published" not in other.words


def test_published_costs_of_another_count_are_in_a_figure_of_their_own(page, record, write, tmp_path):
    costs = (("a", 80e6, 2e6), ("b", 77e6, 1e6))
    results = write(*(record(n, dataset="LA: 3", flops=f, flops_per_second_published=p) for n, f, p in costs))
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(f"dataset,model,mflops,eer_percent,note\nLA,x,2.25,9.01,Of {name}.\n")
    plain = page(results)
    found = page(results, published=[tmp_path / "one.csv", tmp_path / "two.csv"])
    assert len(found.tags("svg")) == len(plain.tags("svg")) + 1
    assert found.words.count("published") == 1
    text = "".join(found.words)
    assert "All other points are of the same count here" in text
    assert "Of one. Of two." in text


def test_how_runs_were_made_and_how_to_make_them_again(page, record, write):
    config = {"model": {"lr": 0.1}, "trainer": {"max_epochs": 2}, "data": {"class_path": "Toy"}}
    fit = {**record(None, seed=3), "config": config}
    made = {"command": "python -m study.run --lr 1", "device": "Some CPU", "revision": "abc-dirty", "threads": 2}
    of_fit = {**fit, "seed": 4, "command": "dyn-lightning fit -c a.yaml", "config_file": "runs/version_0/config.yaml"}
    found = page(write(record(seed=0, **made), record(seed=1, **made), fit, of_fit))
    text = "".join(found.words)
    assert "learned 25 % · seeds 0, 1 · 0123456789ab" in text
    assert "dyn-lightning fit -c config.json --data.init_args.data_root DIR --seed_everything 3" in text
    assert json.dumps(config, indent=2) in text
    blocks = "".join(found.words).split("seeds 3")[1]
    assert "dyn-lightning fit -c a.yaml\n# or, by what it wrote down itself:\n" in blocks
    assert "dyn-lightning fit -c runs/version_0/config.yaml" in blocks
    assert text.count("python -m study.run --lr 1") == 2  # in the table of commands, and once for both seeds
    assert ["2", "3.11.7", "2.11.0", "abc-dirty", "Some CPU", "2"] in found.cells


def test_a_page_is_the_same_twice_and_nothing_else_is_left(seeds, tmp_path):
    out = tmp_path / "out" / "report.html"
    written = write_report([seeds], out)
    first = {path: path.read_bytes() for path in written}
    assert write_report([seeds], out) == written
    assert {path: path.read_bytes() for path in out.parent.iterdir()} == first


def test_nothing_is_written_where_something_is_wrong(record, write, tmp_path):
    path = write(record())
    path.write_text(path.read_text() + '{"metrics": 3}\n')
    out = tmp_path / "out" / "report.html"
    with pytest.raises(DatasetError, match=r"results\.jsonl, line 2"):
        write_report([path], out)
    with pytest.raises(DatasetError, match="no run has test/wer; there are: test/eer, test/loss, val/eer"):
        write_report([write(record())], out, metrics=["test/wer"])
    assert not out.parent.exists()


def test_command(seeds, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(seeds), "--out", str(out), "--title", "Mine", "--metrics", "val/eer"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(out)
    assert "<h1>Mine</h1>" in out.read_text()
    assert "EER (%), val" in out.read_text()
    assert "EER (%), test" not in out.read_text()
    with pytest.raises(SystemExit, match=r"nowhere\.jsonl: no such file"):
        main(["report", str(tmp_path / "nowhere.jsonl"), "--out", str(tmp_path / "other.html")])


def test_the_edge_of_a_table_shows_that_it_goes_on():
    """A shadow at the edge that is hidden where the table ends, and a bar that does not vanish."""
    rule = STYLE.partition(".scroll {")[2].partition("}")[0]
    assert rule.count("local") == 2
    assert rule.count("scroll,") + rule.count("scroll;") == 2
    assert "scrollbar-width: thin" in rule
