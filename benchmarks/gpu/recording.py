"""A plugin of pytest: writes each test's outcome when it ends, and leaves out those that passed in an earlier call."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

MOST_SAID = 3000  # characters of a failure
STARTED = "started"  # in place of an outcome, for a test that ended pytest before it had one


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="file of the outcomes, a line of JSON a test")
    parser.addoption("--since", type=float, default=0.0, help="leave out what has any outcome from this time on, too")


def write(path: Path, about: dict[str, Any]) -> None:
    """Adds a line to the outcomes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**about, "at": time.time()}, default=str) + "\n")


def outcomes(path: Path) -> dict[str, dict[str, Any]]:
    """The last outcome of each test; a line that was cut off is none."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            about = json.loads(line)
        except ValueError:
            continue
        found[about["test"]] = about
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    since: float = config.getoption("--since")
    before = outcomes(config.getoption("--record"))
    known = {test for test, about in before.items() if about["outcome"] == "passed" or about["at"] >= since > 0}
    done = [item for item in items if item.nodeid in known]
    config.hook.pytest_deselected(items=done)
    # What has failed before comes last: two tests that hang would take the time of all others, in every call.
    items[:] = sorted((item for item in items if item.nodeid not in known), key=lambda item: item.nodeid in before)


class Recorder:
    """Writes one line a test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.called: pytest.TestReport | None = None

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.called = None
        write(self.path, {"test": nodeid, "outcome": STARTED})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "passed":
            if report.when == "call":
                self.called = report
            if report.when != "teardown" or self.called is None:  # it may end pytest until then
                return
            report = self.called
        why = ""
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            why = str(report.longrepr[2]).removeprefix("Skipped: ")
        elif report.outcome == "failed":
            why = report.longreprtext[-MOST_SAID:]
        about: dict[str, Any] = {
            "test": report.nodeid,
            "outcome": report.outcome,
            "seconds": report.duration,
            "why": why,
            "told": dict(report.user_properties),
        }
        write(self.path, about)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(config.getoption("--record")))
