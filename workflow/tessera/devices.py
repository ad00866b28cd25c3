"""Which devices are there, and which a job may have to itself. Never imports torch.

Snakemake counts GPUs but hands out no index, so a job leases one, or several: a lock file a device, held while the job
lives. The kernel frees the lock however the process ends.
"""

import json
import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tessera.errors import TesseraError

log = logging.getLogger("tessera")

PRETEND = "TESSERA_PRETEND_GPUS"
LEASE_DIR = "TESSERA_LEASE_DIR"
REQUESTED = "TESSERA_GPUS"  # what the rules asked a cluster for; 0 or absent where jobs run on the machine itself
_POLL_S = 0.2


@dataclass(frozen=True)
class Device:
    """What a job computes on.

    Attributes:
        type: `cuda` or `cpu`, as torch names it.
        id: The leased device: index or UUID; of several, all, with commas between them; None on a processor.
        pretended: True where TESSERA_PRETEND_GPUS made the device up: it is leased, but the processor computes.
        number: How many were leased.
    """

    type: str
    id: str | None = None
    pretended: bool = False
    number: int = 1


CPU = Device("cpu")


def visible_devices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Ids of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them.

    >>> visible_devices({"CUDA_VISIBLE_DEVICES": "2,3"})
    ['2', '3']
    >>> visible_devices({"TESSERA_PRETEND_GPUS": "2"})
    ['0', '1']
    """
    if PRETEND in environment:
        return [str(index) for index in range(_pretended(environment))]
    if "CUDA_VISIBLE_DEVICES" in environment:
        ids = [word.strip() for word in environment["CUDA_VISIBLE_DEVICES"].split(",")]
        end = next((i for i, word in enumerate(ids) if word in ("", "-1", "NoDevFiles")), len(ids))
        return ids[:end]  # CUDA too stops at the first invalid id
    return _installed_devices()


def num_devices() -> int:
    """How many GPUs there are: the default of Snakemake's resource `gpu`."""
    return len(visible_devices())


def lease_dir() -> Path:
    """Folder of the lock files: one for each user and, within a cluster job, for each cluster job."""
    if folder := os.environ.get(LEASE_DIR):
        return Path(folder)
    cluster_job = next((os.environ[name] for name in _CLUSTER_JOBS if os.environ.get(name)), "")
    words = ["tessera-leases", str(os.getuid()), re.sub(r"\W", "_", cluster_job)]
    return Path(tempfile.gettempdir()) / "-".join(filter(None, words))


_CLUSTER_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


@contextmanager
def lease(wanted: str, number: int = 1) -> Iterator[Device]:
    """Devices for this process alone, until the block or the process ends; waits while too many are taken.

    Sets CUDA_VISIBLE_DEVICES, so it must come before the first use of CUDA.

    Args:
        wanted: `auto` (GPUs where there are any), `cuda` or `cpu`.
        number: How many GPUs; a processor is always one.

    Raises:
        TesseraError: If `cuda` is wanted and there is no GPU, or there are GPUs, but too few; also where a cluster gave
            fewer than it was asked for, so that no training is sent to a processor in silence.
    """
    ids = [] if wanted == "cpu" else visible_devices()
    if wanted != "cpu":
        _check_given(len(ids), os.environ)
    if not ids:
        if wanted == "cuda":
            raise TesseraError("`device: cuda`, but no GPU is visible here. Set `device: auto` in config/config.yaml.")
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        yield CPU
        return
    if len(ids) < number:
        raise TesseraError(f"`gpus: {number}`, but {len(ids)} can be seen here. Lower `gpus` in config/config.yaml.")
    pretended = PRETEND in os.environ
    if not pretended and len(ids) == number and any(os.environ.get(name) for name in _CLUSTER_JOBS):
        # The cluster gave this job its devices. Cgroups number them from 0 in every job: a lock named 0 would be wrong.
        log.info("GPU %s, assigned by the cluster", ",".join(ids), extra={"device": ",".join(ids)})
        yield Device("cuda", ",".join(ids), number=number)
        return
    with ExitStack() as locks:
        taken = _take(ids, number, locks)
        names = ",".join(taken)
        os.environ["CUDA_VISIBLE_DEVICES"] = "" if pretended else names
        log.info("GPU %s leased%s", names, " (pretended)" if pretended else "", extra={"device": names})
        for device_id in taken if pretended else []:
            _note("taken", device_id)
            locks.callback(_note, "freed", device_id)
        yield Device("cpu" if pretended else "cuda", names, pretended, number)


def _check_given(seen: int, environment: Mapping[str, str]) -> None:
    requested = int(environment.get(REQUESTED) or 0)
    if seen < requested:
        gpus = "1 GPU" if requested == 1 else f"{requested} GPUs"
        raise TesseraError(
            f"this job asked the cluster for {gpus}, but sees {seen or 'none'}: see that `slurm_partition` in "
            "profiles/slurm/config.yaml has GPUs, or set `device: cpu` in config/config.yaml to compute on a processor."
        )


def _take(ids: list[str], number: int, locks: ExitStack) -> list[str]:
    """Ids of devices that are this process's own until the locks are released."""
    folder = lease_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as gathering:
        if number > 1:
            # One process at a time gathers several, and keeps what it has: two that hold half each would wait for ever.
            gate = FileLock(folder / "several.lock")
            gathering.enter_context(gate.acquire(poll_interval=_POLL_S))
        taken: list[str] = []
        while len(taken) < number:
            taken.append(_take_any([device_id for device_id in ids if device_id not in taken], folder, locks))
    return taken


def _take_any(ids: list[str], folder: Path, locks: ExitStack) -> str:
    waiting_since = None
    while True:
        for device_id in ids:
            lock = FileLock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', device_id)}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            locks.callback(lock.release)
            return device_id
        if waiting_since is None:
            waiting_since = time.monotonic()
            log.info("waiting for one of %d GPUs (all are leased, see %s)", len(ids), folder)
        time.sleep(_POLL_S)


def _note(event: str, device_id: str) -> None:
    """Keeps a journal while devices are pretended, so that a test can prove that no two jobs had the same one."""
    line = json.dumps({"event": event, "device": device_id, "pid": os.getpid(), "time": time.monotonic()})
    with (lease_dir() / "journal.jsonl").open("a") as journal:
        journal.write(line + "\n")


def _pretended(environment: Mapping[str, str]) -> int:
    try:
        return max(0, int(environment[PRETEND]))
    except ValueError:
        raise TesseraError(f"{PRETEND} should be a number of GPUs, but is {environment[PRETEND]!r}.") from None


def _installed_devices() -> list[str]:
    """UUIDs of the machine's GPUs; an index would depend on CUDA_DEVICE_ORDER."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        folders = sorted(Path("/proc/driver/nvidia/gpus").glob("*"))
        return [str(index) for index in range(len(folders))]
    return parse_listing(listing)


def parse_listing(listing: str) -> list[str]:
    """Ids in the output of `nvidia-smi -L`; a GPU that is cut into MIG slices counts by its slices.

    >>> parse_listing("GPU 0: NVIDIA H200 (UUID: GPU-aa)\\nGPU 1: NVIDIA H200 (UUID: GPU-bb)\\n")
    ['GPU-aa', 'GPU-bb']
    """
    devices: list[list[str]] = []
    for line in listing.splitlines():
        uuid = re.search(r"\(UUID: ([^)]+)\)", line)
        if not uuid:
            continue
        if line.startswith("GPU"):
            devices.append([uuid[1]])
        elif "MIG" in line and devices:
            devices[-1].append(uuid[1])
    return [uuid for found in devices for uuid in (found[1:] or found)]
