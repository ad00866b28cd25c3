"""The marker of a study's results: that they are made, and which files they are. Never imports torch or matplotlib."""

import json
import shutil
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tessera.files import sha256_of
from tessera.jobs import SummarizeStudy
from tessera.manifest import File, is_inside

SHARED = ("index.html",)  # of all studies, in results/


class Marker(BaseModel):
    """What is relied upon of `provenance-<key>.json`.

    Attributes:
        files: Name within the study's folder to what it is; empty of a marker of an earlier version, which is believed.
    """

    files: dict[str, File] = {}


def stated(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """What a marker says of files, by name."""
    return {name: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in sorted(files.items())}


def differing(summary: SummarizeStudy, root: Path) -> dict[str, str]:
    """Result files that are not as the study's marker says, with what is wrong with each; nothing without a marker."""
    marker = root / summary.marker
    try:
        about = Marker.model_validate(json.loads(marker.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, ValidationError, RecursionError):
        return {marker.name: "cannot be read"}
    found = {}
    for name, file in about.files.items():
        path = marker.parent / name
        if not is_inside(name):
            return {marker.name: "cannot be read"}
        if not path.is_file():
            found[name] = "is missing"
        elif path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
            found[name] = "was changed"
    results = marker.parent.parent
    shared = [*SHARED, f"metrics/{summary.name}", f"plots/{summary.name}.csv"] if about.files else []
    return found | {f"../{name}": "is missing" for name in shared if not (results / name).exists()}


def set_aside(summary: SummarizeStudy, root: Path, differing: Mapping[str, str]) -> Path | None:
    """Takes a study's marker away, so that its results are made again; keeps a copy of what someone changed in them.

    Returns:
        The folder of the copies; None where none was changed.
    """
    marker = root / summary.marker
    kept = root / "resume" / "damaged" / f"results.{summary.name}.{time.time_ns()}"
    changed = [name for name, what in differing.items() if what == "was changed"]
    for name in changed:
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(marker.parent / name, kept / name)
    marker.unlink(missing_ok=True)
    return kept if changed else None
