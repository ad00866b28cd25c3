"""Signals that stop a stage: it tidies up, and says how the next run goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from stages_runs import Process, line_of

from tessera import stages
from tessera.errors import DataError
from tessera.jobs import Job
from tessera.stopping import SIGNALS, Stopped, stoppable
from tessera.tracking.live import Live, watch

STOPPED_STAGE = """
import json, sys, time
from tessera.stages import run_stage
from tessera.jobs import PrepareDataset

def make(job):
    if sys.stdin.readline() == "state\\n":
        about = json.dumps({"job": "any", "reached": "epoch 3 of 10"})
        (job.resume / "state.pt").write_text(f"x\\n{about}\\n{'0' * 64}\\n")
        (job.resume / ".state.pt.1.draft").write_text("half")
    try:
        print("started", flush=True)
        time.sleep(60)
    finally:
        print("tidied", flush=True)
        if sys.stdin.readline() == "hang\\n":
            print("hangs", flush=True)
            time.sleep(60)

run_stage(PrepareDataset, make)
"""


@pytest.fixture
def begin(job: Job) -> Iterator[Callable[[str], Process]]:
    """Starts a process that is at work on the job, with a state of three epochs or without."""
    with ExitStack() as stack:

        def run(state: str) -> Process:
            process = subprocess.Popen(
                [sys.executable, "-c", STOPPED_STAGE, job.model_dump_json()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": str(Path(stages.__file__).parent.parent)},
                # A test may run where they are ignored, as under nohup.
                preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS],
            )  # fmt: skip
            stack.enter_context(process)
            stack.callback(process.kill)
            tell(process, state)
            assert line_of(process) == "started"
            return process

        yield run


def tell(process: Process, word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


@pytest.mark.parametrize(
    ("number", "state", "code", "words"),
    [
        (signal.SIGINT, "state", 130, "stopped: the next run goes on after epoch 3 of 10"),
        (signal.SIGTERM, "state", 143, "stopped: the next run goes on after epoch 3 of 10"),
        (signal.SIGHUP, "none", 129, "stopped: what was finished is kept"),
    ],
)
def test_a_stopped_job_says_so_in_one_line(
    begin: Callable[[str], Process], job: Job, number: signal.Signals, state: str, code: int, words: str
) -> None:
    process = begin(state)
    process.send_signal(number)
    output, log = process.communicate("\n")
    assert output == "tidied\n"
    assert process.returncode == code
    assert log.splitlines()[-1] == words
    assert "Traceback" not in log
    folder = Path("resume/datasets", job.name)
    assert json.loads((folder / "progress.json").read_text())["error"] == words
    assert not (folder / ".pid").exists()
    assert (folder / "state" / "state.pt").exists() == (state == "state")
    assert not Path(job.folder).exists()


def test_a_second_signal_ends_the_job_at_once(begin: Callable[[str], Process]) -> None:
    process = begin("none")
    process.send_signal(signal.SIGTERM)
    assert line_of(process) == "tidied"
    tell(process, "hang")
    assert line_of(process) == "hangs"
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert process.returncode == -signal.SIGTERM


def test_a_stop_is_told_to_the_tracking_store_as_one(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """`KILLED`, where an error is `FAILED`; the signal ends the block as Ctrl-C does."""
    ended = []
    monkeypatch.setattr(Live, "stop", lambda self, status: (self.stopping.set(), ended.append(status)))
    watched = job.model_copy(update={"run": job.run.model_copy(update={"mlflow_uri": "sqlite:///none.db"})})
    for error in (Stopped(signal.SIGTERM), KeyboardInterrupt(), SystemExit(1), DataError("x")):
        with pytest.raises(type(error)), watch(watched):
            raise error
    assert ended == ["KILLED", "KILLED", "KILLED", "FAILED"]


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[object] = []
    before = signal.getsignal(signal.SIGTERM)

    def listen() -> None:
        with stoppable():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Stopped), stoppable():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
