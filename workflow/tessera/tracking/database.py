"""A local MLflow database: complete or absent, however the process that makes it ends. Call it under the store's lock.

MLflow makes one in dozens of migrations, which take seconds. Cut short within one, it can never be opened again.
"""

import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("tessera")

SETTLE_S = 5.0  # who else makes a database writes to it meanwhile
_BROKEN = ("_alembic_tmp_", "duplicate column name", "already exists", "malformed", "file is not a database")
_BESIDE = ("", "-journal", "-wal", "-shm")  # what SQLite keeps beside a database


def database_of(uri: str) -> Path | None:
    """The file of a local store; None where it is a server, or in memory."""
    found = re.match(r"sqlite:///(?!:memory:)([^?]+)", uri)
    return Path(found[1]) if found else None


def make_database(path: Path) -> None:
    """Makes the database where there is none: in a draft, which takes its place in one rename."""
    for left in path.parent.glob(f"{path.name}.*.draft*"):  # by a process that was killed: we hold the lock
        left.unlink(missing_ok=True)
    if path.exists() and path.stat().st_size > 0:
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    _migrate(draft)
    os.replace(draft, path)


def is_broken(error: Exception, path: Path) -> bool:
    """Whether an error of opening a database says that it never will open, and nobody is at work on it."""
    text = str(error)
    if "sqlite3." not in text or not any(word in text for word in _BROKEN):
        return False
    seen = path.stat().st_mtime_ns
    time.sleep(SETTLE_S)
    return path.stat().st_mtime_ns == seen


def set_aside(path: Path) -> Path:
    """Moves a broken database out of the way, with what lies beside it; returns its new place."""
    aside = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    for ending in _BESIDE:
        with suppress(FileNotFoundError):
            os.replace(f"{path}{ending}", f"{aside}{ending}")
    _forget(f"sqlite:///{path}")
    return aside


def _migrate(path: Path) -> None:
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    uri = f"sqlite:///{path}"
    make: Callable[[str, str], object] = SqlAlchemyStore
    make(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
    _forget(uri)


def _forget(uri: str) -> None:
    """Closes the connections that MLflow keeps by name: the name will mean another file, or none."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = getattr(SqlAlchemyStore, "_engine_map", {}).pop(uri, None)
    if engine is not None:
        engine.dispose()
