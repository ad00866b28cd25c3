"""What ran out, the disk or the memory, in one line, whichever library tells it in whichever words."""

import errno
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tessera.jobs import Job

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Rust's words, C's, SQLite's.
_SAYS_FULL = re.compile(r"os error (28|122)\b|No space left on device|Disk quota exceeded|disk is full")
# numpy's, torch's: they know only that less was written than should be.
_WRITTEN_IN_PART = re.compile(r"\d+ requested and \d+ written|unexpected pos \d+|PytorchStreamWriter failed writing")
_GPU = re.compile(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
# The allocator's words, and what a size says that no allocator is asked for, since it exceeds 64 bits.
_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|bad_alloc|Cannot allocate memory|"
    r"Storage size calculation overflowed|integer multiplication overflow|Overflow when unpacking long|"
    r"array is too big|Maximum allowed dimension exceeded|too large to convert|too big to convert|cannot fit"
)
_ASKED = re.compile(r"allocate (\d+) bytes")
_MUCH = 2**30  # bytes; a disk with less room may well be the one that was full before the draft was removed
_NAMED = 3  # settings
_NO_SIZES = ("seed", "epochs", "first_stage_epochs")


def describe(error: BaseException, job: Job | None = None) -> str | None:
    """One line on a full disk or on memory that does not suffice; None for every other error.

    Args:
        job: Whose settings could be lower.
    """
    where: BaseException | None = error
    for _ in range(10):  # libraries raise one error while they tidy up after another
        if where is None:
            return None
        if (words := _disk(where)) or (words := _memory(where, job)):
            return words
        where = where.__cause__ or (None if where.__suppress_context__ else where.__context__)
    return None


def _disk(error: BaseException) -> str | None:
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or _SAYS_FULL.search(text):
        name = getattr(error, "filename", None)
        what = f"the disk is full{f' while writing {name}' if name else ''}"
    elif number is None and _WRITTEN_IN_PART.search(text) and isinstance(error, OSError | RuntimeError):
        free = shutil.disk_usage(Path()).free
        what = f"the disk is full, or your quota: a file could not be written whole ({_first_line(text)})"
        if free < _MUCH:
            what = f"the disk is full ({free / 2**20:.0f} MB are free)"
    else:
        return None
    return f"{what}. Make room (`tessera prune`), then run snakemake again: it goes on."


def _memory(error: BaseException, job: Job | None) -> str | None:
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or (isinstance(error, RuntimeError) and _GPU.search(text)):
        return f"the GPU's memory does not suffice ({_first_line(text).partition('. ')[0]}). {_lower(job)}."
    kinds = RuntimeError | ValueError | OSError | TypeError | OverflowError
    if not isinstance(error, MemoryError) and not (isinstance(error, kinds) and _MEMORY.search(text)):
        return None
    asked = _ASKED.search(text)
    said = f"{int(asked[1]) / 1e9:,.3g} GB were asked for" if asked else _first_line(text)
    said = f" ({said})" if said else ""
    return f"the memory does not suffice{said}. Run fewer jobs at once (--cores), or l{_lower(job)[1:]}."


def _lower(job: Job | None) -> str:
    if job is None:
        return "Lower `batch_size` or the image size"
    sizes = sorted(_sizes(job.settings, ()), key=lambda size: (not size[0].endswith("batch_size"), -size[1]))[:_NAMED]
    named = [f"{name} (now {value})" for name, value in sizes]
    studies = f" in study {', '.join(job.run.studies)}" if job.run.studies else ""
    if not any(name.endswith("image_size") for name, _ in sizes):
        named.append("the image size")
    return f"Lower {' or '.join(named)}{studies}"


def _sizes(settings: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Whole numbers among the settings, by the names that a study has for them."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _sizes(value, (*keys, str(key)))
    elif isinstance(settings, list | tuple):
        for index, value in enumerate(settings):
            yield from _sizes(value, (*keys[:-1], f"{keys[-1]}[{index}]"))
    elif isinstance(settings, int) and not isinstance(settings, bool) and settings > 1 and keys[-1] not in _NO_SIZES:
        inside = () if keys[0] in ("source", "transfer", "dataset", "task") else ("target",)
        yield ".".join((*inside, *keys)), settings


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= 160 else f"{line[:160]} …"
