"""`tessera prune`."""

import argparse
import sys
from pathlib import Path

from tessera.commands.options import every_configuration, plan_of, say
from tessera.errors import StudyError
from tessera.study.plan import Plan
from tessera.tracking import prune
from tessera.tracking.prune import Needs

HELP = "remove artifacts that no study needs"


def add_options(command: argparse.ArgumentParser) -> None:
    """What counts as needed, and whether to ask."""
    command.add_argument(
        "--only-configured",
        action="store_true",
        help="remove also what only other studies need than those that the configuration names, or other scales",
    )
    command.add_argument(
        "--states",
        action="store_true",
        help="remove also the states from which a longer training of a study would go on: it would begin anew",
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    command.add_argument("--yes", action="store_true", help="do not ask")


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Removes artifacts, and states of jobs, that no study needs, after saying how much and what.

    Needed is what any study under config/studies needs, under any configuration file in config/, at any scale in
    config/scales. Of what a run named by `--config` alone (trials, precision) nothing is known: name it here too."""
    needs = _needs(plan, options)
    waste = prune.find_waste(plan.root, needs.folders)
    if not waste:
        say(f"Nothing to remove: {_whose(plan, options)} need all that is there.")
        return 0
    say(prune.describe(waste, None if options.dry_run else prune.SHOWN))
    say(f"Not needed by {_whose(plan, options)}.")
    if not options.only_configured:
        _say_what_more(plan, needs)
    if needs.unknown:
        reasons = "\n".join(f"  {line}" for why in needs.unknown.values() for line in why.splitlines())
        say(f"What these need is not known, since they cannot be planned:\n{reasons}")
    if options.dry_run:
        return 0
    if needs.unknown:
        say("Nothing was removed. Mend them or move them away, or say --only-configured: then they do not count.")
        return 1
    if not options.yes:
        if not sys.stdin.isatty():
            say("Nothing was removed: say --yes to remove these folders.")
            return 1
        if input("Type yes to remove them: ").strip() != "yes":
            say("Nothing was removed.")
            return 1
        # The answer may have come late: a study may have been edited since.
        needs = _needs(plan_of(plan.root, options), options)
        if needs.unknown:
            say("Nothing was removed: a study was edited meanwhile, and cannot be planned.")
            return 1
    stayed = prune.remove(plan.root, waste, needs.folders)
    for line in stayed:
        say(line)
    say(f"Removed {len(waste) - len(stayed)} of {len(waste)}. (`dvc gc --workspace` frees DVC's cache of them too.)")
    return 1 if any("cannot be removed" in line for line in stayed) else 0


def _needs(plan: Plan, options: argparse.Namespace) -> Needs:
    needs = _all_needs(plan, options)
    return Needs(prune.without_states(needs.folders), needs.unknown) if options.states else needs


def _all_needs(plan: Plan, options: argparse.Namespace) -> Needs:
    if options.only_configured:
        return prune.needed_by_chosen(plan)
    try:
        configurations = every_configuration(plan.root, options)
    except StudyError as error:
        needs = prune.needed_by_any(plan, {})
        needs.unknown["config"] = str(error)
        return needs
    return prune.needed_by_any(plan, configurations)


def _whose(plan: Plan, options: argparse.Namespace) -> str:
    if options.only_configured:
        return f"the configured studies ({', '.join(plan.studies)})"
    return "the studies under config/studies at any scale"


def _say_what_more(plan: Plan, needs: Needs) -> None:
    """What --only-configured would remove besides."""
    chosen = prune.needed_by_chosen(plan).folders
    others = sum(Path(plan.root, folder).is_dir() for folder in needs.folders - chosen)
    if others:
        number = (
            "1 artifact stays that only another study or scale needs"
            if others == 1
            else (f"{others} artifacts stay that only other studies or scales need")
        )
        say(f"({number}: --only-configured removes them too.)")
