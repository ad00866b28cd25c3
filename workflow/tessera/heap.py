"""Gives back what the C library's heap holds and nobody uses.

PyTorch takes the tensors of a processor from that heap. glibc cuts a large free piece up for smaller requests, and what
is left of it between two that are in use fits no large tensor any more, so that the heap grows: a training whose
tensors take 0.3 GB was seen to hold 8 GB. What lies between can be given back without moving anything.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 10.0  # a second of a training cuts up less than 0.1 GB; to fault the pages in again costs it 20 ms


@contextmanager
def trimmed(every_s: float = EVERY_S) -> Iterator[None]:
    """Gives free memory back now and then while the block runs. Does nothing where the C library cannot (not glibc)."""
    if (trim := _malloc_trim()) is None:
        yield
        return
    ended = threading.Event()

    def now_and_then() -> None:
        while not ended.wait(every_s):
            trim(0)

    thread = threading.Thread(target=now_and_then, name="heap", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # no such function; no such library; Windows
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    trim: Callable[[int], int] = found
    return trim
