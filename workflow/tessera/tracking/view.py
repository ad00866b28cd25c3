"""What MLflow shows of an artifact, read from its files alone: so it works after `dvc pull` as well."""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tessera.monitor.words import without_trial

_LONGEST_VALUE = 500
Metric = tuple[str, float, int, int]


@dataclass(frozen=True)
class RunView:
    """One run.

    Attributes:
        artifact: The artifact's folder; identifies the run.
        params: Settings, flat, as text.
        metrics: (name, value, time in ms, step).
    """

    artifact: str
    start_ms: int
    end_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[Metric]


def tags_of(stage: str, key: str, trial: int | None, studies: Iterable[str]) -> dict[str, str]:
    """Tags by which runs are filtered."""
    tags = {"stage": stage, "key": key, "studies": ", ".join(studies)}
    return tags if trial is None else {**tags, "trial": str(trial)}


def read_view(folder: Path, artifact: str, studies: Sequence[str] = ()) -> RunView:
    """The view of a complete artifact.

    Args:
        folder: Where it lies.
        artifact: Its folder as the plan names it.
        studies: The studies that need it.
    """
    manifest = json.loads((folder / "artifact.json").read_text())
    end_ms = round(datetime.fromisoformat(manifest["finished"]).timestamp() * 1000)
    start_ms = end_ms - round(1000 * manifest["seconds"])
    tags = tags_of(manifest["kind"], manifest["key"], manifest["trial"], studies)
    if manifest.get("git"):
        tags["git_commit"] = manifest["git"]["commit"] + (" (changed)" if manifest["git"]["dirty"] else "")
    tags["code"] = manifest["code"]
    tags["settings"] = _all_but_the_trial(folder, manifest)
    params = {f"input.{role}": source.rpartition("/")[2] for role, source in manifest["inputs"].items()}
    params.update((key, value[:_LONGEST_VALUE]) for key, value in flatten(manifest["settings"]))
    metrics = [("seconds", float(manifest["seconds"]), end_ms, 0)]
    if (folder / "history.csv").exists():
        metrics += _history(folder / "history.csv", start_ms, end_ms)
    if (folder / "metrics.json").exists():
        figures = json.loads((folder / "metrics.json").read_text())
        told = {(name, value) for name, value, _, _ in metrics}  # the end of a curve is no point before its start
        metrics += [
            (metric_name(key), float(value), end_ms, 0)
            for key, value in figures.items()
            if _is_figure(value) and (metric_name(key), float(value)) not in told
        ]
    return RunView(artifact, start_ms, end_ms, params, tags, metrics)


def _all_but_the_trial(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The same for all trials of a job, and for nothing else: runs are grouped by it."""
    return f"{without_trial(folder.name)} {_same(folder.parent.parent.parent, manifest)}"


def _same(root: Path, manifest: Mapping[str, Any]) -> str:
    """Hash of what a job and all before it were asked to do."""
    inputs = {}
    for role, source in manifest["inputs"].items():
        try:
            inputs[role] = _same(root, json.loads((root / source / "artifact.json").read_text()))
        except (OSError, ValueError, KeyError):
            inputs[role] = without_trial(source.rpartition("/")[2])
    content = [manifest["kind"], manifest["settings"], inputs]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:6]


def flatten(settings: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as dotted names; entries of a list of parts by their names.

    >>> dict(flatten({"tasks": [{"name": "jigsaw", "gray": 0.5}], "epochs": 3}))
    {'tasks.jigsaw.gray': '0.5', 'epochs': '3'}
    """
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(settings, list) and settings and all(isinstance(entry, Mapping) for entry in settings):
        for index, entry in enumerate(settings):
            rest = {key: value for key, value in entry.items() if key != "name"}
            name = f"{prefix}.{entry.get('name', index)}"
            yield from flatten(rest, name) if rest else [(name, "true")]
    else:
        yield metric_name(prefix), settings if isinstance(settings, str) else json.dumps(settings)


def metric_name(text: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^A-Za-z0-9_\-. /]", "_", text)[:240]


def _history(path: Path, start_ms: int, end_ms: int) -> list[Metric]:
    """One figure for each number of each line; words in a line (a task, a phase) come before its name.

    The order in which tasks took their turns is no such word: it changes from epoch to epoch, a curve's name must not.
    """
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    metrics = []
    for index, line in enumerate(lines):
        numbers, words = {}, []
        for name, text in line.items():
            if name == "order":
                continue
            try:
                # What the whole took has the name already.
                numbers["epoch_seconds" if name == "seconds" else name] = float(text)
            except (TypeError, ValueError):
                words += [text] if text else []
        step = int(numbers.pop("epoch", index))
        time_ms = start_ms + (end_ms - start_ms) * (index + 1) // len(lines)
        metrics += [(metric_name("/".join([*words, name])), value, time_ms, step) for name, value in numbers.items()]
    return metrics


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
