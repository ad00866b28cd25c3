"""`tessera plan`."""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tessera.commands.options import add_studies, chosen, say
from tessera.monitor.estimates import Estimate, Estimates
from tessera.monitor.standing import SUMMARIZE, Standing, State, look
from tessera.monitor.words import count, device_time
from tessera.study.jobs import STAGES
from tessera.study.plan import Plan

HELP = "what would run, what is made already, and how long the rest will take"
LARGEST = 5


@dataclass(frozen=True)
class Row:
    """One job, and what it should take."""

    standing: Standing
    estimate: Estimate | None

    @property
    def to_do(self) -> bool:
        """Whether it is not made."""
        return self.standing.state is not State.DONE


def add_options(command: argparse.ArgumentParser) -> None:
    """Which studies, and how much to tell."""
    add_studies(command)
    command.add_argument("--jobs", action="store_true", help="list every job")


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Says what would run: jobs of each kind, what is made already, and what the rest will take. Starts nothing."""
    names = chosen(plan, options.studies)
    estimates = Estimates.of(plan.root, plan.config.device)
    rows = [
        Row(standing, estimates.of_job(standing.job) if standing.job is not None else None)
        for standing in look(plan, names)
    ]
    parts = [_head(plan, names, rows), _stages(rows)]
    if options.jobs:
        parts.append(_every(rows))
    elif largest := _largest(rows):
        parts.append(largest)
    if notes := plan.notes(options.studies):
        parts.append("\n".join(["Left out:", *(f"  {note}" for note in notes)]))
    say("\n\n".join(parts))
    return 0


def _head(plan: Plan, names: Sequence[str], rows: Sequence[Row]) -> str:
    summaries = {**plan.studies, **plan.others}
    studies = ", ".join(
        f"{name} (scale {summaries[name].scale}, {count(summaries[name].trials, 'trial')})" for name in names
    )
    to_do = [row for row in rows if row.to_do]
    lines = [
        f"{'Study' if len(names) == 1 else 'Studies'}: {studies}",
        f"{count(len(rows), 'job')}: {len(rows) - len(to_do)} made already, {len(to_do)} to do{_hours(to_do)}",
    ]
    states = Counter(row.standing.state for row in rows)
    if states[State.RUNNING]:
        lines.append(f"{count(states[State.RUNNING], 'job')} at work now: `tessera watch` shows them")
    lines += [f"failed when last run: {row.standing.log}" for row in rows if row.standing.state is State.FAILED]
    return "\n".join(lines)


def _hours(rows: Sequence[Row]) -> str:
    """What the rest takes, in all."""
    counted = [row for row in rows if row.standing.job is not None]
    known = [row.estimate.seconds for row in counted if row.estimate is not None]
    if not counted:
        return ""
    if not known:
        return "; how long is unknown: no job of these kinds has run here"
    unknown = len(counted) - len(known)
    return f"; about {device_time(sum(known))} of device time" + (
        f", and {count(unknown, 'job')} of unknown length" if unknown else ""
    )


def _stages(rows: Sequence[Row]) -> str:
    lines = [f"{'':25}{'jobs':>6}{'made':>6}{'to do':>7}   {'device time':<12} estimated from"]
    for stage in (*STAGES, SUMMARIZE):
        mine = [row for row in rows if row.standing.stage == stage]
        if not mine:
            continue
        to_do = [row for row in mine if row.to_do]
        line = f"{stage:25}{len(mine):6}{len(mine) - len(to_do):6}{len(to_do):7}"
        lines.append(f"{line}   {_estimated(to_do)}".rstrip() if stage != SUMMARIZE else line)
    return "\n".join(lines)


def _estimated(to_do: Sequence[Row]) -> str:
    """The hours of a stage, and where they come from."""
    if not to_do:
        return ""
    known = [row.estimate for row in to_do if row.estimate is not None]
    if not known:
        return "unknown: no job of this kind has run here"
    earlier = {name for estimate in known for name in estimate.earlier}
    text = f"{device_time(sum(estimate.seconds for estimate in known)):<12} {count(len(earlier), 'earlier job')}"
    if not all(estimate.here for estimate in known):
        text += ", elsewhere" if not any(estimate.here for estimate in known) else ", some elsewhere"
    unknown = len(to_do) - len(known)
    return text + (f"; {unknown} unknown" if unknown else "")


def _largest(rows: Iterable[Row]) -> str:
    known = [(row.estimate.seconds, row.standing.name) for row in rows if row.to_do and row.estimate is not None]
    largest = sorted(known, reverse=True)[:LARGEST]
    if len(known) < 2:
        return ""
    return "\n".join(["The longest to do:", *(f"  {device_time(seconds):>8}  {name}" for seconds, name in largest)])


def _every(rows: Iterable[Row]) -> str:
    lines = []
    for row in rows:
        seconds = "" if not row.to_do or row.standing.job is None else "unknown"
        if row.to_do and row.estimate is not None:
            seconds = device_time(row.estimate.seconds)
        state = {State.DONE: "made", State.WAITING: "to do", State.BLOCKED: "to do"}.get(row.standing.state)
        where = row.standing.job.folder if row.standing.job is not None else f"results/{row.standing.name}"
        lines.append(f"  {state or row.standing.state:<8}{seconds:>8}  {where}")
    return "\n".join(["Every job:", *lines])
