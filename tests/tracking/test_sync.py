"""MLflow is brought up to date: once each, by one process or by many, and never at the price of a run."""

import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tessera.jobs import Job, Run
from tessera.tracking import live
from tessera.tracking.patience import Beating
from tessera.tracking.store import Store
from tessera.tracking.sync import sync
from tessera.training.pace import Pace

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own

Write = Callable[..., Path]


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_each_artifact_has_one_run_however_often_it_is_synced(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    for index in range(3):
        write_artifact(tmp_path / f"artifacts/source/e{index}-0000000{index}", key=f"0000000{index}")
    write_artifact(tmp_path / "artifacts/states/e0.e2-00000004", kind="state", key="00000004")  # shown with e0
    assert sync(uri, "tessera", {}, tmp_path).recorded == 3
    write_artifact(tmp_path / "artifacts/source/e3-00000003", key="00000003")
    again = sync(uri, "tessera", {"artifacts/source/e0-00000000": ["a", "b"]}, tmp_path)
    assert (again.recorded, again.known, again.failure) == (1, 3, None)
    runs = Store(uri, "tessera").runs()
    assert len(runs) == 4
    run = runs["artifacts/source/e0-00000000"]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "pretrain_source · e0 · trial 2"
    assert run.info.end_time - run.info.start_time == 20_000
    assert run.data.tags["studies"] == "a, b"
    assert run.data.params["source.tasks.jigsaw.gray"] == "0.5"
    assert run.data.metrics["accuracy"] == 50.0


def test_an_interrupted_run_is_completed_and_nothing_is_twice(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    artifact = "artifacts/source/e-00000000"
    write_artifact(tmp_path / artifact)
    sync(uri, "tessera", {}, tmp_path)
    store = Store(uri, "tessera")
    run_id = store.start(artifact, "e", {}, run=store.runs()[artifact])  # its status is RUNNING once more
    assert sync(uri, "tessera", {}, tmp_path).recorded == 1
    assert len(store.runs()) == 1
    history = store.client.get_metric_history(run_id, "jigsaw/loss")
    assert [metric.step for metric in history] == [1, 2]


def test_a_damaged_artifact_does_not_hide_the_others(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    write_artifact(tmp_path / "artifacts/source/good-00000000")
    (write_artifact(tmp_path / "artifacts/source/bad-00000001") / "metrics.json").write_text("{")
    done = sync(uri, "tessera", {}, tmp_path)
    assert (done.recorded, done.failure) == (1, None)


def test_a_history_longer_than_a_batch_is_whole(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    artifact = "artifacts/source/e-00000000"
    lines = [f"{epoch},{epoch / 2}" for epoch in range(1, 2501)]
    (write_artifact(tmp_path / artifact) / "history.csv").write_text("\n".join(["epoch,loss", *lines]) + "\n")
    sync(uri, "tessera", {}, tmp_path)
    store = Store(uri, "tessera")
    history = store.client.get_metric_history(store.runs()[artifact].info.run_id, "loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(e, e / 2) for e in range(1, 2501)]


@pytest.mark.parametrize("server", ["closed_port", "silent_server"])
def test_a_server_that_cannot_be_reached_costs_seconds(
    server: str, request: pytest.FixtureRequest, write_artifact: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    write_artifact(tmp_path / "artifacts/source/e-00000000")
    start = time.monotonic()
    done = sync(request.getfixturevalue(server), "tessera", {}, tmp_path)
    assert time.monotonic() - start < 20
    assert done.failure == "the server cannot be reached"


def make_job(uri: str) -> Job:
    run = Run(mlflow_uri=uri, studies=("a",))
    return Job(stage="pretrain_source", words="e", version=1, trial=0, settings={}, inputs={}, run=run)


def test_a_long_training_is_shown_while_it_runs(
    uri: str, write_artifact: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    logging.getLogger("tessera").setLevel(logging.INFO)
    job = make_job(uri)
    store = Store(uri, "tessera")
    with live.watch(job):
        progress = Pace("pretrain", epochs=2)
        progress.epoch(64, loss=2.0)
        while job.folder not in (runs := store.runs()) or not runs[job.folder].data.metrics:
            time.sleep(0.05)
        assert runs[job.folder].info.status == "RUNNING"
        assert runs[job.folder].data.metrics == {"live/pretrain/loss": 2.0}
        monkeypatch.setattr(live, "EVERY_S", 60.0)
        time.sleep(0.5)  # the thread looks no more before the end
        progress.epoch(64, loss=1.0)
        write_artifact(tmp_path / job.folder, trial=0)
    (run,) = store.runs().values()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["live/pretrain/loss"] == 1.0  # the last epoch as well
    assert run.data.metrics["accuracy"] == 50.0
    assert sync(uri, "tessera", {}, tmp_path).recorded == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [(ZeroDivisionError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_a_job_that_ends_early_is_shown_as_it_ended(
    error: type[BaseException], status: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    logging.getLogger("tessera").setLevel(logging.INFO)
    store = Store(uri, "tessera")
    job = make_job(uri)

    def train() -> None:
        Pace("pretrain", epochs=2).epoch(64, loss=2.0)
        while job.folder not in store.runs():
            time.sleep(0.05)
        Pace("pretrain", epochs=2, done=1).epoch(64, loss=1.0)
        raise error

    with pytest.raises(error), live.watch(job):
        train()
    run = store.runs()[job.folder]
    assert run.info.status == status
    assert run.info.run_name == "pretrain_source · e · trial 0"
    assert run.data.metrics == {"live/pretrain/loss": 1.0}  # the last epoch as well


def test_a_job_that_ends_while_it_is_first_shown_waits_for_that(
    uri: str, write_artifact: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.01)
    opened, opened_ms = threading.Event(), list[float]()
    whole = Store.__init__

    def slow(self: Store, *args: Any) -> None:
        opened_ms.append(1000 * time.time())
        opened.set()
        time.sleep(0.5)
        whole(self, *args)

    monkeypatch.setattr(Store, "__init__", slow)
    job = make_job(uri)
    with live.watch(job):
        Pace("pretrain", epochs=1).epoch(64, loss=2.0)
        opened.wait(10)
        write_artifact(tmp_path / job.folder, trial=0)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    run = Store(uri, "tessera").runs()[job.folder]
    assert run.info.status == "FINISHED"
    assert run.info.start_time <= opened_ms[0]  # when the job began, not when it was first shown


@pytest.mark.parametrize(
    ("folder", "at_work", "status"),
    [(None, False, "KILLED"), (None, True, "RUNNING"), ("/another/project", False, "RUNNING")],
)
def test_the_run_of_a_killed_job_is_ended_by_the_next_sync(
    folder: str | None, at_work: bool, status: str, uri: str, tmp_path: Path
) -> None:
    job, store = make_job(uri), Store(uri, "tessera")
    store.start(job.folder, "e", {"tessera.folder": folder or str(tmp_path.resolve())})
    resume = tmp_path / "resume" / "source" / job.name
    resume.mkdir(parents=True)
    with FileLock(resume / ".lock") if at_work else nullcontext():
        done = sync(uri, "tessera", {}, tmp_path)
    assert (done.ended, done.failure) == (int(status == "KILLED"), None)
    assert store.runs()[job.folder].info.status == status


def test_a_sync_that_was_cut_short_anywhere_is_completed_by_the_next(
    uri: str, write_artifact: Write, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of its calls in turn."""
    write_artifact(tmp_path / "artifacts/source/e-00000000")

    def shown() -> str:  # NaN is no number that equals another
        run = Store(uri, "tessera").runs()["artifacts/source/e-00000000"]
        return repr([run.info.status, run.info.start_time, run.info.end_time, run.data.metrics, run.data.params])

    sync(uri, "tessera", {}, tmp_path)
    expected, calls, limit = shown(), count(), 1
    whole = Beating.__getattr__

    def cut_short(self: Beating, name: str) -> Any:
        if next(calls) == limit:
            raise KeyboardInterrupt
        return whole(self, name)

    while True:
        shutil.copy(empty_database, tmp_path / "mlflow.db")
        calls = count()
        monkeypatch.setattr(Beating, "__getattr__", cut_short)
        try:
            sync(uri, "tessera", {}, tmp_path)
        except KeyboardInterrupt:
            limit += 1
        else:
            break
        finally:
            monkeypatch.setattr(Beating, "__getattr__", whole)
        sync(uri, "tessera", {}, tmp_path)
        assert shown() == expected
        assert len(Store(uri, "tessera").runs()) == 1
    assert limit == 5  # the experiment, the search, and the three calls that write a run


def test_the_breaker_trips_once_and_the_job_goes_on(
    closed_port: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    job = make_job(closed_port)
    with caplog.at_level(logging.INFO, "tessera"), live.watch(job):
        progress = Pace("pretrain", epochs=50)
        while not any("MLflow" in record.message for record in caplog.records):
            progress.epoch(64, loss=2.0)
            time.sleep(0.02)
        for _ in range(5):
            progress.epoch(64, loss=2.0)
            time.sleep(0.05)
    (warning,) = [record.message for record in caplog.records if "MLflow" in record.message]
    assert warning.endswith("the server cannot be reached; this job is shown later, by the sync at the end")


def test_a_short_job_never_imports_mlflow(tmp_path: Path) -> None:
    code = """
import sys
from tessera.jobs import Job
from tessera.tracking.live import watch
with watch(Job.model_validate_json(sys.argv[1])):
    pass
assert "mlflow" not in sys.modules and "torch" not in sys.modules
"""
    job = make_job("sqlite:///mlflow.db").model_dump_json()
    package = str(Path(live.__file__).parent.parent.parent)
    subprocess.run([sys.executable, "-c", code, job], cwd=tmp_path, env={"PYTHONPATH": package}, check=True)
    assert not list(tmp_path.iterdir())


MANY = """
import json, sys
from pathlib import Path
from tessera.tracking.sync import sync
done = sync("sqlite:///mlflow.db", "tessera", {}, Path(sys.argv[1]))
print(json.dumps([done.recorded, done.failure]))
"""


@pytest.mark.slow
def test_eight_processes_make_one_new_store_and_lose_nothing(write_artifact: Write, tmp_path: Path) -> None:
    for number in range(8):
        for index in range(3):
            write_artifact(tmp_path / f"{number}/artifacts/source/e{index}-{number}000000{index}")
    package = str(Path(live.__file__).parent.parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", MANY, str(tmp_path / str(number))],
            cwd=tmp_path,
            env={"PYTHONPATH": package},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [json.loads(output) for output in outputs] == [[3, None]] * 8
    assert len(Store(f"sqlite:///{tmp_path}/mlflow.db", "tessera").runs()) == 24


LIVE = """
import logging, sys, time
from pathlib import Path
from tessera.jobs import Job
from tessera.tracking import live
from tessera.training.pace import Pace
logging.basicConfig(level=logging.INFO)
logging.getLogger("tessera").setLevel(logging.INFO)
live.EVERY_S, live.PATIENCE_S = 0.2, 240.0
with live.watch(Job.model_validate_json(sys.argv[1])):
    progress = Pace("pretrain", epochs=40)
    for epoch in range(40):
        progress.epoch(64, loss=float(epoch))
        time.sleep(0.1)
    Path(sys.argv[2]).rename(sys.argv[3])
"""


@pytest.mark.slow
def test_eight_jobs_log_live_into_one_new_store_and_lose_nothing(write_artifact: Write, tmp_path: Path) -> None:
    """While two more processes sync."""
    (tmp_path / "artifacts/source").mkdir(parents=True)
    package = str(Path(live.__file__).parent.parent.parent)

    def start(*words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", *words],
            cwd=tmp_path,
            env={"PYTHONPATH": package, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    jobs = [make_job("sqlite:///mlflow.db").model_copy(update={"trial": trial}) for trial in range(8)]
    started = []
    for job in jobs:
        draft = write_artifact(tmp_path / f"made{job.trial}", trial=job.trial)
        (draft / "history.csv").unlink()
        started.append(start(LIVE, job.model_dump_json(), str(draft), str(tmp_path / job.folder)))
    started += [start(MANY, str(tmp_path)) for _ in range(2)]
    said = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 10, said
    assert not any("MLflow at" in text for text in said), said
    assert [json.loads(text)[1] for text in said[8:]] == [None, None]
    store = Store(f"sqlite:///{tmp_path}/mlflow.db", "tessera")
    runs = store.runs()
    assert {job.folder for job in jobs} == set(runs)
    for run in runs.values():
        assert run.info.status == "FINISHED"
        points = store.client.get_metric_history(run.info.run_id, "live/pretrain/loss")
        assert sorted((point.step, point.value) for point in points) == [(e, float(e - 1)) for e in range(1, 41)]
