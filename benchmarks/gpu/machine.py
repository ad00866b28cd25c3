"""The machine, and the most that it was seen to do here: what shares of a peak are shares of."""

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.options import Kit
from tessera.errors import TesseraError
from tessera.provenance import hardware
from tessera.training.compute import Compute


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all that it was given: before every look at the clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: torch.device, rounds: int, warm_up: int = 1) -> float:
    """Median of some runs, each from a device at rest to a device at rest."""
    for _ in range(warm_up):
        work()
    found = []
    for _ in range(rounds):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        found.append(time.perf_counter() - start)
    return median(found)


def measured_peak(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOP/s of a product of two square matrices, 2 n^3 of them: the best of five times eight products."""
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(one)
    many = 8

    def products() -> None:
        for _ in range(many):
            torch.mm(one, other, out=out)

    return max(2 * many * side**3 / seconds_of(products, device, 1) for _ in range(5))


def measured_bandwidth(device: torch.device, megabytes: int) -> float:
    """Bytes/s of a copy within the device's memory, each byte read once and written once."""
    one = torch.empty(megabytes * 2**20, dtype=torch.uint8, device=device)
    other = torch.empty_like(one)
    return 2 * one.numel() / seconds_of(lambda: other.copy_(one), device, 5)


def describe(device: torch.device) -> dict[str, Any]:
    """What this runs on, in words and numbers."""
    about: dict[str, Any] = {
        **hardware(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device.type,
        "precision": str(Compute(device).dtype).removeprefix("torch."),
    }
    if device.type == "cuda":
        of = torch.cuda.get_device_properties(device)
        about |= {
            "gpu": of.name,
            "compute_capability": f"{of.major}.{of.minor}",
            "multiprocessors": of.multi_processor_count,
            "gpu_memory_gb": round(of.total_memory / 1e9),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "driver": _driver(),
        }
    return about


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown: nvidia-smi did not answer"
    return told.split("\n")[0].strip()


def measure(kit: Kit) -> dict[str, Any]:
    """The step `machine`."""
    device = torch.device(kit.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TesseraError(
            f"PyTorch {torch.__version__} (of CUDA {torch.version.cuda or 'none: a build for processors'}) reaches no "
            f"GPU, though there is one (driver {_driver()}). `make environment TORCH=default` installs the lock's "
            "build; for an older driver name the CUDA it knows, such as TORCH=cu126."
        )
    start = time.perf_counter()
    torch.zeros(1, device=device)
    synchronize(device)
    found = {**describe(device), "first_use_s": time.perf_counter() - start}
    for dtype in (torch.bfloat16, torch.float32):
        found[f"peak_{str(dtype).removeprefix('torch.')}"] = measured_peak(device, dtype, kit.size.matmul)
    found["bandwidth"] = measured_bandwidth(device, kit.size.copy_mb)
    if device.type == "cuda":
        found["context_mb"] = _context_mb(device)
    print({name: value for name, value in found.items() if name.startswith(("gpu", "torch", "peak"))}, file=sys.stderr)
    return found


def _context_mb(device: torch.device) -> int:
    """Memory of the device in use that torch's allocator does not know of: the context of this process, and others'."""
    free, total = torch.cuda.mem_get_info(device)
    return round((total - free - torch.cuda.memory_reserved(device)) / 2**20)
