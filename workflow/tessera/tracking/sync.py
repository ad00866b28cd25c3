"""Brings MLflow up to date with the artifacts: one run each, however often it is called."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.tracking.store import Store
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


def sync(uri: str, experiment: str, studies: Mapping[str, Sequence[str]], root: Path = Path()) -> Synced:
    """Writes a run for each complete artifact under `root` that has none. Never raises for what MLflow does.

    Args:
        studies: Artifact folder to the studies that need it, for the tags.
    """
    recorded = known = 0
    try:
        store = Store(uri, experiment)
        with store.alone():
            runs = store.runs()
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
                    store.record(view)
                    recorded += 1
                    continue
                known += 1
                if needed_by and run.data.tags.get("studies") != ", ".join(needed_by):
                    store.tag(run.info.run_id, "studies", ", ".join(needed_by))
    except Exception as error:  # whatever MLflow, a database or a network raises: it is a view, never a condition
        return Synced(recorded, known, one_line(error))
    return Synced(recorded, known)


def one_line(error: Exception) -> str:
    """The gist of an error of MLflow, whose messages are long."""
    text = str(error).strip() or type(error).__name__
    first = text.splitlines()[0]
    if "Max retries exceeded" in text or "Connection refused" in text or "timed out" in text:
        return "the server cannot be reached"
    return first[:200]
