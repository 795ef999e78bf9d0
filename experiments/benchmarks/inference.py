"""Speed of inference on one CPU core: CRNNVAD at full size and at 6.25 % of its learnable FLOPs.

``python -m experiments.benchmarks.inference`` prints medians after a warm-up, of a minute at once and of one second
at a time (the latency of a live system), the front end's share included; and, in a fresh process each, wall time and
peak memory of ``predict_files`` on a long file. Weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from dyn_lightning.artifact import save_artifact
from dyn_lightning.inference import predict_files
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.stacked_rnn import StackedRNN

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


def median_ms(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call in milliseconds, after three calls to warm up."""
    times = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        function()
        if i >= 3:
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


@torch.inference_mode()
def speed(repeats: int, minute_s: float = 60.0) -> None:
    """Print the table of times and real-time factors."""
    minute, second = torch.randn(1, round(minute_s * SAMPLE_RATE)) / 10, torch.randn(1, SAMPLE_RATE) / 10
    rows: dict[str, tuple[float, float]] = {}
    for name, network in networks().items():
        for label, part in ((name, network), (f"{name}, front end alone", front_end(network))):
            rows[label] = (
                median_ms(lambda part=part: part(minute), max(5, repeats // 10)),  # type: ignore[misc]
                median_ms(lambda part=part: part(second), repeats),  # type: ignore[misc]
            )
    print(f"{'network':26}{'60 s, ms':>10}{'RTF':>10}{'faster':>8}{'1 s, ms':>10}{'faster':>8}")
    for name, (whole_ms, second_ms) in rows.items():
        of_whole, of_second = rows["full"][0] / whole_ms, rows["full"][1] / second_ms
        rtf = whole_ms / 1e3 / minute_s
        print(f"{name:26}{whole_ms:10.1f}{rtf:10.5f}{of_whole:7.1f}x{second_ms:10.2f}{of_second:7.1f}x")


def write_noise(path: Path, hours: float, rate: int) -> None:
    """Stereo noise of a level that changes every half minute, written piece by piece."""
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
        for _ in range(round(hours * 120)):
            level = 10 ** generator.uniform(-3, -1)
            file.write((level * generator.standard_normal((rate * 30, 2))).astype(np.float32))


def long_file(hours: float, rate: int) -> None:
    """Print wall time and peak memory of predict_files on a long file, each network in a process of its own."""
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


def predict_one(artifact: str, audio: str, out_dir: str) -> None:
    """Print wall time in seconds and peak resident memory in MiB."""
    start = time.perf_counter()
    result = predict_files(artifact, [audio], out_dir, frame_scores="npy")
    if result.exit_code or not result.exact:
        raise RuntimeError(result.summary())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.perf_counter() - start, peak_mib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=100, help="calls on one second of audio")
    parser.add_argument("--hours", type=float, default=1.0, help="length of the long file; 0 leaves it out")
    parser.add_argument("--rate", type=int, default=44100, help="sampling rate of the long file in Hz")
    parser.add_argument("--predict", nargs=3, metavar=("ARTIFACT", "AUDIO", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.predict:
        predict_one(*arguments.predict)
        return
    speed(arguments.repeats)
    if arguments.hours > 0:
        long_file(arguments.hours, arguments.rate)


if __name__ == "__main__":
    main()
