"""What there is to show of a run, at one moment."""

import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tessera.devices import visible_devices
from tessera.monitor.estimates import Estimates
from tessera.monitor.standing import Standing, State, look, strangers
from tessera.monitor.time_left import TimeLeft, rest_of, time_left
from tessera.study.extending import extensions
from tessera.study.plan import Plan

SETTLED_S = 15.0  # Snakemake tries a failed job again at once, where it is told to, and plans before it starts one


@dataclass(frozen=True)
class View:
    """How a run stands.

    Attributes:
        rests: Seconds until a running job ends, by its name; None where nothing is known.
        devices: What each running job computes on, by its name: `GPU 0`, or nothing on a processor.
        busy: GPUs in use.
        gpus: GPUs of this machine.
        strangers: Jobs of other configurations that run here as well.
    """

    studies: tuple[str, ...]
    standings: tuple[Standing, ...]
    left: TimeLeft
    rests: dict[str, float | None]
    devices: dict[str, str]
    busy: int
    gpus: int
    strangers: int
    now: float

    def of(self, *states: State) -> list[Standing]:
        """The jobs in these states."""
        return [standing for standing in self.standings if standing.state in states]

    @property
    def counts(self) -> Counter[State]:
        """Jobs by state."""
        return Counter(standing.state for standing in self.standings)


@dataclass
class Watcher:
    """Looks at a run again and again.

    Attributes:
        studies: Names of the studies that are watched.
        waits: Whether a run is waited for that has not begun, or goes on later.
    """

    plan: Plan
    studies: tuple[str, ...]
    started: float = field(default_factory=time.time)
    waits: bool = False

    def __post_init__(self) -> None:
        self.estimates = Estimates.of(self.plan.root, self.plan.config.device)
        self.gpus = visible_devices() if self.plan.config.device != "cpu" else []
        self.most = 0
        self.made: set[str] | None = None
        self.still_since = 0.0
        self.idle_since = self.started

    def view(self) -> View:
        """How the run stands now."""
        now = time.time()
        standings = look(self.plan, self.studies)
        self._learn(standings)
        to_do = (item.job for item in standings if item.job is not None and item.state is not State.DONE)
        self.estimates.extended = extensions(to_do, self.plan.root)
        running = [standing for standing in standings if standing.state is State.RUNNING and standing.job is not None]
        self.most = max(self.most, len(running))
        return View(
            self.studies,
            tuple(standings),
            time_left(standings, self.estimates, max(self.most, len(self.gpus)), now),
            {standing.name: rest_of(standing, self.estimates, now) for standing in running},
            {standing.name: self._device(standing) for standing in running},
            sum(len(item.told.device.split(",")) for item in running if item.told and item.told.device),
            len(self.gpus),
            strangers(self.plan),
            now,
        )

    def is_over(self, view: View) -> bool:
        """Whether there is nothing more to see: all is done, what failed while we looked leaves nothing to run, or
        nothing has run for a while."""
        counts = view.counts
        if counts[State.DONE] == len(view.standings):
            return True
        if not self.is_idle(view):
            self.idle_since = view.now
        elif not self.waits and view.now - self.idle_since >= SETTLED_S:
            return True
        failed = any(standing.since >= self.started for standing in view.of(State.FAILED))
        if counts[State.RUNNING] or counts[State.WAITING] or not failed:
            self.still_since = view.now
        return view.now - self.still_since >= SETTLED_S

    def is_idle(self, view: View) -> bool:
        """Whether no job runs, and no Snakemake, which keeps a lock in the folder while it does."""
        return not view.counts[State.RUNNING] and not any(self.plan.root.glob(".snakemake/locks/*"))

    def _learn(self, standings: Sequence[Standing]) -> None:
        """What has just been made says how long its like will take."""
        jobs = [item.job for item in standings if item.job is not None and item.state is State.DONE]
        for job in jobs if self.made is not None else ():
            if job.folder not in (self.made or ()):
                self.estimates.learn(self.plan.root / job.manifest)
        self.made = {job.folder for job in jobs}

    def _device(self, standing: Standing) -> str:
        told = standing.told
        if told is None or not told.device:
            return ""
        is_here = told.host == platform.node()
        known = self.gpus if is_here else []
        ids = told.device.split(",")
        words = [str(known.index(word)) if word in known else word.removeprefix("GPU-")[:8] for word in ids]
        return f"GPU {', '.join(words)}" + ("" if is_here else f" of {told.host.partition('.')[0]}")
