"""Reads what artifacts say of themselves: figures, cost, hardware. Other keys of these files may come and go."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.errors import ArtifactError
from tessera.figures import Figure


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        ArtifactError: If it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder; it is made again.") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: should hold a JSON object. Delete its folder; it is made again.")
    return content


def figures(folder: Path) -> dict[str, float | None]:
    """What a measuring artifact reports, by name; None where a figure is not finite."""
    content = read_json(folder / "metrics.json")
    numbers = {k: v for k, v in content.items() if v is None or (isinstance(v, int | float) and v is not True)}
    return {k: float(v) if v is not None and math.isfinite(v) else None for k, v in numbers.items() if v is not False}


def chance(root: Path, folder: str, figure: Figure) -> float | None:
    """What guessing would give, %: as the artifact says, else where the figure says so and the dataset can be found."""
    if figure.unit == "%" and (told := root / folder / "chance.json").exists():
        value = read_json(told).get(figure.name)
        return float(value) if isinstance(value, int | float) else None
    return None if figure.guesses is None else figure.chance(len(classes_read(root, folder)))


def classes_read(root: Path, folder: str | Path) -> list[str]:
    """Names of the classes of the label column that an artifact reads, by label; none where they are not known."""
    about = manifest(root / folder)
    inputs, settings = about.get("inputs"), about.get("settings")
    dataset = inputs.get("dataset") if isinstance(inputs, Mapping) else None
    column = settings.get("labels") if isinstance(settings, Mapping) else None
    try:
        told = read_json(root / str(dataset) / "dataset.json")
        names = told["classes"] if column is None else told["columns"][column]["classes"]
    except (ArtifactError, KeyError, TypeError):
        return []
    return [str(name) for name in names]


def manifest(folder: Path) -> dict[str, Any]:
    """What artifact.json says; nothing where it is not there."""
    path = folder / "artifact.json"
    return read_json(path) if path.exists() else {}


@dataclass(frozen=True)
class Cost:
    """What a study's artifacts took to make, once each.

    Attributes:
        seconds: Of all, each as if nothing had been done before it.
        extended: The part of them that trainings had of a shorter one's state: it was computed once, and counts with
            each training that went on from there.
    """

    artifacts: int
    seconds: float
    hardware: tuple[str, ...]
    extended: float = 0.0

    def sentence(self) -> str:
        """One line for a reader."""
        where = f", on {' and '.join(self.hardware)}" if self.hardware else ""
        plural = "" if self.artifacts == 1 else "s"
        text = f"{self.artifacts} artifact{plural}, {duration(self.seconds)} of compute{where}."
        if not self.extended:
            return text
        return (
            f"{text} Each training counts whole, though some went on from the state of a shorter one, which saved "
            f"{duration(self.extended)} of that."
        )


def cost(root: Path, folders: Iterable[str]) -> Cost:
    """Adds up the seconds of artifacts and names their hardware."""
    abouts = [manifest(root / folder) for folder in folders]
    seconds = sum(float(about.get("seconds") or 0) for about in abouts)
    names = {_hardware(about.get("hardware")) for about in abouts}
    return Cost(len(abouts), seconds, tuple(sorted(names - {""})), sum(map(seconds_before, abouts)))


def seconds_before(about: Mapping[str, Any]) -> float:
    """What of an artifact's seconds was spent in another training, whose state it went on from."""
    extends = about.get("extends")
    return float(extends.get("seconds") or 0) if isinstance(extends, Mapping) else 0.0


def versions(root: Path, folders: Iterable[str]) -> dict[str, list[str]]:
    """Every version of every library that made the artifacts."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        stated = manifest(root / folder).get("versions")
        for name, version in stated.items() if isinstance(stated, Mapping) else ():
            found.setdefault(str(name), set()).add(str(version))
    return {name: sorted(found[name]) for name in sorted(found)}


def _hardware(stated: Any) -> str:
    if isinstance(stated, Mapping):
        for key in ("device_name", "name", "gpu", "accelerator", "device", "processor", "cpu"):
            if stated.get(key) and stated[key] not in ("cpu", "cuda"):
                return str(stated[key])
        return ", ".join(str(value) for value in stated.values() if value)
    return str(stated or "")


def duration(seconds: float) -> str:
    """A time in words: `4 s`, `12 min`, `2.9 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
