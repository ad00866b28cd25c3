"""`tessera prune`."""

import argparse
import sys

from tessera.commands.options import say
from tessera.study.plan import Plan
from tessera.tracking import prune

HELP = "remove artifacts that no study of the configuration needs"


def add_options(command: argparse.ArgumentParser) -> None:
    """Whether to ask."""
    command.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    command.add_argument("--yes", action="store_true", help="do not ask")


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Removes what no study of the configuration needs, after saying what and how much."""
    waste = prune.find_waste(plan)
    if not waste:
        say(f"Nothing to remove: {', '.join(plan.studies)} needs all that is there.")
        return 0
    say(f"Needed are the studies {', '.join(plan.studies)}. Not needed:\n{prune.describe(waste)}")
    if plan.others:
        others = ", ".join(plan.others)
        say(f"(Not chosen, so not needed: {others}. Name them too to keep what is theirs: --config studies=…)")
    if options.dry_run:
        return 0
    if not options.yes:
        if not sys.stdin.isatty():
            say("Nothing was removed: say --yes to remove these folders.")
            return 1
        if input("Remove these folders? [y/N] ").strip().lower() not in ("y", "yes"):
            say("Nothing was removed.")
            return 1
    prune.remove(waste)
    say("Removed. (`dvc gc --workspace` frees DVC's cache of them too.)")
    return 0
