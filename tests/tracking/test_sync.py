"""MLflow is brought up to date: once each, by one process or by many, and never at the price of a run."""

import json
import logging
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tessera.study.jobs import Job, Run
from tessera.tracking import live
from tessera.tracking.store import Store
from tessera.tracking.sync import sync
from tessera.training import Progress

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
        progress = Progress("pretrain", epochs=2)
        progress.epoch(64, loss=2.0)
        while job.folder not in (runs := store.runs()) or not runs[job.folder].data.metrics:
            time.sleep(0.05)
        assert runs[job.folder].info.status == "RUNNING"
        assert runs[job.folder].data.metrics == {"live/pretrain/loss": 2.0}
        write_artifact(tmp_path / job.folder, trial=0)
    (run,) = store.runs().values()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy"] == 50.0
    assert sync(uri, "tessera", {}, tmp_path).recorded == 0


def test_a_failed_job_is_shown_as_failed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    logging.getLogger("tessera").setLevel(logging.INFO)
    store = Store(uri, "tessera")
    job = make_job(uri)

    def train() -> None:
        Progress("pretrain", epochs=2).epoch(64, loss=2.0)
        while job.folder not in store.runs():
            time.sleep(0.05)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), live.watch(job):
        train()
    assert store.runs()[job.folder].info.status == "FAILED"


def test_the_breaker_trips_once_and_the_job_goes_on(
    closed_port: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.05)
    job = make_job(closed_port)
    with caplog.at_level(logging.INFO, "tessera"), live.watch(job):
        progress = Progress("pretrain", epochs=50)
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
from tessera.study.jobs import Job
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
