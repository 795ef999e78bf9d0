"""No command opens a connection or looks up a host by itself."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIT = [
    *(a for n in ("task/filter_bank", "dynamic/none", "trainer/cpu") for a in ("-c", f"{ROOT}/configs/{n}.yaml")),
    "--data.batch_size=4",
    "--data.batches_per_epoch=2",
    "--data.eval_batches=1",
    "--trainer.max_epochs=1",
]
SCRIPT = """
import os, socket, sys

def listen(event, args):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and args[0].family != socket.AF_UNIX):
        os.write(2, f"NETWORK {event} {args[:2]}\\n".encode())
        os._exit(9)
    if event == "import" and args[0] == "onnxruntime":
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1", "imported with its telemetry on"

sys.addaudithook(listen)
fit = sys.argv[1:]
sys.argv = ["dyn-lightning"]
import numpy as np, soundfile, torch
from dyn_lightning.cli import main
from dyn_lightning.artifact import save_artifact
from dyn_lightning.models.crnn_vad import CRNNVAD

main(["fit", *fit, "--results", "r.jsonl"])
main(["report", "r.jsonl"])
best = "runs/csv/version_0/checkpoints/best.ckpt"
main(["profile", "--ckpt_path", best, "--receptive_field=false"])
main(["consolidate", "--ckpt_path", best, "--exports", "[onnx]"])
save_artifact(CRNNVAD(20, 12, 10), "vad", metadata={"task": "FrameDetection", "threshold": 0.0})
soundfile.write("a.wav", np.zeros(16000), 16000)
main(["predict", "--artifact", "vad", "--audio", "a.wav"])
assert "onnxruntime" in sys.modules
"""


def test_no_socket_is_opened_from_import_to_export(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "WANDB_", "HF_"))}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *FIT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
