"""Predicted maps: what each row of a study makes of the same test images, below what is right. Never imports torch.

Reads what the protocol `tasks` keeps beside its figures; draws nothing where no cell has that.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.errors import ArtifactError
from tessera.jobs import Cell, SummarizeStudy
from tessera.report import trials
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, save, text_inches
from tessera.report.pictures.sheets import read_sheet
from tessera.report.records import figures, manifest, read_json
from tessera.report.tables.table import decimals_for
from tessera.report.words.sentences import listed, number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

CATEGORY = "Predicted maps"
ABOUT = "maps/maps.json"
WIDTH, MARGIN, GAP, HEAD = 7.5, 0.08, 0.04, 0.2  # inches: of the page, around it, between pictures, words above them
BLOCK = 0.14  # inches between the two blocks of a line
LABEL, LETTERS = 6.5, 20  # points; of a row's name, in a line
MOST = 12  # rows of a picture
SWATCH, LINE = 0.09, 0.15  # inches: a class's colour, a line of classes


@dataclass(frozen=True)
class Maps:
    """What one row of the study predicts.

    Attributes:
        figure: In words, of all test images, mean over the trials.
        legend: Classes that occur, and their colours.

    Shape:
        shown, right, predicted, error: (n, h, w, 3) uint8, of the same n images.
    """

    row: str
    figure: str
    caption: str
    legend: tuple[tuple[str, str], ...]
    shown: "np.ndarray"
    right: "np.ndarray"
    predicted: "np.ndarray"
    error: "np.ndarray"


def draw_predicted_maps(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `predicted_maps-<n>.png` for each task that learned maps: a line for each row in which it is measured."""
    pictures: list[Picture] = []
    for task, where, cells in _groups(summary, root):
        means = [_mean(cell, root) for _, cell in cells]
        decimals = decimals_for(means)
        maps = [
            _read(task, row, _figure(cell, mean, decimals), root / cell.artifacts[0])
            for (row, cell), mean in zip(cells, means, strict=True)
        ]
        pages = [maps[start : start + MOST] for start in range(0, len(maps), MOST)]
        for page, rows in enumerate(pages, start=1):
            with drawing():
                file = save(draw(rows), folder, f"predicted_maps-{len(pictures) + 1}", svg=False)
            of = "" if len(pages) == 1 else f", part {page} of {len(pages)}"
            caption = (
                f"{'First trial' if summary.trials > 1 else 'One trial'}; {len(rows[0].shown)} images, spread evenly "
                f"over the test split, whatever is predicted. {rows[0].caption} Beside a row: its figure on all test "
                f"images{', mean over the trials' if summary.trials > 1 else ''}."
            )
            pictures.append(Picture(file, f"Predicted maps: {task}{where}{of}", caption, CATEGORY))
    return pictures


def draw(rows: Sequence[Maps]) -> "Figure":
    """Two blocks side by side, the images and below them what is predicted, what is right and below it the errors."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    first = rows[0]
    names = ["\n".join([*_wrapped(maps.row), maps.figure]) for maps in rows]
    left = MARGIN + max(text_inches(line, LABEL) for name in names for line in name.split("\n")) + 0.08
    count = len(first.shown)
    across = (WIDTH - left - MARGIN - BLOCK - 2 * (count - 1) * GAP) / (2 * count)
    down = across * first.shown.shape[1] / first.shown.shape[2]
    tall = max(down, *(0.115 * (name.count("\n") + 1) for name in names))  # of a line: names may need more
    legend = dict(pair for maps in rows for pair in maps.legend)
    placed, legend_height = _placed(list(legend), WIDTH - 2 * MARGIN)
    height = MARGIN + 2 * HEAD + down + len(rows) * (tall + GAP) + legend_height + MARGIN
    blocks = left, left + count * across + (count - 1) * GAP + BLOCK
    figure = Figure(figsize=(WIDTH, height))
    ax = figure.add_axes((0, 0, 1, 1))  # one for all: its coordinates are inches from the top left corner
    ax.set_axis_off()

    def strip(images: "np.ndarray", start: float, top: float) -> None:
        for index, image in enumerate(images):
            x = start + index * (across + GAP)
            ax.imshow(image, extent=(x, x + across, top + down, top), interpolation="nearest", aspect="auto")

    top = MARGIN + HEAD
    for heads, start in zip((("images", "predicted"), ("right", "error")), blocks, strict=True):
        for line, head in enumerate(heads):
            ax.text(start, top - 0.04 + line * (down + HEAD), head, va="bottom", weight="bold")
    strip(first.shown, blocks[0], top)
    strip(first.right, blocks[1], top)
    top += down + HEAD
    for maps, name in zip(rows, names, strict=True):
        middle = top + (tall - down) / 2
        ax.text(left - 0.06, top + tall / 2, name, ha="right", va="center", fontsize=LABEL)
        strip(maps.predicted, blocks[0], middle)
        strip(maps.error, blocks[1], middle)
        top += tall + GAP
    for label, (x, y) in zip(legend, placed, strict=True):
        x, y = MARGIN + x, top + y + 0.03
        ax.add_patch(Rectangle((x, y), SWATCH, SWATCH, color=legend[label]))
        ax.text(x + SWATCH + 0.04, y + SWATCH / 2, label, va="center_baseline", fontsize=LABEL)
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(height, 0)
    return figure


def _placed(labels: Sequence[str], width: float) -> tuple[list[tuple[float, float]], float]:
    """Where the classes of a legend stand, in lines as wide as that, and how high all of it is; inches."""
    places, x, y = list[tuple[float, float]](), 0.0, 0.0
    for label in labels:
        wide = SWATCH + 0.16 + text_inches(label, LABEL)
        if x and x + wide > width:
            x, y = 0.0, y + LINE
        places.append((x, y))
        x += wide
    return places, y + LINE if labels else 0.0


def _wrapped(row: str) -> list[str]:
    return textwrap.wrap(row, LETTERS, max_lines=3, placeholder=" …") or [""]


def _groups(summary: SummarizeStudy, root: Path) -> list[tuple[str, str, list[tuple[str, Cell]]]]:
    """For each task that learned maps: the rows that show it on the same images, from the top, each with a cell.

    Returns:
        The task, what a title says beside it where one task has several groups, and the rows' names with their cells.
    """
    found: dict[str, dict[tuple[Any, ...], list[Cell]]] = {}
    seen = set[tuple[str, str, tuple[str, ...]]]()  # further figures of the same task
    for cell in sorted(summary.cells, key=lambda cell: summary.rows.index(cell.row)):
        task = cell.metric.rpartition(".")[0]
        if not task or not cell.artifacts or (cell.row, task, cell.artifacts) in seen:
            continue
        seen.add((cell.row, task, cell.artifacts))
        if (about := _about(root / cell.artifacts[0])) and any(one["task"] == task for one in about["tasks"]):
            inputs = manifest(root / cell.artifacts[0]).get("inputs")
            images = str(inputs.get("dataset")) if isinstance(inputs, dict) else "", *about["images"], *about["strip"]
            found.setdefault(task, {}).setdefault(images, []).append(cell)
    groups = []
    for task, by_images in found.items():
        columns = [dict.fromkeys(cell.column for cell in cells) for cells in by_images.values()]
        apart = len({name for names in columns for name in names}) == sum(map(len, columns))
        for cells, names in zip(by_images.values(), columns, strict=True):
            rows = [cell.row for cell in cells]
            named = [(f"{cell.row}, {cell.column}" if rows.count(cell.row) > 1 else cell.row, cell) for cell in cells]
            more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            which = listed(list(names)) if apart else f"{named[0][0]}{more}"
            groups.append((task, f": {which}" if len(by_images) > 1 else "", named))
    return groups


def _about(folder: Path) -> dict[str, Any] | None:
    """What an artifact keeps of its maps; None where it keeps none, as of images of people.

    Raises:
        ArtifactError: If it is damaged.
    """
    if not (folder / ABOUT).exists():
        return None
    about = read_json(folder / ABOUT)
    if missing := {"images", "file", "strip", "tasks"} - set(about):
        raise ArtifactError(f"{folder / ABOUT}: has no `{min(missing)}`. Delete its folder; it is made again.")
    return about


def _mean(cell: Cell, root: Path) -> trials.Value:
    return trials.mean([figures(root / made).get(cell.metric) for made in cell.artifacts])


def _figure(cell: Cell, mean: trials.Value, decimals: int) -> str:
    """A cell's figure in words; nothing where it has none."""
    if mean is None:
        return ""
    unit = cell.figure.unit if cell.figure.unit in ("", "°") else f" {cell.figure.unit}"
    return f"{cell.metric.rpartition('.')[2].replace('_', ' ').replace('iou', 'IoU')} {number(mean, decimals)}{unit}"


def _read(task: str, row: str, figure: str, folder: Path) -> Maps:
    about = read_json(folder / ABOUT)
    kept = next(one for one in about["tasks"] if one["task"] == task)
    (shown,) = read_sheet(folder / about["file"], [about["strip"]])
    images = read_sheet(folder / kept["file"], [view["strip"] for view in kept["views"]])
    views = dict(zip((view["name"] for view in kept["views"]), images, strict=True))
    legend = tuple((str(label), str(color)) for label, color in kept["legend"])
    return Maps(row, figure, kept["caption"], legend, shown, views["right"], views["predicted"], views["error"])
