"""What is known of a prepared set with boxes, to compare."""

from collections.abc import Callable
from pathlib import Path

from tessera.data.detection import DetectionDataset, DetectionSplit

Prepare = Callable[..., tuple[dict[str, float], DetectionDataset]]


def shown(split: DetectionSplit) -> list[tuple[str, list[list[float]], list[int], list[bool]]]:
    """All that is known of the images of a split."""
    found = []
    for i in range(len(split)):
        objects = split.objects(i)
        name = Path(split.name(i)).stem
        found.append((name, objects.boxes.tolist(), objects.labels.tolist(), objects.difficult.tolist()))
    return found
