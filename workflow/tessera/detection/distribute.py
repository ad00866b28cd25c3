"""One training on several devices: a process each, which take shares of every batch and add up what they found."""

import logging
import logging.handlers
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn
from torch.nn.parallel import DistributedDataParallel

from tessera.errors import TesseraError
from tessera.training.compute import Compute, repeat_exactly

log = logging.getLogger("tessera")

T = TypeVar("T")

# What the user can mend is told in the job's own words; of the rest the traceback tells more.
TOLD = (TesseraError, MemoryError, OSError, torch.OutOfMemoryError)


@dataclass(frozen=True)
class Share:
    """What one process takes of the work.

    Attributes:
        rank: Which process it is, from 0; that one alone writes.
        processes: How many there are.
    """

    rank: int = 0
    processes: int = 1

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Its part of these items; the parts of all processes, one after the other, are the items.

        >>> [Share(rank, 3).of("abcdefgh") for rank in range(3)]
        ['ab', 'cde', 'fgh']
        """
        begin, end = (len(items) * rank // self.processes for rank in (self.rank, self.rank + 1))
        return items[begin:end]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, without gradient; waits for none of them where a GPU computes."""
        total = values.detach().clone()
        if self.processes > 1:
            dist.all_reduce(total)
        return total

    def normalize_together(self, network: nn.Module) -> nn.Module:
        """Batch-norm layers that take their statistics over all processes' shares; a GPU's only, as torch has them.

        On processors each process normalises by its own share, and the statistics that are kept are those of rank 0.
        """
        if self.processes > 1 and dist.get_backend() == "nccl":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return network

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, whose gradients become the mean over all processes: the sum, where its loss is multiplied by
        their number.
        """
        if self.processes == 1:
            return network
        # The graph is the same in every step, also where it leaves parameters out, and torch need not look for them.
        return DistributedDataParallel(network, static_graph=True, gradient_as_bucket_view=True)


ALONE = Share()


def run_in_processes(function: Callable[..., None], compute: Compute, arguments: tuple[Any, ...]) -> None:
    """Calls `function(share, compute, *arguments)` in as many processes as `compute.processes`, a device each.

    What they log is logged here, too. Where one fails or dies, all end.

    Args:
        function: At the top of a module.
        compute: Devices 0 to `processes` - 1 of its type are taken.
        arguments: Can be pickled; tensors lie on the CPU.

    Raises:
        TesseraError: If a process dies.
        Exception: What a process raised, where the user can mend it; else one with its traceback.
    """
    context = get_context("spawn")
    records, errors = context.Queue(), context.SimpleQueue()
    listener = logging.handlers.QueueListener(records, _LogAgain())
    listener.start()
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        threads = max(1, torch.get_num_threads() // compute.processes)
        start = partial(_run, function, compute, arguments, threads, meeting, records, errors)
        try:
            spawn(_call, (start,), nprocs=compute.processes)  # type: ignore[no-untyped-call]
        except ProcessRaisedException:
            if errors.empty():
                raise
            raise errors.get() from None
        except ProcessExitedException as error:
            how = error.signal_name or f"code {error.exit_code}"
            number = compute.processes
            raise TesseraError(
                f"process {error.error_index + 1} of the {number} that share this training ended by {how}, and the "
                "others with it. The state of the last epoch is kept: run snakemake again, and it goes on from there."
            ) from None
        finally:
            for process in active_children():  # a job that is asked to end would wait till they have trained all
                process.kill()
            listener.stop()
            records.close()


def _call(rank: int, start: Callable[[int], None]) -> None:
    start(rank)


def _run(
    function: Callable[..., None],
    compute: Compute,
    arguments: tuple[Any, ...],
    threads: int,
    meeting: str,
    records: Any,
    errors: Any,
    rank: int,
) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the job alone decides, and ends them
    _die_with_parent()
    log.addHandler(logging.handlers.QueueHandler(records))
    log.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    log.propagate = False
    torch.set_num_threads(threads)
    try:
        device, backend = compute.device, "gloo"
        if device.type == "cuda":
            device, backend = torch.device("cuda", rank), "nccl"
            torch.cuda.set_device(device)
        else:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are here; the host's own name may lead nowhere
        repeat_exactly(device)
        dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=compute.processes)
        function(Share(rank, compute.processes), Compute(device, compute.precision), *arguments)
        dist.destroy_process_group()
    except TOLD as error:
        errors.put(error)
        raise


def _die_with_parent() -> None:
    """A job that is killed leaves no process behind on a device."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


class _LogAgain(logging.Handler):
    """Logs here what another process logged."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger(record.name).handle(record)
