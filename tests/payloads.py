"""What a project's artifacts hold, to compare two runs of one study."""

import csv
import json
from pathlib import Path


def payloads(project: Path) -> dict[str, object]:
    """What every artifact holds: figures without the times that they took, checksums of all else."""
    found: dict[str, object] = {}
    for manifest in sorted(project.glob("artifacts/*/*/artifact.json")):
        for name, about in json.loads(manifest.read_text())["files"].items():
            path = manifest.parent / name
            if name == "metrics.json":
                content: object = untimed(json.loads(path.read_text()))
            elif name == "history.csv":
                content = [untimed(row) for row in csv.DictReader(path.read_text().splitlines())]
            else:
                content = about["sha256"]
            found[str(path.relative_to(project))] = content
    return found


def untimed(figures: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in figures.items() if name not in ("seconds", "images_per_second")}
