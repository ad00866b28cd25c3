"""Every test starts from the same seed, on as many threads wherever it runs; the whole suite in several processes."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # lets tests import `misfits` and `payloads`

MOST_WORKERS = 4  # each holds a GB: torch, and what the tests import


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run the tests that need minutes")
    parser.addoption("--device", choices=("cpu", "cuda", "pretended"), help="what tests marked `gpu` compute on")
    parser.addoption("--threads", type=int, default=1, help="threads of torch in each test")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Gives the whole suite a process a core, unless `-n` says otherwise; tests that are named start sooner in one."""
    option = config.option
    if getattr(option, "numprocesses", 0) is not None or hasattr(config, "workerinput"):
        return  # without pytest-xdist, or as a process of it
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and not (option.usepdb or option.collectonly):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        option.numprocesses = min(MOST_WORKERS, cores) if cores > 1 else 0
        option.dist = "worksteal"  # what shares a fixture stays together


def pytest_configure() -> None:
    # In the background of a script Ctrl-C is ignored, and whatever a test starts would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") is None and not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU; on a processor with --device=cpu"))
    if config.getoption("--runslow"):
        for item in items:
            if "slow" in item.keywords and item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(900))  # others may compute beside it
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs minutes; run with --runslow"))


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(request.config.getoption("--threads"))
