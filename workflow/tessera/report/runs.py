"""The runs behind a study: what each artifact says of itself, and which artifacts led to a cell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tessera.jobs import FOLDERS, PrepareDataset
from tessera.report.records import figures, manifest, read_json

PREPARED = PrepareDataset.stage
STAGE_OF = {folder: stage for stage, folder in FOLDERS.items()}


@dataclass(frozen=True)
class ArtifactRun:
    """One artifact, as its manifest and metrics.json tell.

    Attributes:
        folder: Relative to the working directory.
        stage: By the folder, so that it is known where the manifest is missing.
    """

    folder: str
    about: Mapping[str, Any]
    metrics: Mapping[str, float | None]

    @property
    def stage(self) -> str:
        return STAGE_OF.get(Path(self.folder).parent.name, Path(self.folder).parent.name)

    @property
    def key(self) -> str:
        return self.folder.rpartition("-")[2]

    @property
    def name(self) -> str:
        return Path(self.folder).name

    @property
    def trial(self) -> int | None:
        trial = self.about.get("trial")
        return trial if isinstance(trial, int) else None

    @property
    def seconds(self) -> float:
        return float(self.about.get("seconds") or 0)

    @property
    def finished(self) -> str:
        return str(self.about.get("finished") or "")

    @property
    def inputs(self) -> dict[str, str]:
        inputs = self.about.get("inputs")
        return {str(k): str(v) for k, v in inputs.items()} if isinstance(inputs, Mapping) else {}

    @cached_property
    def settings(self) -> str:
        """As YAML; empty where the artifact tells none."""
        stated = self.about.get("settings")
        return yaml.safe_dump(stated, sort_keys=False, allow_unicode=True) if stated else ""


class Runs:
    """All artifacts of a study, read once."""

    def __init__(self, root: Path, folders: Iterable[str]) -> None:
        self._root = root
        self._read: dict[str, ArtifactRun] = {}
        self.all = [self.at(folder) for folder in folders]

    def at(self, folder: str) -> ArtifactRun:
        """One artifact; it says nothing where it is not there.

        Raises:
            ArtifactError: If it is damaged.
        """
        if folder not in self._read:
            path = self._root / folder
            metrics = figures(path) if (path / "metrics.json").exists() else {}
            self._read[folder] = ArtifactRun(folder, manifest(path), metrics)
        return self._read[folder]

    def chain(self, folder: str) -> list[ArtifactRun]:
        """An artifact and all that it was made from, the last stage first."""
        found: dict[str, ArtifactRun] = {}
        waiting = [folder]
        while waiting:
            run = self.at(waiting.pop(0))
            if run.folder not in found:
                found[run.folder] = run
                waiting += run.inputs.values()
        stages = list(reversed(FOLDERS))
        return sorted(found.values(), key=lambda run: stages.index(run.stage) if run.stage in stages else -1)

    @property
    def made(self) -> str:
        """When the last artifact was finished: the study's date, the same whenever the page is written."""
        return max((run.finished for run in self.all), default="")

    def seconds_by_stage(self) -> dict[str, tuple[int, float]]:
        """Number of artifacts and their seconds, by stage in order."""
        found: dict[str, tuple[int, float]] = {}
        for stage in FOLDERS:
            runs = [run for run in self.all if run.stage == stage]
            if runs:
                found[stage] = len(runs), sum(run.seconds for run in runs)
        return found

    def hardware(self) -> list[dict[str, str]]:
        """Every kind of machine, without what differs from run to run."""
        found = []
        for run in self.all:
            stated = run.about.get("hardware")
            if isinstance(stated, Mapping):
                kind = {str(k): str(v) for k, v in stated.items() if k != "peak_memory_mb"}
            else:
                kind = {"machine": str(stated)} if stated else {}
            if kind and kind not in found:
                found.append(kind)
        # A stage that computes nothing tells less of the same machine.
        return [kind for kind in found if not any(kind.items() < other.items() for other in found)]

    def commits(self) -> list[str]:
        """Every git commit that made an artifact, and whether files had been changed since."""
        found = []
        for run in self.all:
            git = run.about.get("git")
            if isinstance(git, Mapping) and git.get("commit"):
                changed = " with uncommitted changes" if git.get("dirty") else ""
                found.append(f"{git['commit']}{changed}")
        return list(dict.fromkeys(found))

    def with_people(self) -> list[str]:
        """Dataset artifacts whose images show people: none of them is drawn."""
        found = {run.name: self._root / run.folder / "dataset.json" for run in self.all if run.stage == PREPARED}
        return [name for name, path in found.items() if path.exists() and read_json(path).get("shows_people")]

    def skipped(self) -> dict[str, int]:
        """Dataset artifact to the number of things that it passed over, also where that is none."""
        return {run.name: int(run.metrics["num_skipped"] or 0) for run in self.all if "num_skipped" in run.metrics}
