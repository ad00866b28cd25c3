"""Processes and devices: leases, a kill, two trainings at once, and images that the device decodes."""

import io
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tessera.devices import _CLUSTER_JOBS

ROOT = Path(__file__).parents[2]

TRAIN = """
import hashlib, os, signal, sys
from pathlib import Path
import torch
from tessera.devices import lease
with lease(sys.argv[1]) as leased:
    print("leased", leased.id, flush=True)
    import gpu_cases
    from tessera.multitask import pretrain as pretraining
    from tessera.training.checkpoint import Checkpoint
    from tessera.training.compute import Compute, repeat_exactly
    torch.set_num_threads(1)
    device = torch.device(leased.type)
    repeat_exactly(device)

    class Mortal(Checkpoint):
        def save(self, state, reached=""):
            super().save(state, reached)
            os.kill(os.getpid(), signal.SIGKILL)

    if sys.argv[3] == "killed":
        pretraining.Checkpoint = Mortal
    if sys.argv[3] == "held":
        print("computed", float(torch.ones(4, device=device).sum()), flush=True)
        sys.stdin.readline()
        sys.exit()
    source = gpu_cases.source(schedule="joint", epochs=3)
    data = gpu_cases.dataset(device)
    resume = Path(sys.argv[2]) if sys.argv[2] else None
    found = pretraining.pretrain(source, data, {}, Compute(device), 0, resume)
    state = found.encoder.state_dict()
    digest = hashlib.sha256(b"".join(state[name].cpu().numpy().tobytes() for name in sorted(state)))
    print("sha", digest.hexdigest(), flush=True)
"""


@pytest.fixture
def start(tmp_path: Path, device: torch.device) -> Any:
    """Starts a process that leases the device; keywords are variables of its environment."""
    begun: list[subprocess.Popen[str]] = []

    def run(how: str = "", resume: str = "", leases: str = "leases") -> "subprocess.Popen[str]":
        own = os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join([*map(str, (ROOT / "workflow", ROOT / "tests", ROOT / "tests" / "gpu")), own])
        # In a cluster's job nothing is leased: the cluster has done that.
        of = dict.fromkeys(_CLUSTER_JOBS, "") | {
            "PYTHONPATH": path,
            "TESSERA_LEASE_DIR": str(tmp_path / leases),
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        command = [sys.executable, "-W", "ignore", "-c", TRAIN, device.type, resume, how]
        process = subprocess.Popen(
            command, env={**os.environ, **of}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]", word: str) -> str:
    """What a process says after this word."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise AssertionError(f"a process ended with code {process.wait()} before it said `{word}`")


def test_a_killed_process_s_training_goes_on_to_the_same_bytes(start: Any, tmp_path: Path) -> None:
    folder = tmp_path / "resume" / "job-0" / "state"
    whole = said(start(), "sha")
    killed = start("killed", str(folder))
    assert killed.wait(100) == -9
    assert list(folder.glob("*.pt"))
    assert said(start("", str(folder)), "sha") == whole


def test_two_processes_that_share_a_device_compute_what_one_does(start: Any) -> None:
    """Each has leases of its own, so that neither waits for the other."""
    both = [start(leases=name) for name in ("one", "other")]
    assert len({said(process, "sha") for process in both}) == 1


def test_a_second_process_waits_for_the_lease_of_the_first(start: Any, device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("a processor is not leased")
    if torch.cuda.device_count() != 1:
        pytest.skip("there are several GPUs: none would wait")
    first = start("held")
    assert said(first, "computed") == "4.0"
    second = start("held")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(10)
    assert second.stdout is not None
    assert not select.select([second.stdout], [], [], 0)[0]  # it has leased nothing yet
    first.communicate("\n", timeout=60)
    assert said(second, "computed") == "4.0"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torchvision's, on where decoding will be found
def test_the_device_decodes_nearly_as_a_processor_does(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("nvJPEG is a GPU's")
    import numpy as np
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg

    grid = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(grid).resize((64, 48), Image.Resampling.BICUBIC).save(
        file,
        "jpeg",
        quality=90,
        subsampling=0,  # decoders differ most in how they enlarge colours
    )
    encoded = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    try:
        (found,) = decode_jpeg([encoded], mode=ImageReadMode.RGB, device=device)
    except RuntimeError as error:
        pytest.skip(f"torchvision's build does not decode on a GPU: {str(error)[:200]}")
    right = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)
    assert found.device.type == "cuda"
    assert (found.cpu().int() - right.int()).abs().float().mean() < 4


def test_memory_of_the_device_is_given_back_after_a_training(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("counts a GPU's memory")
    import gc

    import gpu_cases

    from tessera.multitask.pretrain import pretrain
    from tessera.training.compute import Compute

    def train() -> int:
        pretrain(gpu_cases.source(schedule="joint"), gpu_cases.dataset(device), {}, Compute(device), 0, None)
        gc.collect()
        return torch.cuda.memory_allocated(device)

    train()
    first = train()
    assert train() <= first + 2**20
