"""Brings MLflow up to date with the artifacts: one run each, however often it is called."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.study.jobs import SummarizeStudy
from tessera.tracking.store import PARENT, Store
from tessera.tracking.study import read_study
from tessera.tracking.view import read_view

log = logging.getLogger("tessera")


@dataclass(frozen=True)
class Synced:
    """What a sync did.

    Attributes:
        recorded: Runs written.
        known: Runs that were there.
        failure: Why it stopped, in a line; None where it did not.
    """

    recorded: int
    known: int
    failure: str | None = None


def sync(
    uri: str,
    experiment: str,
    studies: Mapping[str, Sequence[str]],
    root: Path = Path(),
    summaries: Iterable[SummarizeStudy] = (),
) -> Synced:
    """Writes a run for each complete artifact under `root` that has none. Never raises for what MLflow does.

    A study has a run, too, once it is complete or anything was measured that is its own: it stands above those of its
    jobs and shows its tables. A job of several studies stands below the first of them; the tag `studies` names all.

    Args:
        studies: Artifact folder to the studies that need it, for the tags.
        summaries: The studies themselves.
    """
    recorded = known = 0
    try:
        store = Store(uri, experiment)
        with store.alone():
            runs = store.runs()
            parents, written = _sync_studies(store, runs, summaries, studies, root)
            recorded += written
            known += len(parents) - written
            for manifest in sorted(root.glob("artifacts/*/*/artifact.json")):
                artifact = manifest.parent.relative_to(root).as_posix()
                needed_by = studies.get(artifact, ())
                run = runs.get(artifact)
                if run is None or run.info.status != "FINISHED":
                    try:
                        view = read_view(manifest.parent, artifact, needed_by)
                    except (OSError, ValueError, KeyError) as error:
                        log.warning("%s: cannot be shown in MLflow (%s)", manifest, error)
                        continue
                    view.tags.update(_place(run, needed_by, parents))
                    store.record(view)
                    recorded += 1
                    continue
                known += 1
                tags = _place(run, needed_by, parents)
                if needed_by:
                    tags["studies"] = ", ".join(needed_by)
                for name, value in tags.items():
                    if run.data.tags.get(name) != value:
                        store.tag(run.info.run_id, name, value)
    except Exception as error:  # whatever MLflow, a database or a network raises: it is a view, never a condition
        return Synced(recorded, known, one_line(error))
    return Synced(recorded, known)


def _sync_studies(
    store: Store,
    runs: Mapping[str, Any],
    summaries: Iterable[SummarizeStudy],
    studies: Mapping[str, Sequence[str]],
    root: Path,
) -> tuple[dict[str, str], int]:
    """Study to the id of its run, and how many were written."""
    parents, written = dict[str, str](), 0
    for summary in summaries:
        measured = {folder for cell in summary.cells for folder in cell.artifacts}
        made = [folder for folder in measured if (root / folder / "artifact.json").exists()]
        # What another study has measured, and this one would share, is no beginning of this one.
        own = any(summary.name in studies.get(folder, (summary.name,))[:1] for folder in made)
        if not own and not (made and (root / summary.marker).exists()):
            continue
        try:
            view = read_study(summary, root)
        except (OSError, ValueError, KeyError) as error:
            log.warning("results/%s: cannot be shown in MLflow (%s)", summary.name, error)
            continue
        parents[summary.name], new = store.record_study(view, runs.get(view.artifact))
        written += new
    return parents, written


def _place(run: Any | None, needed_by: Sequence[str], parents: Mapping[str, str]) -> dict[str, str]:
    """The tag that puts a run below its study's; it stays where it is while that is one of its studies."""
    ids = [parents[name] for name in needed_by if name in parents]
    now = run.data.tags.get(PARENT) if run is not None else None
    return {PARENT: now if now in ids else ids[0]} if ids else {}


def one_line(error: Exception) -> str:
    """The gist of an error of MLflow, whose messages are long."""
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0]
    if "Max retries exceeded" in text or "Connection refused" in text or "timed out" in text:
        return "the server cannot be reached"
    return first[:200]
