"""The MLflow store: one run for each artifact, found again by its tag, so that nothing is logged twice.

Above the runs of a study's jobs stands the study's own, found again in the same way.
"""

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from tessera.tracking.study import TABLE, StudyView
from tessera.tracking.view import RunView

ARTIFACT = "tessera.artifact"
PARENT = "mlflow.parentRunId"
_SHOWN = "tessera.shown"  # digest of what a study's run shows
_METRICS_A_BATCH, _PARAMS_A_BATCH = 1000, 100  # the server's limits

# A server that is not there costs seconds: with MLflow's own settings one call blocks for four minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Store:
    """An open MLflow store. Every method may raise whatever MLflow raises: callers turn it into a warning.

    Args:
        uri: Tracking store or server.
        experiment: Name of the experiment; created where it is not there.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are no news: the error follows
        self.uri = uri
        with self.alone():  # processes that create one SQLite file at once break it for good
            from mlflow import MlflowClient

            self.client = MlflowClient(tracking_uri=uri)
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

    def start(self, artifact: str, tags: Mapping[str, str], start_ms: int | None = None) -> str:
        """Id of the artifact's run, created where it is not there."""
        known = self.runs(artifact).get(artifact)
        if known is not None:
            self.client.update_run(known.info.run_id, status="RUNNING")
            return str(known.info.run_id)
        run = self.client.create_run(
            self.experiment_id, start_ms, {ARTIFACT: artifact, **tags}, run_name=artifact.rpartition("/")[2]
        )
        return str(run.info.run_id)

    def log(self, run_id: str, metrics: Sequence[tuple[str, float, int, int]]) -> None:
        """Logs figures: (name, value, time in ms, step)."""
        from mlflow.entities import Metric

        for start in range(0, len(metrics), _METRICS_A_BATCH):
            batch = [
                Metric(name, value, time_ms, step)
                for name, value, time_ms, step in metrics[start : start + _METRICS_A_BATCH]
            ]
            self.client.log_batch(run_id, metrics=batch)

    def record(self, view: RunView) -> None:
        """Writes a finished artifact's run. After an interruption it writes the same once more, which MLflow drops."""
        from mlflow.entities import Param, RunTag

        run_id = self.start(view.artifact, view.tags, view.start_ms)
        params = [Param(name, value) for name, value in view.params.items()]
        for start in range(0, len(params), _PARAMS_A_BATCH):
            self.client.log_batch(run_id, params=params[start : start + _PARAMS_A_BATCH])
        self.log(run_id, view.metrics)
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in view.tags.items()])
        self.client.set_terminated(run_id, "FINISHED", view.end_ms)

    def record_study(self, view: StudyView, run: Any | None) -> tuple[str, bool]:
        """Brings a study's run up to date; returns its id, and whether anything was written.

        Args:
            run: The run as it is; None where there is none.
        """
        if run is not None and view.digest in ("", run.data.tags.get(_SHOWN)):
            return str(run.info.run_id), False
        run_id = str(run.info.run_id) if run is not None else self.start(view.artifact, view.tags)
        if view.digest:
            for path, folder in view.files.items():
                self.client.log_artifact(run_id, str(path), folder or None)
            if view.table is not None:
                self.client.log_text(run_id, json.dumps(view.table), TABLE)
            now = round(1000 * time.time())
            self.log(run_id, [(name, value, now, 0) for name, value in view.metrics.items()])
        tags = {**view.tags, "mlflow.note.content": view.note}
        if view.table is not None:  # MLflow's own mark of a table
            tags["mlflow.loggedArtifacts"] = json.dumps([{"path": TABLE, "type": "table"}])
        for name, value in tags.items():
            self.client.set_tag(run_id, name, value)
        if view.digest:
            self.client.set_terminated(run_id, "FINISHED")
            self.client.set_tag(run_id, _SHOWN, view.digest)  # last: an interrupted one is written once more
        else:
            self.client.update_run(run_id, status="SCHEDULED")  # its jobs may run; a study does not
        return run_id, True

    def finish(self, run_id: str, status: str) -> None:
        """Ends a run that left no artifact."""
        self.client.set_terminated(run_id, status)

    def tag(self, run_id: str, name: str, value: str) -> None:
        """Sets one tag."""
        self.client.set_tag(run_id, name, value)


def _lock_path(uri: str) -> Path:
    """Beside a local database, so that every user of it meets there; else in the user's temporary folder."""
    if (path := re.match(r"sqlite:///(.+)", uri)) is not None:
        database = Path(path[1])
        database.parent.mkdir(parents=True, exist_ok=True)
        return database.with_name(f"{database.name}.lock")
    name = hashlib.sha256(uri.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tessera-mlflow-{os.getuid()}-{name}.lock"
