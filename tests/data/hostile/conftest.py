"""Every test ends, and nothing is written where it was not asked for."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # of hostile_archives


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError("this does not end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _nothing_is_written(tmp_path: Path) -> Iterator[None]:
    """But the archive itself, and what the test names `made`."""
    (tmp_path / "data").mkdir()
    secret = tmp_path / "data" / "secret"
    secret.write_bytes(b"secret")
    yield
    outside = {path.name for path in tmp_path.iterdir()} - {"data", "made"}
    assert not outside, outside
    assert secret.read_bytes() == b"secret"
