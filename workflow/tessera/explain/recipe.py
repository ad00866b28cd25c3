"""What determines an artifact, of a job to come and of an artifact on disk alike."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tessera.jobs import STAGES, Job, key_of
from tessera.manifest import MANIFEST, PRECISIONS
from tessera.monitor.words import without_trial
from tessera.study.plan import Plan


@dataclass(frozen=True)
class Recipe:
    """The content of a key, and when it was followed.

    Attributes:
        precision: As it was asked for; a precision that is named is part of the key.
        code: Hash of the code that made the artifact; empty of a job to come.
        finished: Date and time (ISO 8601, UTC); empty of a job to come.
        own_code: Parts from outside of Tessera to the version of their code, part of the key.
    """

    stage: str
    folder: str
    version: int
    trial: int | None
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    precision: str = "auto"
    code: str = ""
    finished: str = ""
    seconds: float = 0.0
    hardware: Mapping[str, Any] = field(default_factory=dict)
    own_code: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the artifact's folder."""
        return self.folder.rpartition("/")[2]

    @property
    def words(self) -> str:
        """The readable part of the name, without trial and key."""
        return without_trial(self.name)

    @property
    def day(self) -> str:
        """When it was made, as YYYY-MM-DD."""
        return self.finished[:10]


def of_job(job: Job) -> Recipe:
    """What determines a job's result."""
    precision = job.run.precision if STAGES[job.stage].computes else "auto"
    return Recipe(
        job.stage, job.folder, job.version, job.trial, job.settings, job.inputs, precision, own_code=job.own_code
    )


def of_manifest(path: Path, folder: str) -> Recipe | None:
    """What a manifest says; None where it cannot be read.

    Args:
        folder: The artifact's, relative to the working directory.
    """
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe(
            about["kind"],
            folder,
            about["version"],
            about["trial"],
            dict(about["settings"]),
            dict(about["inputs"]),
            "auto",
            about.get("code") or "",
            about.get("finished") or "",
            float(about.get("seconds") or 0.0),
            about.get("hardware") or {},
            dict(about.get("own_code") or {}),
        )
        return None if recipe.stage not in STAGES else _with_precision(recipe, str(about["key"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _with_precision(recipe: Recipe, key: str) -> Recipe:
    """A manifest says with which precision it was made, not whether that was asked for; its key does."""
    of = recipe.stage, recipe.version, recipe.trial, recipe.settings, recipe.inputs
    for precision in PRECISIONS:
        if key_of(*of, precision, recipe.own_code) == key:
            return replace(recipe, precision=precision)
    return recipe


class Shelf:
    """Every artifact that is there, every job of the plan, and what is remembered of artifacts that are gone.

    Attributes:
        made: Artifact folder to recipe, of those that are complete.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.root = plan, plan.root
        self.made: dict[str, Recipe] = {}
        for path in sorted(self.root.glob(f"artifacts/*/*/{MANIFEST}")):
            folder = path.parent.relative_to(self.root).as_posix()
            if (recipe := of_manifest(path, folder)) is not None:
                self.made[folder] = recipe
        self._known: dict[str, Recipe | None] = dict(self.made)

    def recipe(self, folder: str) -> Recipe | None:
        """Of an artifact's folder: made, planned or remembered; None where nothing is known."""
        if folder not in self._known:
            job = self.plan.jobs.get(folder)
            self._known[folder] = of_job(job) if job is not None else self.remembered(folder)
        return self._known[folder]

    def remembered(self, folder: str) -> Recipe | None:
        """Of an artifact that was made here and is gone: its job kept a copy of the manifest."""
        return of_manifest(self.root / folder.replace("artifacts/", "resume/", 1) / MANIFEST, folder)

    def damaged(self, folder: str) -> bool:
        """Whether the artifact was moved out of the way, since its files did not fit its manifest."""
        name = folder.rpartition("/")[2]
        return any(self.root.glob(f"resume/damaged/{name}.*"))

    def of_stage(self, stage: str) -> list[Recipe]:
        """Those of a stage that are made."""
        return [recipe for recipe in self.made.values() if recipe.stage == stage]
