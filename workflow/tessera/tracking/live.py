"""Shows a long training in MLflow while it runs: in batches, from a thread, behind a breaker that trips once.

Trainings know nothing of it: it listens to the log, where every epoch leaves a record with its figures. A short job
never imports MLflow; the sync at the end of the run shows it.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tessera.progress import telling
from tessera.study.jobs import Job
from tessera.tracking.view import Metric, metric_name, read_view, tags_of

log = logging.getLogger("tessera")

EVERY_S = 30.0


@contextmanager
def watch(job: Job) -> Iterator[None]:
    """Shows the block while it runs: in the job's progress file, and in MLflow where it has a store and lasts."""
    with telling(job), _logging(job):
        yield


@contextmanager
def _logging(job: Job) -> Iterator[None]:
    """Logs the epochs of the block to MLflow."""
    if job.run.mlflow_uri is None:
        yield
        return
    live = Live(job, job.run.mlflow_uri)
    log.addHandler(live)
    live.thread.start()
    try:
        yield
    except BaseException as error:
        log.removeHandler(live)
        live.stop("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    log.removeHandler(live)
    live.stop("FINISHED")


class Live(logging.Handler):
    """Collects records that carry figures, and sends them now and then.

    Args:
        job: The job that runs.
        uri: Tracking store or server.
    """

    def __init__(self, job: Job, uri: str) -> None:
        super().__init__()
        self.job, self.uri = job, uri
        self.waiting: list[Metric] = []
        self.broken = False
        self.run_id: str | None = None
        self.stopping = threading.Event()
        # A daemon: a server that hangs never keeps a finished job from ending.
        self.thread = threading.Thread(target=self._send_now_and_then, daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes the figures of an epoch; costs nothing else."""
        figures = getattr(record, "figures", None)
        if figures and not self.broken:
            what, epoch = str(getattr(record, "what", "")), int(getattr(record, "epoch", 0))
            prefix = "live/" + re.sub(r"\s+", "_", what)
            now = round(1000 * time.time())
            self.waiting += [
                (metric_name(f"{prefix}/{name}"), float(value), now, epoch) for name, value in figures.items()
            ]

    def stop(self, status: str) -> None:
        """Sends no more; ends the run where one was begun."""
        self.stopping.set()
        if self.run_id is not None:
            self.thread.join(timeout=10)
            self._guarded(lambda: self._end(status))

    def _send_now_and_then(self) -> None:
        while not self.stopping.wait(EVERY_S) and not self.broken:
            if self.waiting:
                self._guarded(self._send)

    def _send(self) -> None:
        from tessera.tracking.store import Store

        job = self.job
        if self.run_id is None:
            self.store = Store(self.uri, job.run.mlflow_experiment)
            with self.store.alone():
                tags = tags_of(job.stage, job.key, job.trial, job.run.studies)
                self.run_id = self.store.start(job.folder, tags)
        batch, self.waiting = self.waiting, []
        self.store.log(self.run_id, batch)

    def _end(self, status: str) -> None:
        assert self.run_id is not None
        if status == "FINISHED":
            with self.store.alone():
                self.store.record(read_view(Path(self.job.folder), self.job.folder, self.job.run.studies))
        else:
            self.store.finish(self.run_id, status)

    def _guarded(self, action: Callable[[], None]) -> None:
        if self.broken:
            return
        try:
            action()
        except Exception as error:  # whatever MLflow or the network raises: the training matters more
            from tessera.tracking.sync import one_line

            self.broken = True
            log.warning("MLflow at %s: %s; this job is shown later, by the sync at the end", self.uri, one_line(error))
