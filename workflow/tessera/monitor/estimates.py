"""How long a job will take, by what earlier jobs took. Reads artifacts' manifests alone; never imports torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from tessera.devices import num_devices
from tessera.jobs import STAGES, Job
from tessera.monitor.costs import cost_of
from tessera.monitor.words import without_trial
from tessera.provenance import hardware
from tessera.study.extending import Extension

# How much is done, not what, or when in a training it is looked at: two jobs that differ in these alone take times in
# proportion to the images they train on.
_LENGTHS = (
    *("epochs", "first_stage_epochs", "iterations", "batch_size", "statistics_batches", "optimizer"),
    *("snapshots", "at"),
)
_FAR = 10.0  # a job ten times as long says little: start and end are no part of the proportion


@dataclass(frozen=True)
class Estimate:
    """What a job should take.

    Attributes:
        earlier: Names of the earlier jobs that it comes from.
        here: Whether they ran on this machine; else none of that kind did, and these ran elsewhere.
        rough: None of its kind has run: guessed from jobs of other kinds.
    """

    seconds: float
    earlier: frozenset[str]
    here: bool
    rough: bool = False


@dataclass(frozen=True)
class Past:
    """One earlier job.

    Attributes:
        images: What it trained on, as `images_of` counts.
        is_here: Whether it ran on this machine.
        cost: Of an image, as `cost_of` tells; None where it does not.
    """

    name: str
    stage: str
    images: float
    seconds: float
    is_here: bool
    cost: float | None


class Estimates:
    """The times of earlier jobs.

    Args:
        machine: Processor and device, as manifests name them, of the jobs to come.

    Attributes:
        extended: Folders of the jobs to come that go on from a state, to it: the rest of their epochs is estimated.
    """

    def __init__(self, machine: tuple[str, str]) -> None:
        self.machine = machine
        self.past: dict[str, list[Past]] = {}
        self.every: list[Past] = []
        self.extended: Mapping[str, Extension] = {}

    @classmethod
    def of(cls, root: Path, device: str = "auto") -> "Estimates":
        """Reads every artifact under `root`.

        Args:
            device: As of the configuration: a GPU counts as this machine's only where jobs will use it.
        """
        estimates = cls((str(hardware()["processor"]), "cuda" if device != "cpu" and num_devices() else "cpu"))
        for path in sorted(root.glob("artifacts/*/*/artifact.json")):
            estimates.learn(path)
        return estimates

    def learn(self, manifest: Path) -> None:
        """Takes in one more job; one that cannot be read says nothing."""
        try:
            about = json.loads(manifest.read_text())
            stage, settings, stated = about["kind"], about["settings"], about["hardware"]
            device = stated["device"] if STAGES[stage].computes else self.machine[1]
            is_here = (stated["processor"], device) == self.machine
            past = Past(about["name"], stage, images_of(settings), float(about["seconds"]), is_here, cost_of(settings))
            kinds = kinds_of(stage, about["name"], settings, about["inputs"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self.every.append(past)
        for kind in kinds:
            self.past.setdefault(kind, []).append(past)

    def of_job(self, job: Job) -> Estimate | None:
        """From other trials of the job, else from its like, in proportion to the images; else a rough guess.

        Any time of this machine counts more than one of another. None where nothing has run that says anything.
        """
        whole = self._of_whole(job)
        if whole is None or job.folder not in self.extended:
            return whole
        return replace(whole, seconds=whole.seconds * (1 - self.extended[job.folder].share))

    def _of_whole(self, job: Job) -> Estimate | None:
        kinds, images = kinds_of(job.stage, job.name, job.settings, job.inputs), images_of(job.settings)
        for is_here in (True, False):
            for kind in kinds:
                alike = [past for past in self.past.get(kind, ()) if past.is_here == is_here]
                near = [past for past in alike if images / _FAR <= past.images <= images * _FAR]
                if near:
                    seconds = median(past.seconds * images / past.images for past in near)
                    return Estimate(seconds, frozenset(past.name for past in near), is_here)
        return self._guess(job)

    def _guess(self, job: Job) -> Estimate | None:
        """From jobs of other kinds: trainings by images and what a network costs, others by what such jobs take."""
        images, cost = images_of(job.settings), cost_of(job.settings)
        alike = [past for past in self.every if (past.images > 1) == (images > 1)]
        for is_here in (True, False):
            there = [past for past in alike if past.is_here == is_here]
            # One that says what its network costs, of one that does; else one of the stage; else any.
            known = [past for past in there if past.cost and cost]
            near = known or [past for past in there if past.stage == job.stage] or there
            if near:
                ratios = [(cost or 1) / (past.cost or 1) if past in known else 1.0 for past in near]
                each = [past.seconds * images / past.images * r for past, r in zip(near, ratios, strict=True)]
                return Estimate(median(each), frozenset(past.name for past in near), is_here, rough=True)
        return None


def kinds_of(stage: str, name: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> tuple[str, ...]:
    """What a job is one of, from narrow to wide: its trials; its like of any length; the same work on the like."""
    read = {role: without_trial(folder.rpartition("/")[2]) for role, folder in inputs.items()}
    alike: Any = _without_lengths(settings)
    if (source := settings.get("source")) is not None:  # other tasks, the same network
        wide = [source.get("encoder"), source.get("dataset", {}).get("image_size"), source.get("sharing")]
    elif "dataset" in read:  # another source, the same target
        wide = [alike, read["dataset"]]
    else:
        wide = [without_trial(name)]
    return tuple(json.dumps([stage, kind], sort_keys=True) for kind in ([settings, read], [alike, read], wide))


def images_of(settings: Mapping[str, Any]) -> float:
    """Images that a job trains on, each as often as a task sees it; 1 where its time has nothing to do with that."""
    training = settings.get("source", settings)
    epochs = training.get("epochs", 0) + training.get("first_stage_epochs", 0)
    steps = epochs * training.get("iterations", 0) * max(1, len(training.get("tasks", ())))
    return float(max(1, steps * training.get("batch_size", 0)))


def _without_lengths(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {key: _without_lengths(value) for key, value in settings.items() if key not in _LENGTHS}
    return settings
