"""A job's log outlives the process that waits for the job, and the one that goes on with it.

Snakemake deletes the log of a job before it starts the job, also where a process that an earlier or another command
started still writes it. So whoever works on a job gives its log a second name, in the job's resume folder, and whoever
comes later tells first what is there.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from tessera.artifacts import resume_folder
from tessera.files import replace_text
from tessera.jobs import FOLDERS, Job

FILE = "log"
_MARK = "| "
_MOST_BYTES = 2**20


def log_of(job: Job) -> Path:
    """Where Snakemake has a job's words written."""
    return Path("logs", FOLDERS[job.stage], f"{job.name}.log")


def keep(job: Job) -> None:
    """Keeps this process's log of a job; nothing where it writes elsewhere, or files have no second names."""
    kept = resume_folder(job) / FILE
    with suppress(OSError, ValueError):
        if os.path.samestat(os.fstat(sys.stderr.fileno()), log_of(job).stat()):
            kept.unlink(missing_ok=True)
            os.link(log_of(job), kept)


def refer(job: Job, maker: Job) -> None:
    """Has the log of a job say that the process of another one makes it."""
    replace_text(resume_folder(job) / FILE, f"made in the process of {maker.name}: see {log_of(maker)}\n")


def tell(job: Job) -> None:
    """Writes what an earlier process said of the job, each line marked, if that is not this process's own log."""
    kept = resume_folder(job) / FILE
    try:
        with kept.open("rb") as file:
            with suppress(OSError, ValueError):
                if os.path.samestat(os.fstat(sys.stderr.fileno()), os.fstat(file.fileno())):
                    return
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        print(line if line.startswith(_MARK) else f"{_MARK}{line}", file=sys.stderr)
