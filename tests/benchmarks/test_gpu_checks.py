"""The kit's running of tests: one that ends its process, and time that ends before they do."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.gpu import checks
from benchmarks.gpu.options import Kit
from processes import eventually

ROOT = checks.ROOT


CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--device")
def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs one")
"""
TESTS = """
import os, time, pytest
pytestmark = pytest.mark.gpu
@pytest.fixture
def torn():
    yield
    os._exit(3)
def test_before(): pass
def test_crashes(): os._exit(7)
def test_crashes_afterwards(torn): pass
def test_fails(): assert 1 == 2
def test_sleeps(): time.sleep(float(os.environ["SLEEPS"]))
def test_after(): pass
"""


@pytest.fixture
def suite(kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of tests, one of which ends its process."""
    folder = tmp_path / "project" / "tests" / "gpu"
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(TESTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "workflow")]))
    monkeypatch.setenv("SLEEPS", "0")
    monkeypatch.setattr(checks, "ROOT", tmp_path / "project")
    kit.work.mkdir()
    return "test_some"


def test_a_test_that_ends_its_process_has_failed_and_the_others_run(suite: str, kit: Kit) -> None:
    found = checks.run_tests(Kit(kit.device, "full", 1.0, kit.out, kit.work), suite, 60.0)
    assert found["counts"] == {"passed": 3, "failed": 3}
    names = ("crashes", "crashes_afterwards", "fails")
    crashed, torn, failed = (found["failed"][f"tests/gpu/test_some.py::test_{name}"] for name in names)
    assert crashed.startswith("it ended pytest (code 7)")
    assert torn.startswith("it ended pytest (code 3)")
    assert "assert 1 == 2" in failed
    assert "cut off" not in found


def test_tests_that_are_late_keep_what_has_ended(suite: str, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPS", "600")
    full = Kit(kit.device, "full", 1.0, kit.out, kit.work)
    record = kit.work / f"{suite}.jsonl"

    def sleeps() -> bool:
        return record.exists() and "test_sleeps" in record.read_text()

    class Watched(subprocess.Popen[bytes]):
        """The time of its tests ends when one of them sleeps, however slow the machine is."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None or timeout < 50:
                return super().wait(timeout)
            eventually(lambda: sleeps() or self.poll() is not None)
            if (code := self.poll()) is None:
                raise subprocess.TimeoutExpired("pytest", timeout)
            return code

    with monkeypatch.context() as patch:
        patch.setattr(checks.subprocess, "Popen", Watched)
        found = checks.run_tests(full, suite, 100.0)
    assert found["cut off"]
    assert found["counts"] == {"passed": 1, "failed": 3}
    monkeypatch.setenv("SLEEPS", "0")
    assert checks.run_tests(full, suite, 60.0)["counts"] == {"passed": 3, "failed": 3}  # what failed is tried again
    begun = [json.loads(line)["test"].rpartition("::")[2] for line in record.read_text().splitlines()]
    assert begun.index("test_sleeps") < begun.index("test_after"), "in the order of the file"
    assert begun[begun.index("test_after") :].count("test_fails") == 2, "what had failed came last"
