"""A local database is complete or absent; one that is broken is moved aside, and nothing of it is deleted."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tessera.tracking import database
from tessera.tracking.store import Store
from tessera.tracking.sync import sync

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own

Write = Callable[..., Path]
ARTIFACT = "artifacts/source/e-00000000"


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(database, "SETTLE_S", 0.0)
    return f"sqlite:///{tmp_path}/mlflow.db"


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_database_whose_making_is_cut_short_is_absent(
    uri: str, write_artifact: Write, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artifact(tmp_path / ARTIFACT)

    def die_half_way(path: Path) -> None:
        execute(path, "CREATE TABLE experiments (id)", "CREATE TABLE _alembic_tmp_experiments (id)")
        raise KeyboardInterrupt

    monkeypatch.setattr(database, "_migrate", die_half_way)
    with pytest.raises(KeyboardInterrupt):
        Store(uri, "tessera")
    assert not (tmp_path / "mlflow.db").exists()
    assert len(list(tmp_path.glob("mlflow.db.*.draft"))) == 1
    monkeypatch.setattr(database, "_migrate", lambda path: shutil.copy(empty_database, path))
    assert sync(uri, "tessera", {}, tmp_path).recorded == 1
    assert not list(tmp_path.glob("*.draft*"))


@pytest.mark.parametrize(
    "breaking",
    [
        ["DROP TABLE spans", "DELETE FROM alembic_version"],
        [],
    ],
)
def test_a_broken_database_is_moved_aside_and_made_anew(
    breaking: list[str],
    uri: str,
    write_artifact: Write,
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_artifact(tmp_path / ARTIFACT)
    path = tmp_path / "mlflow.db"
    if breaking:
        shutil.copy(empty_database, path)
        execute(path, *breaking)
    else:
        path.write_bytes(b"no database" * 1000)
    monkeypatch.setattr(database, "_migrate", lambda path: shutil.copy(empty_database, path))
    done = sync(uri, "tessera", {}, tmp_path)
    assert (done.recorded, done.failure) == (1, None)
    (aside,) = tmp_path.glob("mlflow.db.broken-*")
    assert aside.stat().st_size > 0
    assert f"moved to {aside}" in caplog.text
    assert sync(uri, "tessera", {}, tmp_path).known == 1


def test_a_database_that_another_process_makes_is_left_alone(
    uri: str, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(empty_database, path)
    execute(path, "DROP TABLE spans", "DELETE FROM alembic_version")
    monkeypatch.setattr(time, "sleep", lambda seconds: os.utime(path))
    assert sync(uri, "tessera", {}, tmp_path).failure is not None
    assert not list(tmp_path.glob("*.broken-*"))


@pytest.mark.parametrize(
    ("said", "broken"),
    [
        ("(sqlite3.OperationalError) table _alembic_tmp_experiments already exists", True),
        ("(sqlite3.OperationalError) duplicate column name: step", True),
        ("(sqlite3.OperationalError) table spans already exists", True),
        ("(sqlite3.DatabaseError) database disk image is malformed", True),
        ("(sqlite3.OperationalError) database is locked", False),
        ("(sqlite3.OperationalError) attempt to write a readonly database", False),
        ("Experiment(name=tessera) already exists.", False),
    ],
)
def test_what_is_broken_for_good_is_told_from_what_is_not(said: str, broken: bool, uri: str, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert database.is_broken(Exception(said), tmp_path / "mlflow.db") == broken


MAKE = "from tessera.tracking.store import Store; print('ready', flush=True); Store('sqlite:///mlflow.db', 'tessera')"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_while_the_database_is_made_costs_nothing(uri: str, write_artifact: Write, tmp_path: Path) -> None:
    write_artifact(tmp_path / ARTIFACT)
    environment = {**os.environ, "PYTHONPATH": str(Path(database.__file__).parents[2])}
    killed = 0
    for tenths in range(5, 60, 6):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", MAKE], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(tenths / 10)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if (tmp_path / "mlflow.db").exists():
            assert sync(uri, "tessera", {}, tmp_path).failure is None
            shutil.move(tmp_path / "mlflow.db", tmp_path / "made.db")
            database._forget(uri)
    assert killed
    last = sync(uri, "tessera", {}, tmp_path)
    assert (last.failure, last.recorded + last.known) == (None, 1)
    assert not list(tmp_path.glob("*.broken-*"))
