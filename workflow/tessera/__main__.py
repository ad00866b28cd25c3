"""`python -m tessera`: brings MLflow and DVC up to date with the artifacts, and removes what is not needed."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tessera.errors import StudyError, TesseraError
from tessera.study.files import read_yaml
from tessera.study.plan import Plan, make_plan
from tessera.tracking import dvc, prune
from tessera.tracking.sync import sync

DEFAULT = "config/config.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    root = Path()
    try:
        shown, asked = (options.configfile or [DEFAULT])[-1], getattr(options, "studies", [])
        plan = make_plan(_configuration(root, options), root, shown, asked)
        code: int = options.run(plan, options)
    except TesseraError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


def run_sync(plan: Plan, options: argparse.Namespace) -> int:
    """Brings MLflow up to date; also by hand, after `dvc pull`."""
    mlflow = plan.config.tracking.mlflow
    if not mlflow.enabled:
        _say("MLflow: switched off in the configuration (tracking.mlflow.enabled)")
        return 0
    studies = {folder: job.run.studies for folder, job in plan.jobs.items()}
    done = sync(mlflow.uri, mlflow.experiment, studies, plan.root)
    if done.failure is not None:
        _say(f"warning: MLflow at {mlflow.uri}: {done.failure}. Nothing is lost: `python -m tessera sync` tries again.")
        return 1
    _say(f"MLflow: {done.recorded} runs new, {done.known} known, in {mlflow.uri}")
    return 0


def run_commit(plan: Plan, options: argparse.Namespace) -> int:
    """Commits artifacts and results to DVC."""
    if not plan.config.tracking.dvc.enabled:
        _say("DVC: switched off in the configuration (tracking.dvc.enabled)")
        return 0
    if (reason := dvc.why_not(plan.root)) is not None:
        _say(f"DVC: nothing committed: {reason}")
        return 0
    if (failure := dvc.commit(plan.root, _default_plan(plan.root))) is not None:
        _say(f"warning: DVC: {failure}. Nothing is lost: `python -m tessera commit` tries again.")
        return 1
    _say("DVC: artifacts and results committed (`dvc push` shares them)")
    return 0


def run_finish(plan: Plan, options: argparse.Namespace) -> int:
    """What Snakemake calls when it ends: shows the tables, then commits and syncs. Never fails a run."""
    studies = {**plan.studies, **plan.others}
    for name in options.studies or plan.studies:
        summary = studies[name]
        table = plan.root / "results" / name / "table.md"
        if (plan.root / summary.marker).exists() and table.exists():
            _say(f"\n{table.read_text().strip()}\n\nresults/{name}: table.md, .csv, .tex, .json")
    for note in plan.notes(options.studies):
        _say(f"left out: {note}")
    run_commit(plan, options)
    run_sync(plan, options)
    return 0


def run_prune(plan: Plan, options: argparse.Namespace) -> int:
    """Removes what no study of the configuration needs, after saying what and how much."""
    waste = prune.find_waste(plan)
    if not waste:
        _say(f"Nothing to remove: {', '.join(plan.studies)} needs all that is there.")
        return 0
    _say(f"Needed are the studies {', '.join(plan.studies)}. Not needed:\n{prune.describe(waste)}")
    if plan.others:
        others = ", ".join(plan.others)
        _say(f"(Not chosen, so not needed: {others}. Name them too to keep what is theirs: --config studies=…)")
    if options.dry_run:
        return 0
    if not options.yes:
        if not sys.stdin.isatty():
            _say("Nothing was removed: say --yes to remove these folders.")
            return 1
        if input("Remove these folders? [y/N] ").strip().lower() not in ("y", "yes"):
            _say("Nothing was removed.")
            return 1
    prune.remove(waste)
    _say("Removed. (`dvc gc --workspace` frees DVC's cache of them too.)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tessera", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run, text in (
        ("sync", run_sync, "show every artifact in MLflow"),
        ("commit", run_commit, "commit artifacts and results to DVC"),
        ("prune", run_prune, "remove artifacts that no study of the configuration needs"),
        ("finish", run_finish, "what Snakemake calls when it ends: show tables, commit, sync"),
    ):
        command = commands.add_parser(name, help=text, description=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--configfile", action="append", help=f"as of snakemake; laid over {DEFAULT}")
        command.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as of snakemake")
        command.add_argument("--resolved", help=argparse.SUPPRESS)  # the whole configuration as JSON, from Snakemake
        if name == "finish":
            command.add_argument("--studies", nargs="*", default=[], help="those that were asked for by name")
        if name == "prune":
            command.add_argument("--dry-run", action="store_true", help="only say what would be removed")
            command.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _configuration(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The configuration that Snakemake would see with the same options."""
    if options.resolved is not None:
        resolved: dict[str, Any] = json.loads(options.resolved)
        return resolved
    merged: dict[str, Any] = {}
    for name in (DEFAULT, *(options.configfile or [])):
        _lay_over(merged, read_yaml(root / name, name))
    for word in options.config:
        key, equals, value = word.partition("=")
        if not equals:
            raise StudyError(f"--config: `{word}` should be KEY=VALUE")
        _lay_over(merged, {key: yaml.safe_load(value)})
    return merged


def _lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay_over(below[key], value)
        else:
            below[key] = value


def _default_plan(root: Path) -> Plan | None:
    try:
        return make_plan(read_yaml(root / DEFAULT, DEFAULT), root)
    except StudyError:
        return None


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
