"""A plugin of pytest: writes each test's outcome when it ends, and leaves out those that passed in an earlier call."""

import json
from pathlib import Path
from typing import Any

import pytest

MOST_SAID = 3000  # characters of a failure


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="file of the outcomes, a line of JSON a test")


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
    before = outcomes(config.getoption("--record"))
    passed = [item for item in items if before.get(item.nodeid, {}).get("outcome") == "passed"]
    config.hook.pytest_deselected(items=passed)
    items[:] = [item for item in items if item not in passed]


class Recorder:
    """Writes one line a test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        why = ""
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            why = str(report.longrepr[2]).removeprefix("Skipped: ")
        elif report.outcome == "failed":
            why = report.longreprtext[-MOST_SAID:]
        about = {
            "test": report.nodeid,
            "outcome": report.outcome,
            "seconds": report.duration,
            "why": why,
            "told": dict(report.user_properties),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(about, default=str) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(config.getoption("--record")))
