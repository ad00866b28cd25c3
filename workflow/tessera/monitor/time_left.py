"""How long the rest will take: the jobs to come, one after the other on as many places as are busy now."""

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tessera.jobs import Job
from tessera.monitor.estimates import Estimates
from tessera.monitor.standing import Standing, State


@dataclass(frozen=True)
class TimeLeft:
    """An estimate for the whole.

    Attributes:
        seconds: Until the last job ends.
        unknown: Jobs that no estimate counts, since nothing has run that says anything of them.
        rough: Jobs that are guessed from jobs of other kinds.
    """

    seconds: float
    unknown: int
    rough: int = 0


def time_left(standings: Sequence[Standing], estimates: Estimates, places: int, now: float | None = None) -> TimeLeft:
    """Plays the rest through: a job starts when its inputs are there and a place is free, in the plan's order.

    Args:
        places: Jobs that run at once.
    """
    now = time.time() if now is None else now
    busy, waiting = list[tuple[float, str]](), dict[str, tuple[Job, float]]()
    unknown = rough = 0
    for standing in standings:
        if standing.job is None or standing.state not in (State.RUNNING, State.WAITING):
            continue
        seconds = rest_of(standing, estimates, now)
        unknown += seconds is None
        rough += seconds is not None and _is_guessed(standing, estimates)
        if standing.state is State.RUNNING:
            busy.append((seconds or 0.0, standing.job.folder))
        else:
            waiting[standing.job.folder] = standing.job, seconds or 0.0
    heapq.heapify(busy)
    clock = 0.0
    missing = {folder for _, folder in busy} | waiting.keys()
    while busy or waiting:
        for folder in _ready(waiting, missing, estimates)[: max(0, max(1, places) - len(busy))]:
            heapq.heappush(busy, (clock + waiting.pop(folder)[1], folder))
        if not busy:
            break  # the rest waits for what will not come
        clock, ended = heapq.heappop(busy)
        missing.discard(ended)
    return TimeLeft(clock, unknown, rough)


def rest_of(standing: Standing, estimates: Estimates, now: float) -> float | None:
    """Seconds until a job ends, counted from its start where it has not begun; None where nothing is known.

    Its own pace counts first. An epoch that takes longer than the last takes nothing from those after it; and before
    the first one is done, each of the others takes as long as this one has taken so far, at least.
    """
    assert standing.job is not None
    told, estimate = standing.told, estimates.of_job(standing.job)
    if told is not None and told.remaining_s is not None:
        epoch_s = told.epoch_s or 0.0
        later = epoch_s * _epochs_after(standing.job.settings, told.what, told.epochs)
        gone = min(now - told.at, told.remaining_s / max(1, told.epochs - told.epoch))
        return max(0.0, told.remaining_s + later - gone)
    least = 0.0
    if told is not None and told.epochs and told.at:
        least = (now - told.at) * (told.epochs - told.epoch - 1)
    if estimate is None:
        return least or None
    return max(least, estimate.seconds - (0.0 if told is None else now - told.started))


def _is_guessed(standing: Standing, estimates: Estimates) -> bool:
    if standing.told is not None and standing.told.remaining_s is not None:
        return False
    estimate = estimates.of_job(standing.job) if standing.job is not None else None
    return estimate is None or estimate.rough


def _ready(waiting: Mapping[str, tuple[Job, float]], missing: set[str], estimates: Estimates) -> list[str]:
    after = {folder: item.after.folder for folder, item in estimates.extended.items() if item.after is not None}
    return [
        folder
        for folder, (job, _) in waiting.items()
        if missing.isdisjoint(job.inputs.values()) and after.get(folder) not in missing
    ]


def _epochs_after(settings: Mapping[str, object], what: str, epochs: int) -> int:
    """Epochs of the parts of a training that come after the one at work: a first stage has a second."""
    second = settings.get("epochs")
    is_first = "first stage" in what and settings.get("first_stage_epochs") == epochs
    return second if is_first and isinstance(second, int) else 0
