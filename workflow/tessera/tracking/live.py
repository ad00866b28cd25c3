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
from typing import TYPE_CHECKING

from tessera.jobs import Job
from tessera.told import telling
from tessera.tracking.patience import Pulse
from tessera.tracking.view import Metric, metric_name, name_of, params_of, read_view, tags_of

if TYPE_CHECKING:
    from tessera.tracking.store import Store

log = logging.getLogger("tessera")

EVERY_S = 30.0
PATIENCE_S = 30.0  # a finished job waits no longer for a word of MLflow
LATER = "this job is shown later, by the sync at the end"


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
    status = "FINISHED"
    try:
        yield
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"  # stopped by Ctrl-C or a signal
        raise
    finally:
        log.removeHandler(live)
        live.stop(status)


class Live(logging.Handler):
    """Collects records that carry figures, and sends them now and then.

    All that waits for MLflow happens in one thread, which a finished job leaves behind once MLflow answers no more.

    Args:
        job: The job that runs.
        uri: Tracking store or server.
    """

    def __init__(self, job: Job, uri: str) -> None:
        super().__init__()
        self.job, self.uri = job, uri
        self.started_ms = round(1000 * time.time())
        self.waiting: list[Metric] = []
        self.broken = False
        self.store: Store | None = None
        self.run_id: str | None = None
        self.status = ""
        self.stopping = threading.Event()
        self.pulse = Pulse()
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
        """Sends no more; ends the run where one was begun.

        Waits as long as MLflow answers: a thread that is cut short loses the end of its run.
        """
        self.status = status
        self.pulse.beat()
        self.stopping.set()
        if not self.pulse.wait(self.thread, PATIENCE_S):
            self.broken = True
            log.warning("MLflow at %s: no answer for %.0f s; %s", self.uri, PATIENCE_S, LATER)

    def _send_now_and_then(self) -> None:
        while not self.stopping.wait(EVERY_S) and not self.broken:
            if self.waiting:
                self._guarded(self._send)
        if self.run_id is not None:
            self._guarded(self._end)

    def _send(self) -> None:
        from tessera.tracking.store import PARENT, WHERE, Store

        job = self.job
        if self.store is None:
            self.store = Store(self.uri, job.run.mlflow_experiment, self.pulse.beat)
        if self.run_id is None:
            with self.store.alone():
                tags = {**tags_of(job.stage, job.key, job.trial, job.run.studies), WHERE: str(Path().resolve())}
                above = (self.store.runs(f"results/{study}").get(f"results/{study}") for study in job.run.studies)
                if (study := next(filter(None, above), None)) is not None:
                    tags[PARENT] = study.info.run_id
                name = name_of(job.stage, job.words, job.trial, job.inputs)
                known = self.store.runs(job.folder).get(job.folder)
                self.run_id = self.store.start(job.folder, name, tags, self.started_ms, known)
                self.store.log(self.run_id, tags=tags, params=params_of(job.settings, job.inputs, Path()))
        self._send_waiting(self.store, self.run_id)

    def _send_waiting(self, store: "Store", run_id: str) -> None:
        self.acquire()  # the lock under which records come
        batch, self.waiting = self.waiting, []
        self.release()
        if batch:
            store.log(run_id, batch)

    def _end(self) -> None:
        assert self.store is not None
        assert self.run_id is not None
        self._send_waiting(self.store, self.run_id)  # epochs since the thread last looked
        if self.status == "FINISHED":
            with self.store.alone():
                known = self.store.runs(self.job.folder).get(self.job.folder)
                self.store.record(read_view(Path(self.job.folder), self.job.folder, self.job.run.studies), known)
        else:
            self.store.finish(self.run_id, self.status)

    def _guarded(self, action: Callable[[], None]) -> None:
        if self.broken:
            return
        try:
            action()
        except Exception as error:  # whatever MLflow or the network raises: the training matters more
            from tessera.tracking.sync import one_line

            self.broken = True
            log.warning("MLflow at %s: %s; %s", self.uri, one_line(error), LATER)
