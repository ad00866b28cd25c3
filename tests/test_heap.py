"""Memory that the heap holds and nobody uses."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tessera import heap

# Pieces in use lie between free ones, so that nothing can be given back from the heap's end.
PIECES = """
import resource, sys, time
from contextlib import nullcontext
from pathlib import Path
from tessera import heap
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
with heap.trimmed(0.05) if sys.argv[1] == "trimmed" else nullcontext():
    start = resident()
    pieces = [b"x" * 120_000 for _ in range(2_000)]
    del pieces[::2]
    end = time.monotonic() + float(sys.argv[2])
    while resident() - start > 200e6 and time.monotonic() < end:
        time.sleep(0.05)
    print(resident() - start)
"""


def grown_by(word: str, patience_s: float) -> int:
    environment = {**os.environ, "PYTHONPATH": str(Path(heap.__file__).parents[1])}
    words = [sys.executable, "-c", PIECES, word, str(patience_s)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(heap._malloc_trim() is None, reason="the C library is not glibc")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc tells what is resident")
def test_what_lies_free_between_used_pieces_is_given_back() -> None:
    assert grown_by("left", 0.5) > 230e6
    assert grown_by("trimmed", 60) < 200e6


def test_it_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    with heap.trimmed():
        assert ("heap" in names()) is (heap._malloc_trim() is not None)
    assert "heap" not in names()
    monkeypatch.setattr(heap, "_malloc_trim", lambda: None)
    with heap.trimmed():
        assert "heap" not in names()
