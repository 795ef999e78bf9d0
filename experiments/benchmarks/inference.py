"""Speed of inference on one CPU core: CRNNVAD at full size and at 6.25 % of its learnable FLOPs.

``python -m experiments.benchmarks.inference`` prints medians after a warm-up, of a minute at once and of one
second (the latency of a live system), with the front end's share beside them; and, in a fresh process each,
wall time and peak memory of ``predict_files`` on a short and a long file. Weights are random: they do not
change the time. Calls of all variants take turns, so that whatever else the machine does falls on all alike.
With the ``export`` extra there is a row for ONNX Runtime: PyTorch's GRU spends some 20 µs a frame and layer
on the CPU however small it is, which is most of what the small network takes.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from dyn_lightning.artifact import save_artifact
from dyn_lightning.exports.export import export_onnx, onnx_call
from dyn_lightning.inference import predict_files
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.modules.stacked_rnn import StackedRNN
from dyn_lightning.profiling.latency import median_latencies_s

SAMPLE_RATE = 16000
CHANNELS, HIDDEN_SIZES = 67, (45, 40)  # 6.25 % of the learnable FLOPs with 80 bands


def networks() -> dict[str, CRNNVAD]:
    """The network at full size, and as consolidation would leave it at 6.25 %."""
    small = CRNNVAD(channels=CHANNELS)
    small.gru = StackedRNN("GRU", CHANNELS, HIDDEN_SIZES, batch_first=True)  # type: ignore[assignment]
    small.linear = nn.Linear(HIDDEN_SIZES[-1], 1)
    return {"full": CRNNVAD().eval(), "6.25 %": small.eval()}


def front_end(network: CRNNVAD) -> nn.Sequential:
    """The part before the convolution, which no learned width governs but for the mel bands."""
    return nn.Sequential(network.spectrogram, network.mel, network.log, network.scaling)


@torch.inference_mode()
def speed(repeats: int, minute_s: float = 60.0) -> None:
    """Print the table of times and real-time factors."""

    forms: dict[str, Callable[[Tensor], Any]] = {}
    for name, network in networks().items():
        forms |= {name: network, f"{name}, front end alone": front_end(network)}
        if find_spec("onnxruntime") and find_spec("onnxscript"):
            forms[f"{name}, ONNX Runtime"] = onnx_form(network)

    def medians_ms(audio: Tensor, repeats: int) -> dict[str, float]:
        calls = {name: partial(_call, form, audio) for name, form in forms.items()}
        return {name: 1e3 * duration_s for name, duration_s in median_latencies_s(calls, repeats, warmup=1).items()}

    minute_ms = medians_ms(torch.randn(1, round(minute_s * SAMPLE_RATE)) / 10, max(5, repeats // 10))
    latency_ms = medians_ms(torch.randn(1, SAMPLE_RATE) / 10, repeats)
    print(f"{'network':26}{'60 s, ms':>10}{'RTF':>10}{'faster':>8}{'1 s, ms':>10}{'faster':>8}")
    for name in minute_ms:
        of_minute, of_second = minute_ms["full"] / minute_ms[name], latency_ms["full"] / latency_ms[name]
        rtf = minute_ms[name] / 1e3 / minute_s
        print(f"{name:26}{minute_ms[name]:10.1f}{rtf:10.5f}{of_minute:7.1f}x", end="")
        print(f"{latency_ms[name]:10.2f}{of_second:7.1f}x")


def onnx_form(network: nn.Module) -> Callable[[Tensor], Any]:
    """The network at any length in ONNX Runtime on one thread, whose recurrent layers cost less per frame."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, torch.randn(1, SAMPLE_RATE) / 10, path)
        return onnx_call(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


def _call(form: Callable[[Tensor], Any], audio: Tensor) -> None:
    form(audio)


def write_noise(path: Path, hours: float, rate: int) -> None:
    """Stereo noise of a level that changes every half minute, written piece by piece."""
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
        for _ in range(round(hours * 120)):
            level = 10 ** generator.uniform(-3, -1)
            file.write((level * generator.standard_normal((rate * 30, 2))).astype(np.float32))


def long_file(hours: float, rate: int) -> None:
    """Print wall time and peak memory of predict_files, each run in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_noise(folder / "long.wav", hours, rate)
        write_noise(folder / "short.wav", 1 / 60, rate)
        print(f"\n{'predict_files, stereo':26}{'hours':>8}{'Hz':>8}{'wall, s':>10}{'peak RSS, MiB':>16}")
        for i, (label, network) in enumerate(networks().items()):
            artifact = save_artifact(network, folder / f"artifact{i}", metadata={"threshold": 0.0})
            for file, length in (("short.wav", 1 / 60), ("long.wav", hours)):
                command = [sys.executable, "-m", "experiments.benchmarks.inference", "--predict"]
                command += [str(artifact), str(folder / file), str(folder / "out")]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                wall_s, peak_mib = map(float, done.stdout.split())
                print(f"{label:26}{length:8.2f}{rate:8d}{wall_s:10.1f}{peak_mib:16.0f}")


def peak_memory_mib() -> float:
    """Peak resident memory of this process; getrusage would count what its parent had when it was started."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def predict_one(artifact: str, audio: str, out_dir: str) -> None:
    """Print wall time in seconds and peak resident memory in MiB."""
    start = time.perf_counter()
    result = predict_files(artifact, [audio], out_dir, frame_scores="npy")
    if result.exit_code or not result.exact:
        raise RuntimeError(result.summary())
    peak_mib = peak_memory_mib()
    print(time.perf_counter() - start, peak_mib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=100, help="calls on one second of audio")
    parser.add_argument("--hours", type=float, default=1.0, help="length of the long file; 0 leaves it out")
    parser.add_argument("--rate", type=int, default=44100, help="sampling rate of the long file in Hz")
    parser.add_argument("--quick", action="store_true", help="two repeats, short audio, no file: does it run?")
    parser.add_argument("--predict", nargs=3, metavar=("ARTIFACT", "AUDIO", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.predict:
        predict_one(*arguments.predict)
        return
    if arguments.quick:
        speed(2, minute_s=2.0)
        return
    speed(arguments.repeats)
    if arguments.hours > 0:
        long_file(arguments.hours, arguments.rate)


if __name__ == "__main__":
    main()
