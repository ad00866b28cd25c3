"""What MLflow shows of a cell of a table in one trial: what was varied, and the figure that came of it.

These are the runs to compare: each has the settings of all its jobs, which stand beneath it, in a few parameters.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tessera.jobs import Cell, SummarizeStudy
from tessera.registry import Options, label
from tessera.study.plan import Asked
from tessera.study.settings import Keys, answers, spelled
from tessera.tracking.store import SHOWN
from tessera.tracking.view import Metric, RunView, metric_name
from tessera.transfer.options import TransferOptions

CURRENT = "current"  # whether the study, as it is planned now, has this cell

# What is told of every cell, whether its study varies it or not: parameter to its place in an experiment.
_ALWAYS: dict[str, Keys] = {
    "method": ("source", "method"),
    "tasks": ("source", "tasks"),
    "encoder": ("source", "encoder", "name"),
    "source_dataset": ("source", "dataset", "name"),
    "transfer": ("transfer",),
    "network": ("target", "network", "name"),
    "dataset": ("target", "dataset", "name"),
    "label_fraction": ("target", "label_fraction"),
    "protocol": ("target", "protocol", "name"),
}
# What a chain without such a job does not use.
_NEEDED = {"pretrain_source": ("method", "tasks", "encoder", "source_dataset"), "transfer_knowledge": ("network",)}
_UNUSED = "none"


class Chains:
    """The manifests under a project's folder, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, dict[str, Any] | None] = {}

    def manifest(self, folder: str) -> dict[str, Any] | None:
        """What an artifact says of itself; None where it is not complete, or damaged."""
        if folder not in self._read:
            try:
                content = json.loads((self.root / folder / "artifact.json").read_text())
                self._read[folder] = content if _fits(content) else None
            except (OSError, ValueError):
                self._read[folder] = None
        return self._read[folder]

    def of(self, folder: str) -> dict[str, dict[str, Any]]:
        """The complete artifacts that led to one, and itself, the first first."""
        manifest = self.manifest(folder)
        if manifest is None:
            return {}
        found: dict[str, dict[str, Any]] = {}
        for source in manifest["inputs"].values():
            found |= self.of(source)
        return {**found, folder: manifest}

    def times(self, folders: Iterable[str]) -> tuple[int, int] | None:
        """When work on the complete ones of these artifacts began and ended, in ms; None where there are none."""
        found = [times_of(manifest) for folder in folders if (manifest := self.manifest(folder)) is not None]
        return (min(start for start, _ in found), max(end for _, end in found)) if found else None


def times_of(manifest: Mapping[str, Any]) -> tuple[int, int]:
    """When the work on an artifact began and ended, in ms since 1970."""
    end_ms = round(datetime.fromisoformat(manifest["finished"]).timestamp() * 1000)
    return end_ms - round(1000 * manifest["seconds"]), end_ms


@dataclass(frozen=True)
class CellRun:
    """One cell in one trial.

    Attributes:
        view: Its run, whose tag `tessera.shown` is a digest of the rest.
        chain: The artifacts that led to its figure, and those of the same measured along the training.
    """

    view: RunView
    chain: tuple[str, ...]


def read_cells(
    summary: SummarizeStudy, asked: Mapping[tuple[str, str], Asked], chains: Chains
) -> Iterator[tuple[str, CellRun]]:
    """The measured cells of a study, in the table's order, each with a word that tells it from all others.

    Args:
        asked: What each cell asks for, by row and column.
    """
    varied = _varied(asked.values())
    for cell in summary.cells:
        for trial, folder in enumerate(cell.artifacts):
            chain = chains.of(folder)
            if not chain:
                continue
            try:
                figure = _figure(chains.root / folder, cell)
                course = [
                    (point.epoch, _figure(chains.root / point.artifacts[trial], cell))
                    for point in cell.along
                    if chains.manifest(point.artifacts[trial]) is not None
                ]
            except (OSError, ValueError, AttributeError):
                continue  # damaged: told of where its own run is written
            view = _view(
                summary, cell, trial, chain, course or [(0, figure)], asked.get((cell.row, cell.column)), varied
            )
            beside = [made for point in cell.along for made in chains.of(point.artifacts[trial])]
            yield f"{summary.name}: {cell.row} · {cell.column}", CellRun(view, tuple(dict.fromkeys([*chain, *beside])))


def _figure(folder: Path, cell: Cell) -> object:
    return json.loads((folder / "metrics.json").read_text()).get(cell.metric)


def _view(
    summary: SummarizeStudy,
    cell: Cell,
    trial: int,
    chain: Mapping[str, Mapping[str, Any]],
    course: Iterable[tuple[int, object]],
    asked: Asked | None,
    varied: Iterable[Keys],
) -> RunView:
    """The run of a cell in a trial.

    Args:
        course: The cell's figure at steps, which are epochs where it is measured along a training; the last its own.
    """
    seconds = sum(manifest["seconds"] for manifest in chain.values())
    folder = cell.artifacts[trial]
    _, end_ms = times_of(chain[folder])
    # What it took is the work, which may have been done over days: a dataset is prepared once, for all.
    start_ms = end_ms - round(1000 * seconds)
    params = {"row": cell.row, "column": cell.column, "trial": str(trial), "metric": cell.metric}
    if asked is not None:
        params |= _params(asked, varied, chain.values())
    metrics: list[Metric] = [("seconds", float(seconds), end_ms, 0)]
    metrics += [
        (metric_name(cell.metric), float(figure), end_ms, step)
        for step, figure in course
        if isinstance(figure, int | float)
    ]
    tags = {
        "stage": "cell",
        "study": summary.name,
        "studies": summary.name,
        "row": cell.row,
        "column": cell.column,
        "trial": str(trial),
        "settings": f"{summary.name}: {cell.row} · {cell.column}",  # the same for all its trials
    }
    name = " · ".join([*(word for word in (cell.row, cell.column) if word), f"trial {trial}"])
    place = "/".join(["results", summary.name, cell.row, cell.column, folder.rpartition("/")[2]])
    content = [name, params, metrics, tags, start_ms, end_ms]
    tags[SHOWN] = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    tags[CURRENT] = "yes"
    return RunView(place, name, start_ms, end_ms, params, tags, metrics)


def _params(asked: Asked, varied: Iterable[Keys], chain: Collection[Mapping[str, Any]]) -> dict[str, str]:
    stages = {manifest["kind"] for manifest in chain}
    unused = {name for stage, names in _NEEDED.items() if stage not in stages for name in names}
    unused |= {name for name in ("label_fraction",) if not any(name in one.get("settings", ()) for one in chain)}
    params = {}
    for name, path in _ALWAYS.items():
        value = _UNUSED if name in unused else _value(asked, path)
        if value is not None:
            params[name] = value
    for path in varied:
        name = metric_name(spelled(path))
        if path not in _ALWAYS.values() and name not in params and (value := _value(asked, path)) is not None:
            params[name] = value
    return params


def _varied(asked: Iterable[Asked]) -> list[Keys]:
    """Paths of all that any row or column of a study sets."""
    return list(dict.fromkeys(path for one in asked for path in answers(one.settings, "")))


def _value(asked: Asked, path: Keys) -> str | None:
    """A setting of an experiment in words; None where this experiment has no such setting."""
    if path == _ALWAYS["method"]:
        return asked.method
    item: Any = asked.experiment
    for word in path:
        if not hasattr(item, word):
            return None
        item = getattr(item, word)
    return _words(item, path)


def _words(value: Any, path: Keys) -> str:
    if isinstance(value, str):
        return label(value) if path[-1] == "name" else value
    if isinstance(value, TransferOptions):
        return value.word()
    if isinstance(value, Options):
        return label(value.name)
    if isinstance(value, tuple | list):
        return "+".join(_words(item, path) for item in value) or _UNUSED
    return json.dumps(value, default=str)


def _fits(content: Any) -> bool:
    """Whether it is a manifest, as far as it is read here."""
    wanted = {"kind": str, "inputs": dict, "seconds": int | float, "finished": str}
    return isinstance(content, dict) and all(isinstance(content.get(name), form) for name, form in wanted.items())
