"""Which jobs one process makes: those that measure the same frozen encoder on the same images. Never imports torch."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from tessera.study.jobs import EvaluateTarget, Job


class Together(NamedTuple):
    """Jobs that one process makes.

    Each stays a job of its own: the others wait for the first, and then find themselves made; where the first could not
    make one, it makes itself. So nothing depends on who was made with whom.

    Attributes:
        first: The one whose process makes all.
        others: The others, in the plan's order.
    """

    first: Job
    others: tuple[Job, ...]


def together(jobs: Iterable[Job]) -> dict[str, Together]:
    """Artifact folder to those that are made with it; what is made alone is left out.

    Args:
        jobs: What is to be made.
    """
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        if job.stage == EvaluateTarget.stage and "source" in job.inputs:
            run = job.run.model_dump(mode="json", exclude={"studies"})
            alike.setdefault(json.dumps([job.inputs, job.trial, run], sort_keys=True), []).append(job)
    found = [Together(first, tuple(others)) for first, *others in alike.values() if others]
    return {job.folder: one for one in found for job in (one.first, *one.others)}
