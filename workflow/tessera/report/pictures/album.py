"""The pictures of a study: which makers there are, and where pictures lie."""

import importlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from tessera.files import remove_drafts, replace_bytes
from tessera.jobs import SummarizeStudy

INDEX = "index.json"


@dataclass(frozen=True)
class Picture:
    """One picture of a study.

    Attributes:
        file: PNG in `results/<study>/figures/`; an SVG of the same stem may lie beside it.
        title: What it shows, in a few words.
        caption: How to read it.
        category: Where the page shows it.
    """

    file: str
    title: str
    caption: str
    category: str


Maker = Callable[[SummarizeStudy, Path, Path], list[Picture]]  # study, working directory, folder for the pictures

# Name, maker as `module:function`: imported when a study is summarized. Pages show categories in this order: curves
# and figures of everything first, then what single images look like, which no one should take for the result.
PICTURES: dict[str, str] = {
    "along": "tessera.report.pictures.along:draw_along",
    "pretraining": "tessera.report.pictures.training:draw_pretraining",
    "impact": "tessera.report.pictures.impact:draw_impact",
    "transfer": "tessera.report.pictures.training:draw_transfer",
    "sharing": "tessera.report.pictures.sharing:draw_sharing",
    "precision_recall": "tessera.report.pictures.detections:draw_precision_recall",
    "per_class": "tessera.report.pictures.detections:per_class_table",
    "confusion": "tessera.report.pictures.retrieval:draw_confusion",
    "map": "tessera.report.pictures.retrieval:draw_map",
    "features": "tessera.report.pictures.maps:draw_features",
    "predicted_maps": "tessera.report.pictures.predicted_maps:draw_predicted_maps",
    "retrieval": "tessera.report.pictures.retrieval:draw_retrieval",
    "previews": "tessera.report.pictures.previews:draw_previews",
    "predictions": "tessera.report.pictures.detections:draw_predictions",
    "mistakes": "tessera.report.pictures.detections:draw_mistakes",
}


@dataclass(frozen=True)
class Album:
    """All pictures of a study, not yet written.

    Attributes:
        files: Content of every file in `figures/`, the index among them, by name.
    """

    pictures: tuple[Picture, ...]
    files: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Puts the pictures into a folder, and removes what an earlier configuration left there."""
        remove_drafts(folder)
        for older in folder.glob("*"):
            if older.is_file() and older.name not in self.files:
                older.unlink()
        for name, content in self.files.items():
            replace_bytes(folder / name, content)


def make_album(summary: SummarizeStudy, root: Path) -> Album:
    """Lets every maker draw; nothing is written under `root`.

    Raises:
        ArtifactError: If an artifact is damaged.
    """
    pictures: list[Picture] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target in PICTURES.values():
            module, _, function = target.partition(":")
            maker = cast(Maker, getattr(importlib.import_module(module), function))
            pictures += maker(summary, root, folder)
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    index = json.dumps([asdict(picture) for picture in pictures], indent=1, ensure_ascii=False) + "\n"
    return Album(tuple(pictures), {**files, INDEX: index.encode()})
