"""`tessera commit`."""

import argparse

from tessera.commands.options import default_plan, say
from tessera.study.plan import Plan
from tessera.tracking import dvc

HELP = "commit artifacts and results to DVC"


def add_options(command: argparse.ArgumentParser) -> None:
    """None of its own."""


def _has_all(plan: Plan | None) -> bool:
    return plan is not None and dvc.complete_stages(plan) == dvc.STAGES


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Commits artifacts and results to DVC."""
    if not plan.config.tracking.dvc.enabled:
        say("DVC: switched off in the configuration (tracking.dvc.enabled)")
        return 0
    if (reason := dvc.why_not(plan.root)) is not None:
        say(f"DVC: nothing committed: {reason}")
        return 0
    complete = dvc.complete_stages(plan, getattr(options, "studies", ()))
    if (failure := dvc.commit(plan.root, complete)) is not None:
        say(f"warning: DVC: {failure}. Nothing is lost: `tessera commit` tries again.")
        return 1
    say("DVC: artifacts and results committed (`dvc push` shares them)")
    if complete == dvc.STAGES and not _has_all(default_plan(plan.root)):
        say("DVC: config/config.yaml asks for more than was run: `snakemake` makes it; `dvc repro` sees no change")
    return 0
