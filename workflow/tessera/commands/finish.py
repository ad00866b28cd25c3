"""`tessera finish`."""

import argparse
from collections.abc import Sequence

from tessera.commands import commit, sync
from tessera.commands.options import say
from tessera.errors import ArtifactError
from tessera.monitor.standing import State, look
from tessera.monitor.words import count
from tessera.study.plan import Plan

HELP = "what Snakemake calls when it ends: show tables, commit, sync"


def add_options(command: argparse.ArgumentParser) -> None:
    """Which tables to show."""
    command.add_argument("--studies", nargs="*", default=[], help="those that were asked for by name")
    command.add_argument("--stopped", action="store_true", help="by Ctrl-C: only say how it stands")


def run(plan: Plan, options: argparse.Namespace) -> int:
    """What Snakemake calls when it ends: shows the tables, then commits and syncs. Never fails a run."""
    if options.stopped:
        _say_stopped(plan, options.studies or list(plan.studies))
        return 0
    studies = {**plan.studies, **plan.others}
    for name in options.studies or plan.studies:
        summary = studies[name]
        table = plan.root / "results" / name / "table.md"
        if (plan.root / summary.marker).exists() and table.exists():
            say(f"\n{table.read_text().strip()}\n\nresults/{name}: report.html, table.md, .csv, .tex, .json")
    _show_unfinished(plan, options.studies or list(plan.studies))
    for note in plan.notes(options.studies):
        say(f"left out: {note}")
    commit.run(plan, options)
    sync.run(plan, options)
    return 0


def _say_stopped(plan: Plan, names: Sequence[str]) -> None:
    """One line: whoever pressed Ctrl-C wants to be gone. The next run's end commits and syncs."""
    standings = look(plan, names)
    made = sum(each.state is State.DONE for each in standings)
    say(f"Stopped: {made} of {count(len(standings), 'job')} are made. The same command goes on from here.")


def _show_unfinished(plan: Plan, names: Sequence[str]) -> None:
    """A page for each study that stopped since a job of it failed: no rule can make it without that job."""
    studies = {**plan.studies, **plan.others}
    for name in names:
        if (plan.root / studies[name].marker).exists():
            continue
        stopped = [each for each in look(plan, [name]) if each.state is State.FAILED and each.job is not None]
        if not stopped:
            continue
        # Pictures and statistics take a second to import, and few runs fail.
        from tessera.report.page.index import write_index
        from tessera.report.page.study import Failure
        from tessera.report.page.unfinished import write_unfinished

        failed = [Failure(each.stage, each.name, each.why, each.log) for each in stopped]
        try:
            page = write_unfinished(studies[name], plan.root, failed)
            write_index(plan.root)
        except ArtifactError as error:
            say(f"warning: no page for {name}: {error}")
            continue
        say(f"\n{name} is unfinished, for {count(len(failed), 'job')} failed. What is made so far: {page}")
        for each in failed:
            say(f"  {each.stage}: {each.name}: {each.why} ({each.log})")
