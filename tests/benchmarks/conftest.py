"""What is measured on a GPU, tried on a processor: the kit, small, with folders of its own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # lets tests import `benchmarks`

from benchmarks.gpu.options import Kit


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that what a lease sets is undone as well
    monkeypatch.setenv("TESSERA_LEASE_DIR", str(tmp_path / "leases"))
    return Kit("cpu", "smoke", 1.0, tmp_path / "out", tmp_path / "work")
