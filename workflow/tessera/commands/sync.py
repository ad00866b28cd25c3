"""`tessera sync`."""

import argparse

from tessera.commands.options import say
from tessera.study.plan import Plan
from tessera.tracking.sync import sync

HELP = "show every artifact in MLflow"


def add_options(command: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Brings MLflow up to date; also by hand, after `dvc pull`."""
    mlflow = plan.config.tracking.mlflow
    if not mlflow.enabled:
        say("MLflow: switched off in the configuration (tracking.mlflow.enabled)")
        return 0
    studies = {folder: job.run.studies for folder, job in plan.jobs.items()}
    summaries = [*plan.studies.values(), *plan.others.values()]
    done = sync(mlflow.uri, mlflow.experiment, studies, plan.root, summaries, plan.asked)
    if done.failure is not None:
        say(f"warning: MLflow at {mlflow.uri}: {done.failure}. Nothing is lost: `tessera sync` tries again.")
        return 1
    ended = f", {done.ended} of killed jobs ended" if done.ended else ""
    say(f"MLflow: {done.recorded} runs new, {done.known} known{ended}, in {mlflow.uri}")
    return 0
