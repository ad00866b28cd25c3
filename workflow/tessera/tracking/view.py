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
_OF_AN_EPOCH = {"seconds": "epoch_seconds"}  # what the whole took has the name already
Metric = tuple[str, float, int, int]


@dataclass(frozen=True)
class RunView:
    """One run.

    Attributes:
        artifact: The artifact's folder, or a cell's place; identifies the run.
        name: What the list of runs shows.
        start_ms: When the work began, in ms since 1970.
        end_ms: When it ended.
        params: Settings, flat, as text.
        metrics: (name, value, time in ms, step).
    """

    artifact: str
    name: str
    start_ms: int
    end_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[Metric]


def tags_of(stage: str, key: str, trial: int | None, studies: Iterable[str]) -> dict[str, str]:
    """Tags by which runs are filtered."""
    tags = {"stage": stage, "key": key, "studies": ", ".join(studies)}
    return tags if trial is None else {**tags, "trial": str(trial)}


def name_of(stage: str, words: str, trial: int | None, inputs: Mapping[str, str]) -> str:
    """Name of an artifact's run: what differs, without the dataset, which all of a study's jobs name.

    >>> inputs = {"dataset": "artifacts/datasets/digits_m-81a42f9d"}
    >>> name_of("pretrain_source", "digits_m.resnet8.tte.rot-jig.t0", 0, inputs)
    'pretrain_source · resnet8.tte.rot-jig · trial 0'
    """
    shown = words if trial is None else words.removesuffix(f".t{trial}")
    dataset = inputs.get("dataset", "").rpartition("/")[2].rpartition("-")[0]
    if dataset and shown != dataset:
        shown = f".{shown}".replace(f".{dataset}.", ".").removeprefix(".")
    return " · ".join([stage, shown] + ([] if trial is None else [f"trial {trial}"]))


def params_of(settings: Mapping[str, Any], inputs: Mapping[str, str], root: Path | None = None) -> dict[str, str]:
    """What a job was asked to do, flat: its inputs' names and its settings.

    Args:
        root: The project's folder, to look at inputs; None: they are not looked at.
    """
    shown = dict(settings)
    if "network" in inputs and "label_fraction" in shown and root is not None:
        # A network is measured with all labels of the test images; what it learned from is what is asked about.
        try:
            trained = json.loads((root / inputs["network"] / "artifact.json").read_text())["settings"]
            shown["label_fraction"] = trained["label_fraction"]
        except (OSError, ValueError, KeyError, TypeError):
            del shown["label_fraction"]
    params = {f"input.{role}": source.rpartition("/")[2] for role, source in inputs.items()}
    params.update((key, value[:_LONGEST_VALUE]) for key, value in flatten(shown))
    return params


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
    params = params_of(manifest["settings"], manifest["inputs"], folder.parent.parent.parent)
    name = name_of(manifest["kind"], folder.name.rpartition("-")[0], manifest["trial"], manifest["inputs"])
    metrics = [("seconds", float(manifest["seconds"]), end_ms, 0)]
    renamed = {}
    if (folder / "history.csv").exists():
        metrics += _history(folder / "history.csv", start_ms, end_ms)
        renamed = _OF_AN_EPOCH
    if (folder / "metrics.json").exists():
        figures = {
            grouped(renamed.get(name, name)): value
            for name, value in json.loads((folder / "metrics.json").read_text()).items()
        }
        told = {(name, value) for name, value, _, _ in metrics}  # the end of a curve is no point before its start
        metrics += [
            (name, float(value), end_ms, 0)
            for name, value in figures.items()
            if _is_figure(value) and (name, float(value)) not in told
        ]
    return RunView(artifact, name, start_ms, end_ms, params, tags, metrics)


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


def grouped(name: str) -> str:
    """A figure's name as MLflow groups charts: by what stands before a slash.

    >>> grouped("jigsaw.validation_loss"), grouped("share.jigsaw.layer1.0"), grouped("validation_loss"), grouped("beta")
    ('jigsaw/validation_loss', 'share/jigsaw.layer1.0', 'validation/loss', 'beta')
    """
    return metric_name(re.sub(r"^(?:(train|validation|test|chance)_|([^./]+)\.)(?=.)", r"\1\2/", name))


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
                numbers[_OF_AN_EPOCH.get(name, name)] = float(text)
            except (TypeError, ValueError):
                words += [text] if text else []
        step = int(numbers.pop("epoch", index))
        time_ms = start_ms + (end_ms - start_ms) * (index + 1) // len(lines)
        for name, value in numbers.items():
            metrics.append((metric_name("/".join([*words, name])) if words else grouped(name), value, time_ms, step))
    return metrics


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
