"""Stores what was made with DVC: one `dvc commit` when Snakemake ends.

The stages of dvc.yaml wrap Snakemake's targets for config/config.yaml. A stage is committed whatever it holds, so that
`dvc push` shares everything. Where it lacks jobs of config/config.yaml, the command in dvc.lock says so, and
`dvc repro` runs it.
"""

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from tessera.files import remove_drafts, replace_text
from tessera.study.jobs import FOLDERS
from tessera.study.plan import Plan

SUMMARIZE = "summarize_study"
INCOMPLETE = "  # not all that config/config.yaml asks for is there"


def why_not(root: Path) -> str | None:
    """Why nothing is committed here, or None."""
    if "DVC_STAGE" in os.environ:
        return "inside `dvc repro`, which commits by itself"
    if not (root / ".dvc").is_dir() or not (root / "dvc.yaml").is_file():
        return "this is no DVC repository"
    if not any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents)):
        return "this is no git repository (`git init` makes it one)"
    if importlib.util.find_spec("dvc") is None:
        return "DVC is not installed"
    return None


def complete_stages(plan: Plan | None) -> set[str]:
    """Stages of which every job that the chosen studies need is there; none where there is no plan."""
    if plan is None:
        return set()
    jobs = plan.jobs_of(plan.studies).values()
    missing = {job.stage for job in jobs if not (plan.root / job.manifest).exists()}
    if not all((plan.root / summary.marker).exists() for summary in plan.studies.values()):
        missing.add(SUMMARIZE)
    return {*FOLDERS, SUMMARIZE} - missing


def commit(root: Path, plan: Plan | None) -> str | None:
    """Commits every stage of dvc.yaml; returns what went wrong, in a line, or None.

    Args:
        root: The project's folder.
        plan: The plan of config/config.yaml; None where it cannot be planned.
    """
    stages = [*FOLDERS, SUMMARIZE]
    for folder in (*(f"artifacts/{folder}" for folder in FOLDERS.values()), "results"):
        (root / folder).mkdir(parents=True, exist_ok=True)  # DVC asks for every output
    command = [sys.executable, "-m", "dvc", "commit", "--quiet", "--force", *stages]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return lines[0].removeprefix("ERROR: ") if lines else f"dvc ended with code {done.returncode}"
    _mark(root / "dvc.lock", set(stages) - complete_stages(plan))
    return None


def gather(root: Path) -> None:
    """Collects what `dvc metrics` and `dvc plots` show: they take no patterns, so each needs one place for all studies.

    Writes results/metrics.json (study, row, column) and results/plots/<study>.csv (losses and accuracies by epoch).
    """
    results = root / "results"
    (root / "resume").mkdir(exist_ok=True)
    with FileLock(root / "resume" / "results.lock"):  # two studies may end at once
        remove_drafts(results / "plots")
        metrics = {
            path.parent.name: figures
            for path in sorted(results.glob("*/metrics.json"))
            if (figures := _figures(path)) is not None
        }
        replace_text(results / "metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")
        for path in sorted(results.glob("*/curves.csv")):
            with suppress(OSError, ValueError, KeyError, AttributeError):  # a damaged one is made again, as above
                replace_text(results / "plots" / f"{path.parent.name}.csv", _main_curves(path))


def _figures(path: Path) -> Any:
    """What a study's metrics.json holds; None where it is damaged: the next run of that study makes it again."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _main_curves(path: Path) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "value", "curve", "artifact"])
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["name"].endswith(("loss", "accuracy")):
                writer.writerow([line["epoch"], line["value"], f"{line['stage']} {line['name']}", line["artifact"]])
    return text.getvalue()


def _mark(path: Path, incomplete: set[str]) -> None:
    lock = yaml.safe_load(path.read_text())
    for name in incomplete & lock["stages"].keys():
        lock["stages"][name]["cmd"] += INCOMPLETE
    if incomplete:
        replace_text(path, yaml.safe_dump(lock, sort_keys=False))
