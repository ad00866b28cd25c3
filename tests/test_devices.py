"""Devices: every job has one to itself, however many want one and however they end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tessera import devices
from tessera.devices import lease, parse_listing, visible_devices
from tessera.errors import TesseraError

Process = subprocess.Popen[str]
Hold = Callable[..., Process]

HOLD = """
import sys, time
from tessera.devices import lease
with lease("auto", int(sys.argv[2])) as device:
    print(device.id, flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_LEASE_DIR", str(tmp_path / "leases"))
    for name in ("CUDA_VISIBLE_DEVICES", "TESSERA_PRETEND_GPUS", "TESSERA_GPUS", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "")  # so that what a lease sets is undone as well
        monkeypatch.delenv(name)


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts a process that leases devices, prints their ids, and holds them for so many seconds."""
    package = str(Path(devices.__file__).parent.parent)
    with ExitStack() as stack:

        def start(seconds: float, number: int = 1) -> Process:
            command = [sys.executable, "-c", HOLD, str(seconds), str(number)]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": package}
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def leased(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_sixteen_jobs_share_four_devices_and_never_one_device(
    hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_PRETEND_GPUS", "4")
    jobs = [hold(0.3) for _ in range(16)]
    assert {leased(job) for job in jobs} == {"0", "1", "2", "3"}
    assert [job.wait() for job in jobs] == [0] * 16
    lines = (tmp_path / "leases" / "journal.jsonl").read_text().splitlines()
    events = sorted((json.loads(line) for line in lines), key=lambda event: event["time"])
    assert len(events) == 32
    holder: dict[str, int | None] = {}
    most_at_once = 0
    for event in events:
        if event["event"] == "taken":
            assert holder.get(event["device"]) is None, "two jobs had one device"
            holder[event["device"]] = event["pid"]
        else:
            assert holder[event["device"]] == event["pid"]
            holder[event["device"]] = None
        most_at_once = max(most_at_once, sum(pid is not None for pid in holder.values()))
    assert most_at_once > 1


def test_a_killed_holder_frees_its_device(hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_PRETEND_GPUS", "1")
    holder = hold(600)
    assert leased(holder) == "0"
    waiting = hold(0)
    time.sleep(0.3)
    assert waiting.poll() is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert leased(waiting) == "0"
    assert waiting.wait() == 0


def test_jobs_with_several_devices_never_share_one_nor_wait_for_each_other_for_ever(
    hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_PRETEND_GPUS", "3")
    jobs = [hold(0.2, number) for number in (2, 3, 1, 2, 1, 2)]
    sets = [set(leased(job).split(",")) for job in jobs]
    assert [len(taken) for taken in sets] == [2, 3, 1, 2, 1, 2]
    assert [job.wait() for job in jobs] == [0] * 6
    lines = (tmp_path / "leases" / "journal.jsonl").read_text().splitlines()
    held: set[str] = set()
    for event in sorted((json.loads(line) for line in lines), key=lambda event: event["time"]):
        assert (event["device"] in held) == (event["event"] == "freed")
        held ^= {event["device"]}
    assert len(lines) == 2 * 11
    assert not held


def test_several_devices_are_all_made_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-aa,7")
    with lease("auto") as one:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-aa,7")
        with lease("auto", 2) as two:
            assert (one.id, two.id, two.number) == ("5", "GPU-aa,7", 2)
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aa,7"


def test_more_devices_than_there_are_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(TesseraError, match=r"`gpus: 4`, but 2 can be seen here. Lower `gpus`"), lease("auto", 4):
        pass
    with lease("cpu", 4) as device:
        assert device == devices.CPU


def test_devices_that_the_cluster_assigned_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with lease("auto", 2) as device:
        assert (device.id, device.number) == ("0,1", 2)
    assert not (tmp_path / "leases").exists()


def test_the_visible_devices_are_leased_by_their_own_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-aa")
    with lease("auto") as first:
        assert (first.type, first.id) == ("cuda", "5")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-aa")
        with lease("cuda") as second:
            assert second.id == "GPU-aa"


def test_a_device_that_the_cluster_assigned_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with lease("auto") as first, lease("auto") as second:  # another job's device 0 is another device
        assert first.id == second.id == "0"
    assert not (tmp_path / "leases").exists()


def test_each_cluster_job_has_leases_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESSERA_LEASE_DIR")
    assert devices.lease_dir().name == f"tessera-leases-{os.getuid()}"
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert devices.lease_dir().name == f"tessera-leases-{os.getuid()}-17"


@pytest.mark.parametrize("wanted", ["cpu", "auto"])
def test_the_processor_is_nobodys(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1" if wanted == "cpu" else "")
    with lease(wanted) as device:
        assert device == devices.CPU
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert not (tmp_path / "leases").exists()


def test_cuda_without_a_gpu_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(TesseraError, match=r"no GPU is visible here. Set `device: auto`"), lease("cuda"):
        pass


@pytest.mark.parametrize(
    ("value", "ids"),
    [("", []), ("-1", []), ("0", ["0"]), ("1, 3", ["1", "3"]), ("2,-1,3", ["2"]), ("GPU-a", ["GPU-a"])],
)
def test_ids_in_cuda_visible_devices(value: str, ids: list[str]) -> None:
    assert visible_devices({"CUDA_VISIBLE_DEVICES": value}) == ids


def test_a_gpu_in_slices_counts_by_its_slices() -> None:
    listing = """GPU 0: NVIDIA H100 (UUID: GPU-a)
  MIG 1g.10gb     Device  0: (UUID: MIG-1)
  MIG 1g.10gb     Device  1: (UUID: MIG-2)
GPU 1: NVIDIA H100 (UUID: GPU-b)
"""
    assert parse_listing(listing) == ["MIG-1", "MIG-2", "GPU-b"]


def test_a_pretended_number_must_be_one() -> None:
    with pytest.raises(TesseraError, match="TESSERA_PRETEND_GPUS should be a number of GPUs, but is 'four'"):
        visible_devices({"TESSERA_PRETEND_GPUS": "four"})


@pytest.mark.parametrize(
    ("requested", "visible", "words"),
    [
        ("1", "", "asked the cluster for 1 GPU, but sees none"),
        ("2", "0", "asked the cluster for 2 GPUs, but sees 1"),
    ],
)
def test_a_job_that_sees_fewer_gpus_than_the_cluster_was_asked_for_ends(
    requested: str, visible: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_GPUS", requested)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(TesseraError, match=rf"{words}: .*slurm_partition.*`device: cpu`"), lease("auto"):
        pass
    # Who says so computes on a processor; and so does a machine of one's own without a GPU.
    with lease("cpu") as device:
        assert device == devices.CPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for none in ("0", ""):
        monkeypatch.setenv("TESSERA_GPUS", none)
        with lease("auto") as device:
            assert device == devices.CPU
