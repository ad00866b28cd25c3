"""What each process of a test does: by a name that a process which is started anew finds, whoever runs the tests."""

import logging
from pathlib import Path

import torch

from tessera.detection.distribute import Share
from tessera.errors import StudyError
from tessera.training.compute import Compute


def sums(share: Share, compute: Compute, values: list[float], folder: Path) -> None:
    """The sum of a list, a part of it from each process."""
    logging.getLogger("tessera").info("rank %d of %d", share.rank, share.processes, extra={"figures": {"a": 1.0}})
    total = share.sum(torch.tensor(list(share.of(values))).sum())
    torch.save(total, folder / f"{share.rank}.pt")


def fails(share: Share, compute: Compute) -> None:
    """The second of two processes finds a mistake, while the first waits for it."""
    if share.rank == 1:
        raise StudyError("one line that helps")
    share.sum(torch.zeros(1))
