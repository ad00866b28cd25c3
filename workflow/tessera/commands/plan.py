"""`tessera plan`."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tessera.commands.options import add_studies, chosen, say
from tessera.explain.mixed import mixed
from tessera.explain.words import wrapped
from tessera.jobs import STAGES
from tessera.monitor.estimates import Estimate, Estimates
from tessera.monitor.standing import SUMMARIZE, Standing, State, look
from tessera.monitor.words import count, device_time
from tessera.states import Unlike
from tessera.study.extending import Extension, extensions, passed_over
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
    standings = look(plan, names)
    to_do = [each.job for each in standings if each.job is not None and each.state is not State.DONE]
    extended = estimates.extended = extensions(to_do, plan.root)
    rows = [
        Row(standing, estimates.of_job(standing.job) if standing.job is not None else None) for standing in standings
    ]
    parts = [_head(plan, names, rows), _stages(rows)]
    if extended:
        parts.append("\n".join(["Go on from the state of a shorter training:", *_extended(extended)]))
    if others := passed_over(to_do, plan.root, extended):
        parts.append("\n".join(["Longer states that go unused for their snapshots alone:", *_passed_over(others)]))
    if options.jobs:
        parts.append(_every(rows))
    elif largest := _largest(rows):
        parts.append(largest)
    if notes := plan.notes(options.studies):
        parts.append("\n".join(["Left out:", *(f"  {note}" for note in notes)]))
    if notes := mixed(plan, names):
        parts.append("\n".join(["Made in several ways:", *(line for note in notes for line in wrapped(note, 2, 2))]))
    say("\n\n".join(parts))
    return 0


def _head(plan: Plan, names: Sequence[str], rows: Sequence[Row]) -> str:
    summaries = {**plan.studies, **plan.others}
    studies = ", ".join(
        f"{name} (scale {summaries[name].scale}, {count(summaries[name].trials, 'trial')})"
        + (f", of it {summaries[name].part}" if summaries[name].part else "")
        for name in names
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
        return "; how long is unknown: nothing has run here yet that says it"
    unknown = len(counted) - len(known)
    text = f"; about {device_time(sum(known))} of device time"
    if unknown:
        text += f", and {count(unknown, 'job')} of unknown length"
    estimates = [row.estimate for row in counted if row.estimate is not None]
    return text + _how_sure(estimates)


def _how_sure(estimates: Sequence[Estimate]) -> str:
    """A line that says how much of the time is guessed, and from where; nothing where all is from its like, here."""
    rough = [estimate for estimate in estimates if estimate.rough]
    away = [estimate for estimate in estimates if not estimate.here]
    notes = []
    if rough:
        share = sum(estimate.seconds for estimate in rough)
        notes.append(f"{device_time(share)} of it ({count(len(rough), 'job')}) a rough guess from jobs of other kinds")
    if away:
        all_away = len(away) == len(estimates)
        notes.append(f"{'all' if all_away else count(len(away), 'job')} by the times of other machines")
    return f"\nHow sure: {'; '.join(notes)}" if notes else ""


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
        return "unknown: nothing has run that says it"
    earlier = {name for estimate in known for name in estimate.earlier}
    rough = sum(estimate.rough for estimate in known)
    text = f"{device_time(sum(estimate.seconds for estimate in known)):<12} {count(len(earlier), 'earlier job')}"
    if rough:
        text += " of other kinds" if rough == len(known) else f", {rough} roughly"
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


def _extended(extended: Mapping[str, Extension]) -> Iterator[str]:
    for folder, extension in extended.items():
        where = "which is there" if extension.after is None else f"which {extension.after.name} leaves"
        yield from wrapped(
            f"{folder.rpartition('/')[2]}: after epoch {extension.state.settings['epochs']} "
            f"({extension.share:.0%} of it), {where}",
            2,
            4,
        )


def _passed_over(others: Mapping[str, Unlike]) -> Iterator[str]:
    for folder, other in others.items():
        name, until = folder.rpartition("/")[2], f"the state after epoch {other.epochs} is there, but carries"
        if not other.snapshots:
            yield from wrapped(f"{name}: {until} no snapshot: ask for none below it to go on from there", 2, 4)
            continue
        epochs = f"{'epoch' if len(other.snapshots) == 1 else 'epochs'} {', '.join(map(str, other.snapshots))}"
        yield from wrapped(
            f"{name}: {until} those of {epochs} with `statistics_batches: {other.statistics_batches}`: ask for the "
            "same below it to go on from there",
            2,
            4,
        )


def _every(rows: Iterable[Row]) -> str:
    lines = []
    for row in rows:
        seconds = "" if not row.to_do or row.standing.job is None else "unknown"
        if row.to_do and row.estimate is not None:
            seconds = ("~" if row.estimate.rough else "") + device_time(row.estimate.seconds)
        state = {State.DONE: "made", State.WAITING: "to do", State.BLOCKED: "to do"}.get(row.standing.state)
        where = row.standing.job.folder if row.standing.job is not None else f"results/{row.standing.name}"
        lines.append(f"  {state or row.standing.state:<8}{seconds:>8}  {where}")
    return "\n".join(["Every job:", *lines])
