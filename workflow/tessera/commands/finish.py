"""`python -m tessera finish`."""

import argparse

from tessera.commands import commit, sync
from tessera.commands.options import say
from tessera.study.plan import Plan

HELP = "what Snakemake calls when it ends: show tables, commit, sync"


def add_options(command: argparse.ArgumentParser) -> None:
    """Which tables to show."""
    command.add_argument("--studies", nargs="*", default=[], help="those that were asked for by name")


def run(plan: Plan, options: argparse.Namespace) -> int:
    """What Snakemake calls when it ends: shows the tables, then commits and syncs. Never fails a run."""
    studies = {**plan.studies, **plan.others}
    for name in options.studies or plan.studies:
        summary = studies[name]
        table = plan.root / "results" / name / "table.md"
        if (plan.root / summary.marker).exists() and table.exists():
            say(f"\n{table.read_text().strip()}\n\nresults/{name}: table.md, .csv, .tex, .json")
    for note in plan.notes(options.studies):
        say(f"left out: {note}")
    commit.run(plan, options)
    sync.run(plan, options)
    return 0
