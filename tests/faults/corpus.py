"""Changes to artifacts that once crashed or hung, kept as what is changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Hostile:
    """A changed artifact.

    Attributes:
        seed: name of the sound one.
        file: that is changed.
        put: what the last call becomes (of ``program.json``), or path → value (of ``architecture.json``).
    """

    seed: str
    put: dict[str, Any]
    file: str = "program.json"


def call(function: str, *args: Any, **kwargs: Any) -> Hostile:
    """The first call of the network of many calls becomes another; ``X`` stands for its input (2, 9, 8)."""
    return Hostile("mixed", {"function": function, "args": list(args), "kwargs": kwargs})


X: Any = {"result": "x"}
ONE = {"result": "p_conv_weight"}  # (4, 1, 3, 3)
CORPUS = (
    call("aten.to.dtype", X, -2),
    call("aten.to.dtype", X, {"dtype": "quint8"}),
    call("aten._to_copy.default", X, dtype=99),
    call("aten._to_copy.default", X, layout=2),
    call("aten.zeros.default", [2, 2], pin_memory=True),
    call("aten.reflection_pad2d_backward.default", X, X, []),
    call("aten.reflection_pad2d.default", X, []),
    call("aten.replication_pad3d.default", X, []),
    call("pow", 7, 10**8),
    call("mul", 10**18, 10**18),
    call("mul", [1, 2, 3], 10**9),
    call("add", X, X),
    call("getitem", X, 0),
    call("aten.zeros.default", [2**20, 2**20]),
    call("aten.arange.default", 10**12),
    call("aten.eye.default", 10**6),
    call("aten.repeat.default", X, [1000, 1000, 1000]),
    call("aten.one_hot.default", X, 10**12),
    call("aten.repeat_interleave.self_int", X, 10**10),
    call("aten.constant_pad_nd.default", X, [0, 10**10], 0.0),
    call("aten.upsample_nearest1d.vec", X, [10**10], None),
    call("aten.einsum.default", "ab,cd,ac,bd->", [ONE, ONE, ONE, ONE]),
    call("aten.as_strided.default", X, [10], [1], 10**9),
    call("aten.from_file.default", "/etc/passwd"),
    call("aten.set_.source_Tensor", X, X),
    call("aten.embedding.default", ONE, X),
    call("aten.native_group_norm.default", X, None, None, 2, 10**6, 8, 1, 1e-5),
    call("aten._native_batch_norm_legit_no_training.default", ONE, None, None, X, X, 0.1, 1e-5),
    call("aten._embedding_bag.default", ONE, X, X, False, 77),
    call("aten._fft_c2r.default", X, [0], 77, 10**9),
    Hostile("own", {"backbone/init_args/n_mels": 10**9}, "architecture.json"),
    Hostile("own", {"backbone/init_args/hidden_size": 10**5}, "architecture.json"),
    Hostile("own", {"backbone/init_args/n_fft": 2**40}, "architecture.json"),
    Hostile("own", {"modules/conv/options/padding": 10**9}, "architecture.json"),
    Hostile("own", {"modules/linear/options/in_features": 10**9}, "architecture.json"),
    Hostile("own", {"metadata/hop_length": 0}, "architecture.json"),
    Hostile("own", {"metadata/sample_rate": "16000"}, "architecture.json"),
    Hostile("own", {"metadata/threshold": None, "metadata/labels": 3}, "architecture.json"),
    Hostile("own", {"backbone/class_path": "dyn_lightning.artifact.load_artifact"}, "architecture.json"),
)


def apply(hostile: Hostile, seeds: Path, folder: Path) -> str:
    """Write a changed copy of a seed to a folder; what was changed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seeds / hostile.seed, folder)
    path = folder / hostile.file
    document = json.loads(path.read_text())
    if hostile.file == "program.json":
        inputs, first = document["inputs"], document["calls"][0]
        first |= json.loads(json.dumps(hostile.put).replace('{"result": "x"}', json.dumps({"result": inputs[0]})))
    else:
        for place, value in hostile.put.items():
            *parts, last = place.split("/")
            holder = document
            for part in parts:
                holder = holder.setdefault(part, {})
            holder[last] = value
    path.write_text(json.dumps(document))
    return f"{hostile.file}: {json.dumps(hostile.put)}"
