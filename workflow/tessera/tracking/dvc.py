"""Stores what was made with DVC: one `dvc commit` when Snakemake ends.

The stages of dvc.yaml wrap Snakemake's targets for config/config.yaml. A stage is committed whatever it holds, so that
`dvc push` shares everything. Where it lacks jobs that were asked for, since one failed, the command in dvc.lock says
so, and `dvc repro` runs it.
"""

import csv
import importlib.util
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import yaml
from filelock import FileLock

from tessera.files import remove_drafts, replace_text
from tessera.jobs import FOLDERS, KINDS
from tessera.study.plan import Plan

SUMMARIZE = "summarize_study"
STAGES = {*FOLDERS, SUMMARIZE}
INCOMPLETE = "  # not all that was asked for is there"
_LONGEST = 300
_ROW, _COLUMN, _WIDTH = 10, 12, 44  # characters: the least of a row's label, a column's, study and both

# What to do about what DVC says.
_ADVICE = {
    r"acquire lock": "when no other `dvc` is at work, one was killed: delete .dvc/tmp/lock and .dvc/tmp/rwlock",
    r"dvc\.lock": "`git checkout dvc.lock` restores it; or delete it, for it is written anew",
    r"dvc\.yaml": "mend it, or `git checkout dvc.yaml`",
    r"config file": "mend .dvc/config, or `git checkout .dvc/config` (.dvc/config.local is your own)",
    r"No space left|Disk quota": "make room (`tessera prune`, `dvc gc`)",
    r"Permission denied|Read-only": "make the folder writable, or set tracking.dvc.enabled to false",
}


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


def complete_stages(plan: Plan, names: Iterable[str] = ()) -> set[str]:
    """Stages of which every job that these studies need is there, or else the chosen ones."""
    summaries = {**plan.studies, **plan.others}
    wanted = list(names) or list(plan.studies)
    missing = {job.stage for job in plan.jobs_of(wanted).values() if not (plan.root / job.manifest).exists()}
    if not all((plan.root / summaries[name].marker).exists() for name in wanted):
        missing.add(SUMMARIZE)
    return STAGES - missing


def commit(root: Path, complete: Collection[str]) -> str | None:
    """Commits every stage of dvc.yaml; returns what went wrong and what to do, in a line, or None.

    Args:
        root: The project's folder.
        complete: The stages of which nothing is missing that was asked for.
    """
    stages = [*FOLDERS, SUMMARIZE]
    try:
        for folder in (*(f"artifacts/{kind.folder}" for kind in KINDS.values()), "results"):
            (root / folder).mkdir(parents=True, exist_ok=True)  # DVC asks for every output
        gather(root)
        command = [sys.executable, "-m", "dvc", "commit", "--force", *stages]
        with FileLock(root / "resume" / "dvc.lock"):  # two runs may end at once; DVC itself waits for seconds only
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace")
            if done.returncode:
                return why(done.stderr) or f"dvc ended with code {done.returncode}"
            _mark(root / "dvc.lock", set(stages) - set(complete))
    except OSError as error:
        return why(str(error))
    return None


def why(said: str) -> str:
    """What DVC's words mean, in a line, with what to do; nothing where it said nothing.

    Args:
        said: All that it wrote to stderr.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING: ")]
    if not lines:
        return ""
    told = next((line for line in lines if line.startswith("ERROR: ")), None)
    if told is None and any(line.startswith("Traceback ") for line in lines):
        told = lines[-1]
    # Of a file that cannot be read, two lines say which and where; pieces of the file follow.
    told = " ".join(lines[:2]) if told is None else re.sub(r"^(ERROR: |[\w.]+: )", "", told)
    advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, told)), "")
    told = told[:_LONGEST].partition(". Check the page")[0].rstrip(" .")
    return f"{told}: {advice}" if advice else told


def gather(root: Path) -> None:
    """Collects what `dvc metrics` and `dvc plots` show: they take no patterns, so each needs one place for all studies.

    Writes results/metrics/<study>/<row>.<column>.json, a figure each, so that `dvc metrics show` has a short line for
    each cell; and results/plots/<study>.csv (losses and accuracies by epoch).
    """
    results = root / "results"
    (root / "resume").mkdir(exist_ok=True)
    with FileLock(root / "resume" / "results.lock"):  # two studies may end at once
        for folder in (results / "plots", *(results / "metrics").glob("*/")):
            remove_drafts(folder)
        cells: dict[Path, float] = {}
        for path in sorted(results.glob("*/metrics.json")):
            with suppress(OSError, ValueError, AttributeError, RecursionError):  # a damaged one is made again
                study = path.parent.name
                for name, value in _cells(study, json.loads(path.read_text(encoding="utf-8"))):
                    cells[results / "metrics" / study / f"{name}.json"] = value
        for path, value in cells.items():
            replace_text(path, json.dumps({"mean": value}) + "\n")
        (results / "metrics").mkdir(parents=True, exist_ok=True)
        for path in (results / "metrics").glob("*/*.json"):
            if path not in cells:
                path.unlink()
        for path in sorted(results.glob("*/curves.csv")):
            with suppress(OSError, ValueError, KeyError, AttributeError):  # as above
                replace_text(results / "plots" / f"{path.parent.name}.csv", _main_curves(path))
        (results / "metrics.json").unlink(missing_ok=True)  # of an earlier version: one line of all cells


def _cells(study: str, rows: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, float]]:
    """Each cell by a file's name that is short enough for a screen."""
    taken: set[str] = set()
    for row, columns in rows.items():
        for column, value in columns.items():
            words = _word(column)[:_COLUMN].strip("-")
            left = max(_ROW, _WIDTH - len(study) - len(words))
            name = f"{_word(row)[:left].strip('-')}.{words}"
            number = next(n for n in itertools.count(1) if (name if n == 1 else f"{name}-{n}") not in taken)
            taken.add(name := name if number == 1 else f"{name}-{number}")
            yield name, value


def _word(label: str) -> str:
    return re.sub(r"[^\w]+", "-", label).strip("-") or "all"


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
