"""Kinds of archives by the end of their names, and how each is opened."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from typing import Any

TARS: dict[str, Callable[..., Any]] = {
    ".tar": open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
