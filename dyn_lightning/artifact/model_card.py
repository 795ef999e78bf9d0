"""The README.md of an artifact: what the network is, what it costs, how well it does, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

_UNITS = {"flops_per_second": "FLOPs per second of audio", "flops_per_call": "FLOPs per call"}
_LOADING = """```python
from dyn_lightning.artifact import load_artifact

network, metadata = load_artifact("{folder}")  # in evaluation mode; device="cuda" puts it on a GPU
```
"""


def model_card(small: nn.Module, document: Mapping[str, Any], report: Mapping[str, Any], files: Sequence[str]) -> str:
    """Markdown with the header that model hubs read.

    Args:
        small: the network.
        document: content of ``architecture.json``.
        report: content of ``report.json``: ``Report.as_dict()`` and, where known, ``metrics``; may be empty.
        files: names of the artifact's files.
    """
    name, metadata = type(small).__name__, document["metadata"]
    lines = ["---", "library_name: dyn_lightning", "tags:", "- pytorch", "- audio", "---", f"# {name}", ""]
    task = f" for {metadata['task']}" if "task" in metadata else ""
    lines += [f"A plain PyTorch network{task}, its layer sizes learned in training by dyn_lightning.", ""]
    lines += [line for remark in report.get("remarks", ()) for line in (f"**{remark}**", "")]
    lines += _cost(small, report)
    if sizes := report.get("sizes"):
        rows = [[f"`{k}`", full, kept, f"{100 * kept / full:.0f} %"] for k, (kept, full) in sizes.items()]
        lines += ["## Sizes", "", *_table(["size", "full", "kept", ""], rows), ""]
    if metrics := report.get("metrics"):
        lines += ["## Metrics", "", *_table(["metric", "value"], [[f"`{k}`", f"{v:.4g}"] for k, v in metrics.items()])]
        lines += [""]
    lines += ["## Input and output", "", *_input(metadata), ""]
    lines += ["## Loading", "", _LOADING.format(folder=".")]
    lines += _how_it_loads(document, files)
    versions = ", ".join(f"{k} {v}" for k, v in metadata.get("versions", {}).items())
    lines += ["", "## Files", "", *(f"- `{file}`: {_FILES[file]}" for file in files if file in _FILES), ""]
    return "\n".join([*lines, f"Written with {versions}.", ""])


_FILES = {
    "model.safetensors": "weights",
    "architecture.json": "class, layers, and what inference needs",
    "report.json": "sizes and cost of every layer before and after, metrics",
    "program.json": "the network's calls, from which it loads without its class",
    "program.safetensors": "constants of these calls",
    "model.int8.safetensors": "weights in int8, for `load_artifact(…, int8=True)` on a CPU",
    "model.onnx": "for ONNX Runtime; batch and time are open",
    "model.pt2": "for `torch.export.load`, which runs code that such a file may hold: only for files that you trust",
}


def _cost(small: nn.Module, report: Mapping[str, Any]) -> list[str]:
    parameters = sum(p.numel() for p in small.parameters())
    unit = _UNITS.get(str(report.get("unit")), "FLOPs")
    labels = {"parameters": "parameters", "flops": unit, "flops_paper": f"{unit}, the paper's convention"}
    rows = []
    for key, label in labels.items():
        before, after = report.get(f"{key}_before"), report.get(key)
        if before and after is not None:
            rows.append([label, f"{before:,.0f}", f"{after:,.0f}", f"{100 * after / before:.1f} %"])
    if not rows:
        return [f"Parameters: {parameters:,}.", ""]
    difference = report.get("largest_relative_difference")
    shares = _shares(report, unit)
    lines = ["## Cost", "", *_table(["", "before", "now", "kept"], rows), "", *shares]
    if difference is not None:
        lines += [f"Largest difference from the network that was trained: {difference:.1e} of the largest output.", ""]
    return lines


def _shares(report: Mapping[str, Any], unit: str) -> list[str]:
    """What was asked for and what is kept, of all and of what the sizes govern."""
    if report.get("share_of_learnable") is None:
        return []
    told = f"{100 * report['share_of_all']:.1f} % of all FLOPs and {100 * report['share_of_learnable']:.1f} % of those "
    told += "that the sizes govern are kept"
    if (budget := report.get("budget")) is not None:
        asked = f" ({report['budget_asked']})" if report.get("budget_asked") else ""
        told += f"; the budget was {budget:,.0f} {unit}{asked}"
    elif report.get("budget_asked"):
        told += f"; the budget was {report['budget_asked']}"
    return [f"{told}.", ""]


def _input(metadata: Mapping[str, Any]) -> list[str]:
    known = {
        "sample_rate": "sampling rate: {} Hz",
        "n_fft": "STFT window: {} samples",
        "hop_length": "from frame to frame: {} samples",
        "first_frame_centre_s": "centre of the first output frame: {:.4g} s",
        "threshold": "decision threshold: {:.6g}",
        "labels": "labels: {}",
        "n_samples": "utterances are cut to, or repeated up to, {} samples",
    }
    if metadata.get("threshold_measured") is False:
        known["threshold"] += " (not measured on this network)"
    lines = _contract(metadata)
    lines += [f"- {text.format(metadata[key])}" for key, text in known.items() if metadata.get(key) is not None]
    return lines or ["As the network's class says."]


def _contract(metadata: Mapping[str, Any]) -> list[str]:
    """Names, shapes, types, range and least length, as far as the artifact's metadata say."""
    lines, rate = [], metadata.get("sample_rate")
    for what in ("inputs", "outputs"):
        for entry in metadata.get(what, ()):
            shape = ", ".join(map(str, entry["shape"]))
            text = f"- {what.removesuffix('s')} `{entry['name']}`: ({shape}) in {entry['dtype']}"
            lines.append(f"{text}, one channel in [−1, 1]" if entry["name"] == "audio" else text)
    if (least := metadata.get("minimum_length")) is not None:
        of_audio = metadata["inputs"][0]["name"] == "audio"
        time = f" ({1e3 * least / rate:.3g} ms)" if of_audio and rate else ""
        lines.append(
            f"- shortest {'audio' if of_audio else 'input'}: {least} {'samples' if of_audio else 'frames'}{time}"
        )
    if lines:
        lines.append("- state: none, each call begins anew; `FrameByFrame` takes a causal network frame by frame")
    if rate and metadata.get("hop_length"):
        lines.append(f"- output frames: {rate / metadata['hop_length']:.4g} a second")
    return lines


def _how_it_loads(document: Mapping[str, Any], files: Sequence[str]) -> list[str]:
    entry = document["backbone"]
    made_by = f"The class is `{entry['class_path']}`." if entry else "Its class cannot be made from arguments alone."
    if "program.json" in files:
        return [f"{made_by} Where it is not at hand, the network loads from `program.json`, for evaluation."]
    return [f"{made_by} If it is of another package: pass `trusted=True`, or an instance of it as `backbone=`."]


def _table(header: Sequence[object], rows: Sequence[Sequence[Any]]) -> list[str]:
    return ["| " + " | ".join(map(str, row)) + " |" for row in (header, ["---"] * len(header), *rows)]
