"""Artifacts: folders that are complete or absent, with `artifact.json` written last. Never imports torch.

A stage writes into a draft under resume/, never under artifacts/, which DVC tracks. Publishing moves the draft into its
place in one rename.
"""

import csv
import errno
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from tessera.errors import ArtifactError
from tessera.files import draft_of, remove_drafts, replace_bytes, replace_text, settle, sha256_of
from tessera.jobs import KINDS, STAGES, Job
from tessera.manifest import MANIFEST, DamagedError, Manifest, check, inspect, parse_manifest
from tessera.provenance import git_state, hardware

log = logging.getLogger("tessera")

COMPILED = Path("resume", "compile")  # kernels that were compiled here, and what was measured of them

# Where artifacts/ is shared by projects, what looks wrong may be on its way: it is looked at again, after a pause.
_LOOKS, _PAUSE_S, _ATTEMPTS = 2, 0.1, 5
_LIBRARIES = ("tessera", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "safetensors", "timm")


def resume_folder(job: Job) -> Path:
    """What a job keeps between processes: lock, training state, draft, and a copy of the manifest."""
    return Path("resume", KINDS[job.stage].folder, job.name)


def publish(
    job: Job,
    draft: Path,
    seconds: float,
    device: Mapping[str, Any],
    to_restore: bool = False,
    extends: Mapping[str, Any] | None = None,
) -> Path:
    """Completes a draft with its manifest and moves it to its place; returns the artifact's folder.

    Args:
        draft: Folder with everything that the stage made.
        seconds: What it took.
        device: Of the manifest's `hardware`: what it ran on.
        to_restore: Leave it to the job's own process, which is to come, to put the manifest there (`restore`):
            Snakemake warns of an output that is there before its job.
        extends: Of a training that went on from another's state: which, and how much of `seconds` that one took.

    Raises:
        ArtifactError: If the stage made nothing.
    """
    files = {path.relative_to(draft).as_posix(): path for path in sorted(draft.rglob("*")) if path.is_file()}
    if not files:
        raise ArtifactError(f"{job.folder}: the stage `{job.stage}` made no file.")
    manifest = {
        "kind": job.stage,
        "name": job.name,
        "key": job.key,
        "version": job.version,
        "trial": job.trial,
        "settings": job.settings,
        "inputs": job.inputs,
        "own_code": job.own_code,
        "code": code_hash(job.stage),
        "versions": {"python": sys.version.split()[0], **_library_versions()},
        "git": git_state(Path(__file__).parent),
        "hardware": {**hardware(), **device},
        "seconds": round(seconds, 3),
        **({"extends": dict(extends)} if extends else {}),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for name, path in files.items()},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    folder = Path(job.folder)
    if kept := _complete(folder):
        log.warning("%s: another process has made it meanwhile; that one is kept", folder)
        _keep_copy(job, kept)
        shutil.rmtree(draft)
        return folder
    # The copy comes first: Snakemake deletes its declared output, artifact.json, when it was killed before it noted
    # the job as done. The copy then tells the next run that everything is there.
    _keep_copy(job, text)
    if not to_restore:
        replace_text(draft / MANIFEST, text)
    settle(draft)  # the training's state goes next
    folder.parent.mkdir(parents=True, exist_ok=True)
    _place(draft, folder)
    return folder


def _keep_copy(job: Job, manifest: str) -> None:
    if job.stage in STAGES:  # of nothing else does Snakemake know
        replace_text(resume_folder(job) / MANIFEST, manifest)


def _complete(folder: Path) -> str:
    """The manifest of an artifact that is there and right, or nothing."""
    try:
        text = (folder / MANIFEST).read_text()
        inspect(folder, whole=True)
    except (OSError, ArtifactError):
        return ""
    return text


def _place(draft: Path, folder: Path) -> None:
    """Moves a folder to its place in one rename, also where artifacts/ is a link to another disk than resume/.

    What is there already is no artifact: made by Snakemake, empty; left without its manifest; or damaged. Where
    artifacts/ is shared, another project may put the same artifact there at this moment: that one is kept.
    """
    for _ in range(_ATTEMPTS):
        try:
            os.replace(draft, folder)
            return
        except OSError as error:
            if error.errno == errno.EXDEV:
                beside = draft_of(folder)
                shutil.copytree(draft, beside, dirs_exist_ok=True)
                settle(beside)
                _place(beside, folder)
                shutil.rmtree(draft)
                return
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if _complete(folder):
            shutil.rmtree(draft)
            return
        _remove(folder)
    raise ArtifactError(f"{folder}: other processes keep changing it. Run snakemake again.")


def _remove(folder: Path) -> None:
    """Takes a folder away in one rename, then removes it, so that no half of it is ever seen."""
    taken = draft_of(folder.with_name(f"{folder.name}.old"))
    with suppress(FileNotFoundError):
        os.replace(folder, taken)
        taken.unlink() if taken.is_symlink() or taken.is_file() else shutil.rmtree(taken)


def restore(job: Job) -> bool:
    """Whether the artifact is there, complete; puts a deleted manifest back where the files are as it says."""
    folder, copy = Path(job.folder), resume_folder(job) / MANIFEST
    for place in (folder.parent, folder, copy.parent):
        remove_drafts(place)
    if (folder / MANIFEST).exists():
        try:
            verify(folder, whole=True)
        except ArtifactError as error:
            log.warning("%s", error)
            return False
        return True
    try:
        text = copy.read_bytes()
        manifest = parse_manifest(text)
        if manifest.name != job.name:
            raise DamagedError(f"{copy}: it is that of {manifest.name}")
        check(folder, manifest, whole=True)
    except (OSError, ValueError, ArtifactError):
        return False  # never made, or not whole: either way it is made now
    replace_bytes(folder / MANIFEST, text)
    return True


def verify(folder: Path, whole: bool = False) -> Manifest:
    """Checks an artifact against its manifest, and returns the manifest. A damaged artifact is moved aside.

    Args:
        whole: Also compute checksums of files above 64 MB, whose size alone is checked otherwise.

    Raises:
        ArtifactError: If it is missing, incomplete or damaged.
    """
    for look in range(_LOOKS):
        try:
            return inspect(folder, whole)
        except ArtifactError as error:
            wrong = error
        if look < _LOOKS - 1:
            time.sleep(_PAUSE_S)
    if not isinstance(wrong, DamagedError):
        raise wrong
    where = move_aside(folder, whole)
    if where is None:
        return inspect(folder, whole)
    raise ArtifactError(f"{wrong}. {where}; the next run makes it again.") from None


def verify_all(folders: Iterable[str]) -> None:
    """Checks artifacts that are read together. Damaged ones are moved aside, all of them.

    Raises:
        ArtifactError: If one is missing, incomplete or damaged: a line for each.
    """
    wrong = []
    for folder in folders:
        try:
            verify(Path(folder))
        except ArtifactError as error:
            wrong.append(str(error))
    if wrong:
        raise ArtifactError("\n".join(wrong))


def move_aside(folder: Path, whole: bool = False) -> str | None:
    """Moves a damaged artifact out of the way, to resume/damaged, which nothing tracks.

    Returns:
        Where it is now, in words; None where it was right by the time that it was taken, and is back in its place.
    """
    taken = draft_of(folder)
    try:
        os.replace(folder, taken)
    except FileNotFoundError:
        return "Another process has moved it away"
    except OSError as error:
        return f"It cannot be moved away ({error.strerror}): delete it"
    with suppress(ArtifactError):
        inspect(taken, whole, place=folder)
        try:
            os.replace(taken, folder)
        except OSError:  # another one is there by now
            shutil.rmtree(taken)
        return None
    aside = Path("resume", "damaged", f"{folder.name}.{time.time_ns()}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(taken, aside)
    return f"Moved to {aside}"


def save_history(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Writes a training's figures, one line an epoch; columns in the order in which they first come."""
    lines = list(rows)
    columns = list(dict.fromkeys(name for line in lines for name in line))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def save_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Writes figures by name; what is not finite is null, since JSON knows no NaN."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
    path.write_text(json.dumps(finite, indent=1, allow_nan=False) + "\n")


@cache
def code_hash(stage: str) -> str:
    """Hash of the package's code that determines a stage's results."""
    package = Path(__file__).parent
    digest = sha256()
    for room in KINDS[stage].rooms:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def from_other_code(jobs: Iterable[Job]) -> list[str]:
    """Folders of complete artifacts that other code than the present made, by the hash in their manifests."""
    folders = []
    for job in jobs:
        try:
            stated = json.loads(Path(job.manifest).read_text())
        except (OSError, ValueError, RecursionError):
            continue  # whoever reads the artifact says so
        if isinstance(stated, dict) and stated.get("code") != code_hash(job.stage):
            folders.append(job.folder)
    return folders


def _library_versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
