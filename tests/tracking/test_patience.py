"""A server that answers a byte now and then is given up; work that goes on is not."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tessera.jobs import Job, Run
from tessera.tracking import live, sync
from tessera.tracking.patience import Beating, GivenUpError, Pulse, patiently
from tessera.training.pace import Pace

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own

Write = Callable[..., Path]


@pytest.fixture
def dripping_server() -> Iterator[str]:
    """Promises a long answer, and sends a byte of it ten times a second."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
                )
                while not ended.wait(0.1):
                    connection.sendall(b" ")
            except OSError:
                return

    def serve(server: socket.socket) -> None:
        while not ended.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            threading.Thread(target=drip, args=[connection], daemon=True).start()

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.1)
        thread = threading.Thread(target=serve, args=[server])
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()


def test_a_dripping_server_is_given_up_in_words(
    dripping_server: str, write_artifact: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "PATIENCE_S", 1.0)
    write_artifact(tmp_path / "artifacts/source/e-00000000")
    assert sync.sync(dripping_server, "tessera", {}, tmp_path).failure == "no answer for 1 s"


SYNC = """
import json, sys
from pathlib import Path
from tessera.tracking import sync
sync.PATIENCE_S = 1.0
print(json.dumps(sync.sync(sys.argv[1], "tessera", {}, Path()).failure))
"""


def test_a_process_that_has_given_up_ends(dripping_server: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(sync.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SYNC, dripping_server],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, "no answer for 1 s")


def test_a_finished_job_leaves_a_dripping_server(
    dripping_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live, "EVERY_S", 0.01)
    monkeypatch.setattr(live, "PATIENCE_S", 0.5)
    job = Job(
        stage="pretrain_source",
        words="e",
        version=1,
        trial=0,
        settings={},
        inputs={},
        run=Run(mlflow_uri=dripping_server),
    )
    with caplog.at_level(logging.INFO, "tessera"), live.watch(job):
        Pace("pretrain", epochs=1).epoch(64, loss=2.0)
        time.sleep(0.2)
    assert "no answer for 0 s; this job is shown later" in caplog.text


def test_work_that_goes_on_is_waited_for() -> None:
    def work(pulse: Pulse) -> None:
        slow = Beating(time, pulse.beat)
        for _ in range(6):
            slow.sleep(0.1)

    patiently(work, patience_s=0.3)


def test_work_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    with pytest.raises(GivenUpError, match="no answer for 0 s"):
        patiently(lambda pulse: hangs.wait(10) and None, patience_s=0.1)
    hangs.set()


def test_what_the_work_raises_is_raised() -> None:
    def work(pulse: Pulse) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        patiently(work, patience_s=1.0)
