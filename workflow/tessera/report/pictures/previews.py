"""What each task saw and predicted when its pretraining had ended."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.jobs import SummarizeStudy
from tessera.report.lineage import Pretraining, pretrainings
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, save, text_inches
from tessera.report.pictures.sheets import read_sheet
from tessera.report.records import read_json

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

FILE = "previews.json"
MOST = 12  # pretrainings of a study that are drawn
# Inches: of the page, around a block of pictures, between pictures, above a block for its words.
WIDTH, MARGIN, GAP, WORDS = 7.5, 0.08, 0.04, 0.42
LABEL = 7.0  # points: names of what the pictures show
BLOCKS = 2  # side by side
WRAP = 72  # letters of a caption's line
CAPTION = (
    "What each task was shown of the same {number} held-out images, what it made of them once the training had ended, "
    "and what is right. {which}; encoder and heads are those that the artifact keeps."
)


@dataclass(frozen=True)
class Shown:
    """One task's preview.

    Attributes:
        views: What the pictures show, and the pictures: (n, h, w, 3) uint8.
    """

    task: str
    caption: str
    views: "tuple[tuple[str, np.ndarray], ...]"


@dataclass(frozen=True)
class Block:
    """Where a preview lies on the page, in inches from its top left corner.

    Attributes:
        left: Where its words begin.
        pictures: Where its pictures begin: right of their names.
        cells: Width and height of the pictures of each line.
    """

    shown: Shown
    left: float
    top: float
    pictures: float
    cells: tuple[tuple[float, float], ...]


def draw_previews(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `previews-<n>.png` for each pretraining that kept previews; nothing where none did."""
    found = [(one, kept) for one in pretrainings(summary, root) if (kept := _kept(one, root))]
    pictures = []
    for index, (pretraining, kept) in enumerate(found[:MOST], start=1):
        previews = read_previews(kept[0])
        with drawing():
            # Photographs make an SVG large, and not sharper.
            file = save(draw(previews), folder, f"previews-{index}", svg=False)
        which = "First trial" if len(pretraining.folders) > 1 else "One trial"
        caption = CAPTION.format(number=max(len(images) for _, images in previews[0].views), which=which)
        pictures.append(Picture(file, f"Tasks: {pretraining.title}", caption, "Tasks"))
    return pictures


def read_previews(folder: Path) -> list[Shown]:
    """What a source artifact kept of its tasks.

    Raises:
        ArtifactError: If it is damaged.
    """
    found = []
    for task in read_json(folder / FILE)["tasks"]:
        images = read_sheet(folder / task["file"], [view["strip"] for view in task["views"]])
        names = [view["name"] for view in task["views"]]
        found.append(Shown(task["task"], task["caption"], tuple(zip(names, images, strict=True))))
    return found


def draw(previews: Sequence[Shown]) -> "Figure":
    """The tasks in two columns, each with a line of pictures for everything that it shows; one image, one column."""
    from matplotlib.figure import Figure

    blocks, height = _arranged(previews)
    width = WIDTH if len(previews) > 1 else WIDTH / BLOCKS
    figure = Figure(figsize=(width, height))
    for block in blocks:
        shown, top = block.shown, block.top
        figure.text(block.left / width, 1 - top / height, shown.task, weight="bold", va="top")
        words = "\n".join(textwrap.wrap(shown.caption, WRAP, break_on_hyphens=False))
        figure.text(block.left / width, 1 - (top + 0.15) / height, words, va="top", fontsize=6.5)
        top += WORDS
        for (name, images), (across, down) in zip(shown.views, block.cells, strict=True):
            middle = top + down / 2
            figure.text(
                (block.pictures - 0.06) / width, 1 - middle / height, name, ha="right", va="center", fontsize=LABEL
            )
            for index, image in enumerate(images):
                left = block.pictures + index * (across + GAP)
                box = (left / width, 1 - (top + down) / height, across / width, down / height)
                ax = figure.add_axes(box)
                ax.imshow(image, aspect="auto", interpolation="nearest")
                ax.set_axis_off()
            top += down + GAP
    return figure


def _arranged(previews: Sequence[Shown]) -> tuple[list[Block], float]:
    """The blocks, each at the end of the shorter column, and the height of the page."""
    tops = [MARGIN] * BLOCKS
    blocks = []
    for shown in previews:
        column = tops.index(min(tops))
        most = max(len(images) for _, images in shown.views)
        names = max(text_inches(name, LABEL) for name, _ in shown.views) + 0.1
        across = (WIDTH / BLOCKS - names - 2 * MARGIN - (most - 1) * GAP) / most
        cells = tuple((across, across * images.shape[1] / images.shape[2]) for _, images in shown.views)
        left = column * WIDTH / BLOCKS + MARGIN
        blocks.append(Block(shown, left, tops[column], left + names, cells))
        tops[column] += WORDS + sum(down + GAP for _, down in cells) + 2 * MARGIN
    return blocks, max(tops)


def _kept(pretraining: Pretraining, root: Path) -> list[Path]:
    """Its artifacts that kept previews."""
    return [root / name for name in pretraining.folders if (root / name / FILE).exists()]
