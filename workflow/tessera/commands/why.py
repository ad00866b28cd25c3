"""`tessera why`."""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tessera.commands.options import say
from tessera.explain.facts import Change, changes
from tessera.explain.nearest import Explainer, Reason, Why, causes
from tessera.explain.recipe import Recipe
from tessera.explain.subjects import RowOf, Subjects
from tessera.explain.words import change_lines, some, wrapped
from tessera.jobs import STAGES, Job, SummarizeStudy
from tessera.monitor.standing import State, look
from tessera.monitor.words import count, duration, shortened
from tessera.study.extending import extensions
from tessera.study.plan import Plan

HELP = "why a job or a study would run: which setting, which input, since which artifact"


def add_options(command: argparse.ArgumentParser) -> None:
    """What is asked about."""
    command.add_argument(
        "subjects",
        nargs="*",
        metavar="WHAT",
        help="a study, a row's label, or a job: its folder, its name or a part of it; the chosen studies otherwise",
    )


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Says whether a job, a row or a study is made, whether it would run, and why: what differs from the nearest
    artifact that is there, old → new, back to the setting it comes from. Starts nothing."""
    explainer = Explainer(plan)
    subjects = Subjects(plan, explainer.shelf)
    parts = []
    for word in options.subjects or plan.studies:
        if word in subjects.summaries:
            parts.append(_study(explainer, subjects.summaries[word]))
        elif rows := subjects.rows(word):
            parts += [_row(explainer, row) for row in rows]
        elif (folder := subjects.job(word)) is not None:
            parts.append(_job(explainer, folder))
        else:
            raise subjects.unknown(word)
    say("\n\n".join("\n".join(lines) for lines in parts))
    return 0


def _study(explainer: Explainer, summary: SummarizeStudy) -> list[str]:
    plan = explainer.plan
    jobs = [plan.jobs[folder] for folder in summary.artifacts]
    head = f"{summary.name} (scale {summary.scale}, {count(summary.trials, 'trial')})"
    lines = _jobs(explainer, head, jobs, [summary])
    if (plan.root / summary.marker).exists():
        return [*lines, "", "Its tables are made."]
    return [*lines, "", *_tables(explainer, summary, any(not (plan.root / job.manifest).exists() for job in jobs))]


def _row(explainer: Explainer, row: RowOf) -> list[str]:
    measured = [folder for cell in row.study.cells if cell.row == row.label for folder in cell.measured]
    needed = _below(explainer.plan, measured)
    jobs = [explainer.plan.jobs[folder] for folder in row.study.artifacts if folder in needed]
    return _jobs(explainer, f"Row '{row.label}' of {row.study.name}", jobs, [row.study])


def _jobs(
    explainer: Explainer, head: str, jobs: Sequence[Job], studies: Iterable[SummarizeStudy] | None = None
) -> list[str]:
    whys = [explainer.why(job) for job in jobs]
    to_do = [why for why in whys if why.reason is not Reason.MADE]
    made = len(whys) - len(to_do)
    lines = wrapped(f"{head}: {count(len(jobs), 'job')}, {made} made, {len(to_do)} would run", hanging=2)
    if other := [why for why in whys if why.other_code]:
        stages = _stages(why.job.stage for why in other)
        lines += wrapped(
            f"{len(other)} of those made are from other code of the same version ({stages}): they count as made. "
            "Delete an artifact to make it again.",
            hanging=2,
        )
    for part in _groups(to_do, _rows_of(explainer.plan, studies)):
        lines += ["", *part]
    return lines


def _groups(whys: Sequence[Why], rows: Mapping[str, list[str]]) -> list[list[str]]:
    """Each cause once, with the jobs that it is one of: first what is not there for another reason than a setting."""
    parts = []
    for reason, sentence in _SENTENCES.items():
        if group := [why for why in whys if why.reason is reason]:
            number = count(len(group), "job")
            parts.append([*wrapped(sentence.format(number, _latest(group)), hanging=2), *_about(group, rows)])
    changed = [why for why in whys if why.reason is Reason.CHANGED]
    found = causes(changed)
    if len(found) > 1:
        parts.append(wrapped(f"{count(len(found), 'cause')}; a job can stand under several:"))
    for group, told in found:
        number = f"{count(len(group), 'job')}: the nearest artifact that is there differs in"
        parts.append([number, *change_lines(told), *_about(group, rows)])
    return parts


_SENTENCES = {
    Reason.FIRST: "{0}: no artifact of this stage is there to compare with",
    Reason.GONE: "{0}: made before (last {1}), and the artifact is gone since",
    Reason.DAMAGED: "{0}: the artifact was damaged, and was moved to resume/damaged",
}


def _about(group: Sequence[Why], rows: Mapping[str, list[str]]) -> list[str]:
    """Which jobs a cause touches."""
    first = group[0]
    lines = wrapped(f"jobs: {_stages(why.job.stage for why in group)}", 2, 2)
    labels = list(dict.fromkeys(label for why in group for label in rows.get(why.job.folder, ())))
    lines += wrapped(f"rows: {some(labels)}", 2, 2) if labels else []
    lines.append(f"  {'e.g.' if len(group) > 1 else 'job:'} {shortened(first.job.name, 70)}")
    if first.reason is Reason.CHANGED and first.nearest is not None:
        lines.append(f"  near: {shortened(first.nearest.name, 60)}  {first.nearest.day}".rstrip())
    return lines


def _tables(explainer: Explainer, summary: SummarizeStudy, waits: bool) -> list[str]:
    """Why the tables would be made: from new jobs, or from the same under other names."""
    before = _before(explainer, summary)
    if before is None:
        return ["Its tables are not made yet."]
    news = [
        Change(what, before.get(what), getattr(summary, what))
        for what in ("title", "scale", "trials", "part")
        if (before.get(what) or "") != getattr(summary, what)
    ]
    news += _row_changes(before, summary)
    cost = "after those jobs" if waits else "which takes seconds, and no job runs again"
    if not news:
        why = "." if waits else ": other texts or figures stand in them."
        return wrapped(f"Its tables would be made again, {cost}{why}", hanging=2)
    return [
        *wrapped(f"Its tables would be made again, {cost}. Of the last ones differ:", hanging=2),
        *change_lines(news),
    ]


def _row_changes(before: Mapping[str, Any], summary: SummarizeStudy) -> list[Change]:
    """Rows that came, went, or have another label on the same artifacts."""
    old, new = dict[str, set[str]](), dict[str, set[str]]()
    for cell in before.get("cells", ()):
        old.setdefault(str(cell.get("row")), set()).update(cell.get("artifacts", ()))
    for own in summary.cells:
        new.setdefault(own.row, set()).update(own.artifacts)
    gone = [label for label in before.get("rows", ()) if label not in new]
    found = []
    for label in (label for label in summary.rows if label not in old):
        twin = next((each for each in gone if old.get(each) == new.get(label)), None)
        found.append(Change("row", None, label) if twin is None else Change("row renamed", twin, label))
        gone = [each for each in gone if each != twin]
    return [*found, *(Change("row", label, None) for label in gone)]


def _before(explainer: Explainer, summary: SummarizeStudy) -> dict[str, Any] | None:
    try:
        content = json.loads((explainer.plan.root / "results" / summary.name / "table.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _job(explainer: Explainer, folder: str) -> list[str]:
    plan = explainer.plan
    job = plan.jobs.get(folder)
    if job is None:
        return _not_wanted(explainer, explainer.shelf.made[folder])
    why = explainer.why(job)
    lines = [*wrapped(f"{job.name}", 0, 2), f"  stage: {job.stage}", *wrapped(f"folder: {job.folder}", 2, 2)]
    rows = _rows_of(plan).get(folder, [])
    lines += wrapped(f"needed by: {', '.join(job.run.studies)}" + (f"; rows {some(rows)}" if rows else ""), 2, 2)
    lines += ["", *_answer(explainer, why)]
    if why.reason is not Reason.MADE:
        lines += _goes_on(explainer, job)
    if job.inputs:
        lines += ["", "Inputs"]
        for role, needed in job.inputs.items():
            absent = "to be made first" if why.reason is not Reason.MADE else "not there, and not needed any more"
            state = "made" if needed in explainer.shelf.made else absent
            lines += wrapped(f"{role}: {shortened(needed.rpartition('/')[2], 52)}: {state}", 2, 2)
    return lines


def _goes_on(explainer: Explainer, job: Job) -> list[str]:
    """From which state it would go on, where there is one, or will be."""
    plan = explainer.plan
    to_do = [other for other in plan.jobs_of(job.run.studies).values() if other.folder not in explainer.shelf.made]
    extension = extensions(to_do, plan.root).get(job.folder)
    if extension is None:
        return []
    where = extension.state.folder if extension.after is None else f"that {extension.after.name} is to leave"
    return wrapped(f"It would go on after epoch {extension.state.settings['epochs']}, from the state {where}", 0, 2)


def _answer(explainer: Explainer, why: Why) -> list[str]:
    near = why.nearest
    if why.reason is Reason.MADE:
        lines = wrapped(f"Made{_how(near)}: it would not run.") if near else ["Made: it would not run."]
        if why.other_code:
            lines += wrapped(
                f"Other code than the present made it, of the same version of {why.job.stage} ({why.job.version}), so "
                "its results should be the same. Delete its folder to make it again."
            )
        return lines
    standing = next(
        (s for s in look(explainer.plan, why.job.run.studies) if s.job and s.job.folder == why.job.folder), None
    )
    if standing is not None and standing.state is State.RUNNING:
        lines = ["It is at work now (`tessera watch`)."]
    elif standing is not None and standing.state is State.FAILED:
        lines = wrapped(f"It failed when last run, and would run again: {standing.why} ({standing.log})", 0, 2)
    else:
        lines = ["Not made: it would run."]
    if why.reason is Reason.GONE and near is not None:
        return [
            *lines,
            *wrapped(f"It was made before{_how(near)}; the artifact is gone since: deleted, or moved away."),
        ]
    if why.reason is Reason.DAMAGED:
        return [*lines, "Its artifact was damaged, and was moved to resume/damaged."]
    if near is None:
        return [*lines, *wrapped(f"No artifact of {why.job.stage} is there to compare with.")]
    wanted = "" if near.folder in explainer.plan.jobs else " (no study wants it any more)"
    return [
        *lines,
        *wrapped(f"The nearest artifact that is there{wanted}:"),
        *wrapped(near.folder, 2, 2),
        "differs in (its value → this job's):",
        *change_lines(why.changes),
    ]


def _not_wanted(explainer: Explainer, recipe: Recipe) -> list[str]:
    """An artifact that no study of the plan needs."""
    planned = [
        own for job in explainer.plan.jobs.values() if job.stage == recipe.stage
        if (own := explainer.shelf.recipe(job.folder)) is not None
    ]  # fmt: skip
    lines = [*wrapped(recipe.name, 0, 2), f"  stage: {recipe.stage}", ""]
    lines += wrapped(f"Made{_how(recipe)}, but no study needs it: `tessera prune` would remove it.")
    near, _ = explainer.nearest(recipe, planned)
    if near is None:
        return lines
    facts = explainer.lineage
    return [
        *lines,
        "The nearest job of the studies:",
        *wrapped(near.folder, 2, 2),
        "differs in (this artifact's value → the job's):",
        *change_lines(changes(facts.of_recipe(recipe), facts.of_recipe(near))),
    ]


def _how(recipe: Recipe | None) -> str:
    if recipe is None:
        return ""
    where = recipe.hardware.get("device_name") or recipe.hardware.get("processor") or ""
    day, on = f" on {recipe.day}" if recipe.day else "", f", on {where}" if where else ""
    return f"{day}, in {duration(recipe.seconds)}{on}"


def _latest(group: Iterable[Why]) -> str:
    return max((why.nearest.day for why in group if why.nearest is not None), default="") or "on an unknown day"


def _stages(stages: Iterable[str]) -> str:
    counts = Counter(stages)
    return ", ".join(f"{counts[stage]} {stage}" for stage in STAGES if counts[stage])


def _below(plan: Plan, folders: Iterable[str]) -> set[str]:
    """These jobs and everything they are made from."""
    found: set[str] = set()
    rest = list(folders)
    while rest:
        folder = rest.pop()
        if folder not in found and folder in plan.jobs:
            found.add(folder)
            rest += plan.jobs[folder].inputs.values()
    return found


def _rows_of(plan: Plan, studies: Iterable[SummarizeStudy] | None = None) -> dict[str, list[str]]:
    """Job folder to the labels of the rows that need it: of these studies, else of all."""
    found: dict[str, list[str]] = {}
    for summary in studies or (*plan.studies.values(), *plan.others.values()):
        for row in summary.rows:
            measured = [folder for cell in summary.cells if cell.row == row for folder in cell.measured]
            for folder in _below(plan, measured):
                labels = found.setdefault(folder, [])
                if row not in labels:
                    labels.append(row)
    return found
