"""Which trainings go on from the state of a shorter one, on disk or of one that is made before. Never imports torch."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tessera.artifacts import resume_folder
from tessera.jobs import Job, PretrainSource
from tessera.states import Unlike, kept, state_of, unlike, unmoved_epochs
from tessera.training.checkpoint import reached


class Extension(NamedTuple):
    """What a training goes on from.

    Attributes:
        state: Its state, as a job.
        after: The training to be made first, which leaves the state; None: it is there.
        share: Of its epochs, those that are done in it.
    """

    state: Job
    after: Job | None
    share: float


def _leaves(job: Job, state: Job) -> bool:
    """Whether a training leaves this state: one with other snapshots on the way leaves another."""
    return job.run.keep_state and state_of(job, state.settings["epochs"]).key == state.key


def _done(root: Path, job: Job) -> int:
    """Epochs of a training that was begun."""
    number = re.match(r"epoch (\d+) ", reached(root / resume_folder(job) / "state"))
    return int(number[1]) if number else 0


def extensions(jobs: Iterable[Job], root: Path) -> dict[str, Extension]:
    """Artifact folder to what its training goes on from; those that begin anew are left out.

    Of several states the longest, where it is further than what the training itself left. None is made for its own
    sake: what is made already is not made again for its state.

    Args:
        jobs: What is to be made.
        root: The project's folder.
    """
    alike: dict[str, list[tuple[int, Job]]] = {}
    for job in jobs:
        if job.stage == PretrainSource.stage and (unmoved := unmoved_epochs(job)):
            alike.setdefault(state_of(job, 1).key, []).append((unmoved, job))
    found = {}
    for group in alike.values():
        ordered = sorted(group, key=lambda item: item[0])
        for place, (unmoved, job) in enumerate(ordered):
            before = [(epochs, other) for epochs, other in ordered[:place] if _leaves(other, state_of(job, epochs))]
            there = next(kept(root, job, unmoved), None)
            done = 0 if there is None else there.settings["epochs"]
            if before and before[-1][0] > done:
                done, after = before[-1]
                state = state_of(job, done)
            elif there is not None:
                state, after = there, None
            else:
                continue
            if done <= _done(root, job):  # what it has by itself is further
                continue
            found[job.folder] = Extension(state, after, done / job.settings["source"]["epochs"])
    return found


def passed_over(jobs: Iterable[Job], root: Path, extended: Mapping[str, Extension]) -> dict[str, Unlike]:
    """Artifact folder to a state that is there and would serve, had the training the same snapshots until then.

    Args:
        jobs: What is to be made.
        root: The project's folder.
        extended: What `extensions` gave.
    """
    found = {}
    for job in jobs:
        if unmoved := unmoved_epochs(job):
            done = extended[job.folder].state.settings["epochs"] if job.folder in extended else 0
            if (other := unlike(root, job, unmoved, max(done, _done(root, job)))) is not None:
                found[job.folder] = other
    return found
