"""Brings MLflow up to date with the artifacts, however often it is called: runs of jobs, cells and studies."""

import logging
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tessera.jobs import SummarizeStudy, TrainingState
from tessera.monitor.standing import SILENT_S
from tessera.study.plan import Asked
from tessera.told import FILE, read_told
from tessera.tracking.cells import CURRENT, Chains, read_cells
from tessera.tracking.database import database_of
from tessera.tracking.patience import Pulse, patiently
from tessera.tracking.store import PARENT, RUN_NAME, SHOWN, WHERE, Store
from tessera.tracking.study import read_study
from tessera.tracking.view import read_view

log = logging.getLogger("tessera")

PATIENCE_S = 60.0  # a server that answers nothing for so long is given up
_LOCAL_PATIENCE_S = 600.0  # another process may be at work on the same database
_LONGEST_TAG = 4000

Cells = Mapping[str, Mapping[tuple[str, str], Asked]]


@dataclass
class Synced:
    """What a sync did.

    Attributes:
        recorded: Runs written.
        known: Runs that were there.
        ended: Runs that were ended, since their jobs are no more.
        failure: Why it stopped, in a line; None where it did not.
    """

    recorded: int = 0
    known: int = 0
    ended: int = 0
    failure: str | None = None


@dataclass
class Places:
    """Where runs stand.

    Attributes:
        studies: Study to the id of its run.
        cells: Artifact folder to the ids of the runs of the cells that it led to, in the tables' order.
        named: Artifact folder to those cells, in words.
    """

    studies: dict[str, str] = field(default_factory=dict)
    cells: dict[str, dict[str, None]] = field(default_factory=dict)
    named: dict[str, dict[str, None]] = field(default_factory=dict)

    def tags(self, run: Any | None, artifact: str, needed_by: Sequence[str]) -> dict[str, str]:
        """The tags that put an artifact's run in its place: it stays where it is while that is one of its places."""
        found = {}
        ids = list(self.cells.get(artifact, ())) or [self.studies[name] for name in needed_by if name in self.studies]
        if ids:
            now = run.data.tags.get(PARENT) if run is not None else None
            found[PARENT] = now if now in ids else ids[0]
        if needed_by:
            found["studies"] = ", ".join(needed_by)
        if artifact in self.named:
            found["cells"] = "; ".join(self.named[artifact])[:_LONGEST_TAG]
        return found


def sync(
    uri: str,
    experiment: str,
    studies: Mapping[str, Sequence[str]],
    root: Path = Path(),
    summaries: Iterable[SummarizeStudy] = (),
    asked: Cells | None = None,
) -> Synced:
    """Writes a run for each complete artifact under `root` that has none. Never raises for what MLflow does.

    A study has a run, too, once it is complete or anything was measured that is its own. Below it stands a run for each
    measured cell and trial, and below those the runs of the jobs that led to it. A job of several cells or studies
    stands below the first of them; the tags `cells` and `studies` name all. Runs of jobs that were killed are ended.

    Args:
        studies: Artifact folder to the studies that need it, for the tags.
        summaries: The studies themselves.
        asked: What the cells of each study ask for.
    """
    done = Synced()
    patience_s = PATIENCE_S if database_of(uri) is None else _LOCAL_PATIENCE_S

    def work(pulse: Pulse) -> None:
        store = Store(uri, experiment, pulse.beat)
        with store.alone():
            pulse.beat()
            _sync(store, done, studies, root, list(summaries), asked or {})

    try:
        patiently(work, patience_s)
    except Exception as error:  # whatever MLflow, a database or a network raises: it is a view, never a condition
        return Synced(done.recorded, done.known, done.ended, one_line(error))
    return done


def _sync(
    store: Store,
    done: Synced,
    studies: Mapping[str, Sequence[str]],
    root: Path,
    summaries: Sequence[SummarizeStudy],
    asked: Cells,
) -> None:
    runs, chains = store.runs(), Chains(root)
    places = Places()
    for summary in summaries:
        if _begun(summary, studies, root):
            _sync_study(store, done, summary, runs, chains, places)
            if summary.name in places.studies:
                _sync_cells(store, done, summary, asked.get(summary.name, {}), runs, chains, places)
    for manifest in sorted(root.glob("artifacts/*/*/artifact.json")):
        if manifest.parent.parent.name == TrainingState.folder:
            continue  # it says nothing that the training which left it does not say
        artifact = manifest.parent.relative_to(root).as_posix()
        needed_by = studies.get(artifact, ())
        run = runs.get(artifact)
        tags = places.tags(run, artifact, needed_by)
        if run is not None and run.info.status == "FINISHED":
            done.known += 1
            view_name = run.info.run_name
            if view_name == manifest.parent.name:  # as it was named before names began with what differs
                tags |= _new_name(manifest.parent, artifact)
            store.tag(run, tags)
            continue
        try:
            view = read_view(manifest.parent, artifact, needed_by)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: cannot be shown in MLflow (%s)", manifest, error)
            continue
        view.tags.update(tags)
        store.record(view, run)
        done.recorded += 1
    done.ended = _end_the_killed(store, runs, root)


def _begun(summary: SummarizeStudy, studies: Mapping[str, Sequence[str]], root: Path) -> bool:
    """Whether anything of a study was measured that is its own, or all of it is there."""
    measured = {folder for cell in summary.cells for folder in cell.measured}
    made = [folder for folder in measured if (root / folder / "artifact.json").exists()]
    # What another study has measured, and this one would share, is no beginning of this one.
    own = any(summary.name in studies.get(folder, (summary.name,))[:1] for folder in made)
    return own or bool(made and (root / summary.marker).exists())


def _sync_study(
    store: Store, done: Synced, summary: SummarizeStudy, runs: Mapping[str, Any], chains: Chains, places: Places
) -> None:
    try:
        view = read_study(summary, chains.root, chains.times(summary.artifacts))
    except (OSError, ValueError, KeyError) as error:
        log.warning("results/%s: cannot be shown in MLflow (%s)", summary.name, error)
        return
    places.studies[summary.name], new = store.record_study(view, runs.get(view.artifact))
    done.recorded += new
    done.known += not new


def _sync_cells(
    store: Store,
    done: Synced,
    summary: SummarizeStudy,
    asked: Mapping[tuple[str, str], Asked],
    runs: Mapping[str, Any],
    chains: Chains,
    places: Places,
) -> None:
    shown = set()
    for words, cell in read_cells(summary, asked, chains):
        view = cell.view
        shown.add(view.artifact)
        run = runs.get(view.artifact)
        parent = {PARENT: places.studies[summary.name]}
        if run is not None and (run.info.status, run.data.tags.get(SHOWN)) == ("FINISHED", view.tags[SHOWN]):
            run_id = str(run.info.run_id)
            store.tag(run, {**parent, CURRENT: view.tags[CURRENT]})
            done.known += 1
        else:
            view.tags.update(parent)
            run_id = store.record(view, run)
            done.recorded += 1
        for folder in cell.chain:
            places.cells.setdefault(folder, {})[run_id] = None
            places.named.setdefault(folder, {})[words] = None
    for artifact, run in runs.items():  # of another configuration: they are no part of the table that is shown
        if artifact.startswith(f"results/{summary.name}/") and artifact not in shown:
            store.tag(run, {CURRENT: "no"})


def _new_name(folder: Path, artifact: str) -> dict[str, str]:
    try:
        return {RUN_NAME: read_view(folder, artifact).name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _end_the_killed(store: Store, runs: Mapping[str, Any], root: Path) -> int:
    """Ends the runs of jobs that were killed: they are said to run, but nobody is at work on them."""
    ended = 0
    for artifact, run in runs.items():
        _, _, place = artifact.partition("artifacts/")
        if run.info.status != "RUNNING" or not place or (root / artifact / "artifact.json").exists():
            continue
        resume = root / "resume" / place
        where = run.data.tags.get(WHERE, str(root.resolve()))
        if where != str(root.resolve()) or not resume.is_dir() or _is_at_work(resume):
            continue
        last = resume / FILE
        store.finish(run.info.run_id, "KILLED", round(1000 * last.stat().st_mtime) if last.exists() else None)
        ended += 1
    return ended


def _is_at_work(resume: Path) -> bool:
    """Whether a process holds the job's lock; or one on another machine, where locks may not reach, tells of it."""
    told = read_told(resume)
    if told is not None and told.host != platform.node() and time.time() - (resume / FILE).stat().st_mtime < SILENT_S:
        return True
    try:
        with FileLock(resume / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def one_line(error: Exception) -> str:
    """The gist of an error of MLflow, whose messages are long."""
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0]
    if "Max retries exceeded" in text or "Connection refused" in text or "timed out" in text:
        return "the server cannot be reached"
    return first[:200]
