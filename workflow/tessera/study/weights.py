"""Files of weights that a study names: looked for, and their checksums taken, before any job starts. Torch-free."""

import difflib
import stat
from functools import lru_cache
from pathlib import Path

from tessera.errors import StudyError, brief
from tessera.files import sha256_of
from tessera.study.schema import Experiment


def with_checksums(experiment: Experiment, root: Path, shown: str) -> Experiment:
    """The same, with the checksum of the source's file of weights: a file that changes makes its jobs run again.

    Args:
        root: The project's folder.
        shown: File, row and column, for messages.

    Raises:
        StudyError: If the file is missing, or no file; or if the study says another checksum.
    """
    weights = experiment.source.weights
    if weights is None:
        return experiment
    try:
        found = _checksum(weights.path(root))
    except OSError as error:
        found, wrong = "", _missing(weights.path(root)) if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise StudyError(f"{shown}: `source.weights`: `{brief(weights.file)}`: {wrong}") from error
    if weights.sha256 not in (None, found):
        raise StudyError(
            f"{shown}: `source.weights`: `{brief(weights.file)}`: its sha256 is {found}, but `source.weights.sha256` "
            f"says {weights.sha256}: damaged, or another version: get it again, or correct `sha256`"
        )
    source = experiment.source.model_copy(update={"weights": weights.model_copy(update={"sha256": found})})
    return experiment.model_copy(update={"source": source})


def _checksum(path: Path) -> str:
    about = path.stat()
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(0, "is a folder: name the file in it")
    if not stat.S_ISREG(about.st_mode):
        raise OSError(0, "is no file of bytes: name one that is")
    if about.st_size == 0:
        raise OSError(0, "is empty: get it again")
    return _read(path, about.st_size, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=256)
def _read(path: Path, size: int, changed: int, inode: int) -> str:
    """Of a file as it was at a time: a plan of many cells reads it once."""
    return sha256_of(path)


def _missing(path: Path) -> str:
    names = sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return "no such file, relative to the project's folder. " + (
        f"Did you mean `{brief(near[0])}`?" if near else "Put it there, or name the place where it is."
    )
