"""`tessera commit`."""

import argparse

from tessera.commands.options import default_plan, say
from tessera.study.plan import Plan
from tessera.tracking import dvc

HELP = "commit artifacts and results to DVC"


def add_options(command: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Commits artifacts and results to DVC."""
    if not plan.config.tracking.dvc.enabled:
        say("DVC: switched off in the configuration (tracking.dvc.enabled)")
        return 0
    if (reason := dvc.why_not(plan.root)) is not None:
        say(f"DVC: nothing committed: {reason}")
        return 0
    if (failure := dvc.commit(plan.root, default_plan(plan.root))) is not None:
        say(f"warning: DVC: {failure}. Nothing is lost: `tessera commit` tries again.")
        return 1
    say("DVC: artifacts and results committed (`dvc push` shares them)")
    return 0
