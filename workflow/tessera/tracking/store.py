"""The MLflow store: a run for each artifact, cell and study, found again by its tag: nothing is logged twice."""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tessera.tracking.database import database_of, is_broken, make_database, set_aside
from tessera.tracking.patience import Beating
from tessera.tracking.study import TABLE, StudyView
from tessera.tracking.view import RunView

log = logging.getLogger("tessera")

ARTIFACT = "tessera.artifact"
SHOWN = "tessera.shown"  # digest of what a run shows that is no artifact's
WHERE = "tessera.folder"  # of the project whose job runs: other projects may share the store
PARENT, RUN_NAME = "mlflow.parentRunId", "mlflow.runName"
_METRICS_A_BATCH, _ENTRIES_A_BATCH = 800, 100  # the server takes 1000 of all kinds, and 100 parameters or tags

# A server that is not there costs seconds: with MLflow's own settings one call blocks for four minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Store:
    """An open MLflow store. Every method may raise whatever MLflow raises: callers turn it into a warning.

    A local database that can never be opened again is moved aside, and made anew: all that we show is read from files.

    Args:
        uri: Tracking store or server.
        experiment: Name of the experiment; created where it is not there.
        beat: Called whenever MLflow has answered.
    """

    def __init__(self, uri: str, experiment: str, beat: Callable[[], None] = lambda: None) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are no news: the error follows
        self.uri, self.beat = uri, beat
        with self.alone():
            path = database_of(uri)
            try:
                self._open(experiment, path)
            except Exception as error:
                if path is None or not is_broken(error, path):
                    raise
                aside = set_aside(path)
                log.warning(
                    "%s could not be opened (cut short while it was made?): moved to %s. A new one is made from the "
                    "artifacts; runs that other programs have logged are in the old one alone",
                    path,
                    aside,
                )
                self._open(experiment, path)

    def _open(self, experiment: str, path: Path | None) -> None:
        if path is not None:
            make_database(path)
        from mlflow import MlflowClient

        self.client: Any = Beating(MlflowClient(tracking_uri=self.uri), self.beat)
        found = self.client.get_experiment_by_name(experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        self.experiment_id = found.experiment_id if found else self.client.create_experiment(experiment)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process of ours writes meanwhile."""
        with FileLock(_lock_path(self.uri)):
            yield

    def runs(self, artifact: str | None = None) -> dict[str, Any]:
        """Artifact to its MLflow run; of one artifact, or of all."""
        wanted = f"tags.`{ARTIFACT}` = '{artifact}'" if artifact else ""
        found: dict[str, Any] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=1000, page_token=token)
            found.update({run.data.tags[ARTIFACT]: run for run in page if ARTIFACT in run.data.tags})
            token = page.token
            if not token:
                return found

    def start(
        self, artifact: str, name: str, tags: Mapping[str, str], start_ms: int | None = None, run: Any | None = None
    ) -> str:
        """Id of the artifact's run, created where it is not there.

        Args:
            name: What the list of runs shows.
            run: The run as it is; None where there is none.
        """
        if run is not None:
            self.client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        made = self.client.create_run(self.experiment_id, start_ms, {ARTIFACT: artifact, **tags}, run_name=name)
        return str(made.info.run_id)

    def log(
        self,
        run_id: str,
        metrics: Sequence[tuple[str, float, int, int]] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Logs figures: (name, value, time in ms, step); then parameters; then tags, with as few calls as may be."""
        from mlflow.entities import Metric, Param, RunTag

        shown = [Metric(*metric) for metric in metrics]
        settings = [Param(*param) for param in (params or {}).items()]
        marks = [RunTag(*tag) for tag in (tags or {}).items()]
        last = max(1, -(-len(shown) // _METRICS_A_BATCH), -(-len(settings) // _ENTRIES_A_BATCH))
        for index in range(last):
            self.client.log_batch(
                run_id,
                metrics=shown[index * _METRICS_A_BATCH : (index + 1) * _METRICS_A_BATCH],
                params=settings[index * _ENTRIES_A_BATCH : (index + 1) * _ENTRIES_A_BATCH],
                tags=marks if index == last - 1 else [],
            )

    def record(self, view: RunView, run: Any | None) -> str:
        """Writes a finished run; returns its id.

        After an interruption it writes the same once more, which MLflow drops. What a run was asked to do cannot be
        changed: parameters that it has stay.

        Args:
            run: The run as it is; None where there is none.
        """
        run_id = self.start(view.artifact, view.name, view.tags, view.start_ms, run)
        known = run.data.params if run is not None else {}
        params = {name: value for name, value in view.params.items() if name not in known}
        tags = {} if run is None else {**view.tags, RUN_NAME: view.name}
        self.log(run_id, view.metrics, params, tags)
        self.client.set_terminated(run_id, "FINISHED", view.end_ms)
        return run_id

    def record_study(self, view: StudyView, run: Any | None) -> tuple[str, bool]:
        """Brings a study's run up to date; returns its id, and whether anything was written.

        Args:
            run: The run as it is; None where there is none.
        """
        if run is not None and view.digest in ("", run.data.tags.get(SHOWN)):
            return str(run.info.run_id), False
        name = view.artifact.rpartition("/")[2]
        run_id = str(run.info.run_id) if run is not None else self.start(view.artifact, name, view.tags, view.start_ms)
        tags = {**view.tags, "mlflow.note.content": view.note}
        if view.table is not None:  # MLflow's own mark of a table
            tags["mlflow.loggedArtifacts"] = json.dumps([{"path": TABLE, "type": "table"}])
        if not view.digest:
            self.log(run_id, tags=tags)
            self.client.update_run(run_id, status="SCHEDULED")  # its jobs may run; a study does not
            return run_id, True
        for path, folder in view.files.items():
            self.client.log_artifact(run_id, str(path), folder or None)
        if view.table is not None:
            self.client.log_text(run_id, json.dumps(view.table), TABLE)
        now = round(1000 * time.time())
        self.log(run_id, [(name, value, now, 0) for name, value in view.metrics.items()], tags=tags)
        self.client.set_terminated(run_id, "FINISHED", view.end_ms)
        self.client.set_tag(run_id, SHOWN, view.digest)  # last: an interrupted one is written once more
        return run_id, True

    def finish(self, run_id: str, status: str, end_ms: int | None = None) -> None:
        """Ends a run that left no artifact."""
        self.client.set_terminated(run_id, status, end_ms)

    def tag(self, run: Any, tags: Mapping[str, str]) -> None:
        """Sets those tags that a run does not have as they should be."""
        if changed := {name: value for name, value in tags.items() if run.data.tags.get(name) != value}:
            self.log(run.info.run_id, tags=changed)


def _lock_path(uri: str) -> Path:
    """Beside a local database, so that every user of it meets there; else in the user's temporary folder."""
    if (database := database_of(uri)) is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        return database.with_name(f"{database.name}.lock")
    name = hashlib.sha256(uri.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tessera-mlflow-{os.getuid()}-{name}.lock"
