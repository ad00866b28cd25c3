"""Which jobs one process makes: what is measured where it was made, or on the same features. Never imports torch."""

import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from tessera.jobs import EvaluateTarget, Job


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

    A network is measured in the process that trained it, and an encoder by every protocol in the process that
    pretrained it: a measurement takes less than the start of a process. Where the encoder is made already, the process
    of its first measurement makes the others. Snapshots of an encoder are measured one after another, by every protocol
    each. Clusterings, which train, have processes of their own.

    Args:
        jobs: What is to be made.
    """
    jobs = list(jobs)
    made_here = {job.folder: job for job in jobs}
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        if job.stage != EvaluateTarget.stage:
            continue
        model = job.inputs.get("network") or job.inputs["source"]
        run = _how(job)
        maker = made_here.get(model)
        if maker is not None and _how(maker) == run:
            alike.setdefault(json.dumps([model, job.trial, run], sort_keys=True), [maker]).append(job)
        elif "source" in job.inputs:  # networks have a protocol each, which reads no features
            alike.setdefault(json.dumps([job.inputs, job.trial, run], sort_keys=True), []).append(job)
    found = [Together(first, tuple(sorted(others, key=_at))) for first, *others in alike.values() if others]
    return {job.folder: one for one in found for job in (one.first, *one.others)}


def _at(job: Job) -> float:
    """The epoch of a snapshot that is measured; what is measured at the end comes last."""
    at: float | None = job.settings.get("at")
    return math.inf if at is None else at


def _how(job: Job) -> dict[str, Any]:
    """How a job runs, as far as one process cannot run jobs in two ways."""
    return job.run.model_dump(mode="json", exclude={"studies", "keep_state"})
