"""Where and how precisely a training computes."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import nn


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast: bfloat16 where the device has it in hardware, if asked for `auto`."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float32
    return torch.bfloat16 if _processor_has_bfloat16() else torch.float32


def _processor_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def repeat_exactly(device: torch.device) -> None:
    """Makes a GPU give the same bytes again, as far as it can: one thread of a processor does so by itself."""
    if device.type == "cuda":  # asking takes four seconds
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only costs time
        torch.backends.cudnn.benchmark = False


class Compute:
    """Where and how precisely to compute; passed to every training.

    Args:
        device: The one device of this job.
        precision: `auto`, `float32` or `bfloat16`.
        processes: Devices that a training may spread over, a process each; what cannot spread takes `device` alone.
        compile: Whether a pretraining compiles its encoder's passes; `auto`: where that pays (`training.compiled`).
        kept: Folder for compiled kernels, and for what was measured of them; None: nothing is remembered.
    """

    def __init__(
        self,
        device: torch.device,
        precision: str = "auto",
        processes: int = 1,
        compile: Literal["auto"] | bool = False,
        kept: Path | None = None,
    ) -> None:
        self.device, self.precision, self.processes = device, precision, processes
        self.compile, self.kept = compile, kept
        self.dtype = resolve_precision(precision, device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass; weights and losses stay float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def place(self, module: nn.Module) -> nn.Module:
        """Moves a network to the device, convolutions in channels_last, which their kernels want."""
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def library_threads() -> AbstractContextManager[Any]:
    """Keeps the threads of scikit-learn and of BLAS to torch's: a job takes no more than it was given.

    The sums of a threaded loop depend on the number of threads, so this also makes their results repeat.
    """
    limits: AbstractContextManager[Any] = threadpool_limits(torch.get_num_threads())
    return limits
