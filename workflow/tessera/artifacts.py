"""Artifacts: folders that are complete or absent, with `artifact.json` written last. Never imports torch.

A stage writes into a draft under resume/, never under artifacts/, which DVC tracks. Publishing moves the draft into its
place in one rename.
"""

import csv
import errno
import json
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
from tessera.files import replace_text, sha256_of
from tessera.provenance import git_state, hardware
from tessera.study.jobs import FOLDERS, Job

MANIFEST = "artifact.json"
CHECKED_BYTES = 64 * 2**20  # larger inputs are checked by size alone when they are read
_LIBRARIES = ("tessera", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "safetensors")

# What of the package determines the result of a stage; a change is recorded, though only `version` changes keys.
_CODE = {
    "prepare_dataset": ("data",),
    "generate_pretext_labels": ("data", "tasks", "models", "training.py"),
    "pretrain_source": ("data", "tasks", "models", "multitask", "training.py", "optimizers.py"),
    "transfer_knowledge": ("data", "models", "transfer", "detection", "training.py", "optimizers.py", "measure.py"),
    "evaluate_target": ("data", "models", "targets", "detection", "training.py", "measure.py"),
    "cluster_target": ("data", "models", "targets", "clustering", "training.py", "optimizers.py", "measure.py"),
}


def resume_folder(job: Job) -> Path:
    """What a job keeps between processes: lock, training state, draft, and a copy of the manifest."""
    return Path("resume", FOLDERS[job.stage], job.name)


def publish(job: Job, draft: Path, seconds: float, device: Mapping[str, Any], to_restore: bool = False) -> Path:
    """Completes a draft with its manifest and moves it to its place; returns the artifact's folder.

    Args:
        draft: Folder with everything that the stage made.
        seconds: What it took.
        device: Of the manifest's `hardware`: what it ran on.
        to_restore: Leave it to the job's own process, which is to come, to put the manifest there (`restore`):
            Snakemake warns of an output that is there before its job.

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
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for name, path in files.items()},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    folder = Path(job.folder)
    # The copy comes first: Snakemake deletes its declared output, artifact.json, when it was killed before it noted
    # the job as done. The copy then tells the next run that everything is there.
    replace_text(resume_folder(job) / MANIFEST, text)
    if not to_restore:
        replace_text(draft / MANIFEST, text)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():  # made by Snakemake, empty; or left without its manifest
        shutil.rmtree(folder)
    _move(draft, folder)
    return folder


def _move(draft: Path, folder: Path) -> None:
    """Moves a folder in one rename, also where artifacts/ is a link to another disk than resume/."""
    try:
        os.replace(draft, folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
        shutil.copytree(draft, beside)
        os.replace(beside, folder)
        shutil.rmtree(draft)


def restore(job: Job) -> bool:
    """Whether the artifact is there, complete; puts a deleted manifest back where the files are as it says."""
    folder, copy = Path(job.folder), resume_folder(job) / MANIFEST
    if not (folder / MANIFEST).exists():
        try:
            check(folder, json.loads(copy.read_text())["files"], whole=True)
        except (OSError, ValueError, KeyError, ArtifactError):
            return False
        replace_text(folder / MANIFEST, copy.read_text())
        return True
    try:
        verify(folder, whole=True)
    except ArtifactError:
        return False
    return True


def verify(folder: Path, whole: bool = False) -> dict[str, Any]:
    """Checks an artifact against its manifest, and returns the manifest. A damaged artifact is moved aside.

    Args:
        whole: Also compute checksums of files above 64 MB, whose size alone is checked otherwise.

    Raises:
        ArtifactError: If it is missing, incomplete or damaged.
    """
    manifest = read_manifest(folder)
    try:
        check(folder, manifest["files"], whole)
    except ArtifactError as error:
        where = move_aside(folder)
        raise ArtifactError(f"{error}. Moved to {where}; the next run makes it again.") from None
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `artifact.json` says.

    Raises:
        ArtifactError: If it is missing or no such file.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: no {MANIFEST}, so it is not complete. Run snakemake again.") from None
    except (OSError, ValueError) as error:
        where = move_aside(folder)
        raise ArtifactError(
            f"{folder}: {MANIFEST} cannot be read ({error}). Moved to {where}; the next run makes it again."
        ) from None
    return manifest


def check(folder: Path, files: Mapping[str, Mapping[str, Any]], whole: bool) -> None:
    """Compares files with what the manifest says of them.

    Raises:
        ArtifactError: If one is missing, or its size or checksum differs.
    """
    for name, stated in files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{folder}: {name} is missing")
        if path.stat().st_size != stated["bytes"]:
            raise ArtifactError(f"{folder}: {name} has {path.stat().st_size} bytes, but should have {stated['bytes']}")
        if (whole or stated["bytes"] < CHECKED_BYTES) and sha256_of(path) != stated["sha256"]:
            raise ArtifactError(f"{folder}: {name} does not match its checksum (damaged?)")


def move_aside(folder: Path) -> Path:
    """Moves a damaged artifact out of the way, to resume/damaged, which nothing tracks."""
    aside = Path("resume", "damaged", f"{folder.name}.{time.time_ns()}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # another job found the damage as well, and was quicker
        shutil.move(folder, aside)
    return aside


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
    for word in _CODE[stage]:
        for path in sorted([package / word] if word.endswith(".py") else (package / word).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def from_other_code(jobs: Iterable[Job]) -> list[str]:
    """Folders of complete artifacts that other code than the present made, by the hash in their manifests."""
    folders = []
    for job in jobs:
        try:
            made_by = json.loads(Path(job.manifest).read_text()).get("code")
        except (OSError, ValueError):
            continue
        if made_by != code_hash(job.stage):
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
