"""Maps of features in two dimensions: a point an image, coloured by its class. No image is drawn."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tessera.jobs import Cell, SummarizeStudy
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, legend_below, save
from tessera.report.records import figures, manifest, read_json

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORY = "Features"
WIDTH = 7.5  # inches, of the page
# Ten colours that differ in hue or in lightness, and markers that differ without them.
COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#000000", "#b8a800", "#7f3c8d", "#8c6d31",
)  # fmt: skip
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*")
NAMED = 20  # classes that a legend or an axis can name
ABOUT, POINTS = "map.json", "predictions.npz"  # as protocols leave them


class Panel(NamedTuple):
    """One map.

    Shape:
        coordinates: (N, 2) float; labels: (N,) int, which classes.
    """

    title: str
    coordinates: "np.ndarray"
    labels: "np.ndarray"


def draw_features(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `features-<n>.png`, one for each column whose protocol left a map: a panel for each row.

    Rows that read other classes or other images are a picture of their own: one legend is of one list of classes.
    """
    pictures: list[Picture] = []
    for column in summary.columns:
        cells = [(cell, made) for cell in summary.cells if cell.column == column and (made := _made(cell, root))]
        cells.sort(key=lambda pair: summary.rows.index(pair[0].row))
        groups: dict[tuple[str, ...], list[tuple[Cell, Path, dict[str, Any]]]] = {}
        for cell, made in cells:
            about = read_json(made / ABOUT)
            groups.setdefault((_dataset(made), str(about["of"]), *about["classes"]), []).append((cell, made, about))
        for group in groups.values():
            panels = [_panel(cell, made) for cell, made, _ in group]
            first, number = group[0][2], max(len(panel.labels) for panel in panels)
            with drawing():
                figure = draw_panels(panels, first["classes"])
                file = save(figure, folder, f"features-{len(pictures) + 1}")
            layers = " or ".join(dict.fromkeys(str(about["layer"]) for _, _, about in group))
            title = f"Map of the features: {column}, {_dataset(group[0][1])}, layer {layers}, {number} images"
            if len(groups) > 1:
                title += f": {group[0][0].row}" + (f" and {len(group) - 1} more" if len(group) > 1 else "")
            caption = (
                f"t-SNE of frozen features, coloured by class: {number} of {first['of']} labelled test images of the "
                "first trial, the same ones in every panel. Neighbours are neighbours in the encoder's features; sizes "
                "of groups, and distances between them, mean little. The accuracy is that of a point's nearest "
                "neighbour in the map."
            )
            pictures.append(Picture(file, title, caption, CATEGORY))
    return pictures


def draw_panels(panels: Sequence[Panel], classes: Sequence[str]) -> "Figure":
    """Panels in up to two columns, with one legend for all, which names the classes that are there, up to 20."""
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    size = (WIDTH if columns > 1 else 0.6 * WIDTH), lines * 3.5 + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes: list[Axes] = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for ax, panel in zip(axes, panels, strict=False):
        area = min(12.0, max(5.0, 6_000 / len(panel.labels)))  # square points: many overlap
        for label in np.unique(panel.labels):
            x, y = panel.coordinates[panel.labels == label].T
            color, marker = _look(label)
            ax.scatter(x, y, s=area, c=color, marker=marker, linewidths=0.2, edgecolors="white")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_aspect("equal", adjustable="datalim")
        ax.spines[:].set_color("0.8")
        ax.set_title(panel.title)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    there = sorted({int(label) for panel in panels for label in np.unique(panel.labels)})
    if len(there) <= NAMED:
        handles = []
        for color, marker in map(_look, there):
            handles.append(Line2D([], [], linestyle="", color=color, marker=marker, markersize=5))
        legend_below(figure, handles, [classes[label] for label in there], most=5)
    return figure


def _look(label: int) -> tuple[str, str]:
    """Colour and marker of a class; of a hundred classes no two have both."""
    return COLORS[label % len(COLORS)], MARKERS[(label + label // len(COLORS)) % len(MARKERS)]


def _made(cell: Cell, root: Path) -> Path | None:
    """The first of a cell's artifacts that kept a map."""
    return next((root / name for name in cell.artifacts if (root / name / ABOUT).exists()), None)


def _panel(cell: Cell, made: Path) -> Panel:
    import numpy as np

    head = "\n".join(textwrap.wrap(cell.row, 46, break_on_hyphens=False))
    accuracy = figures(made).get("accuracy")
    with np.load(made / POINTS, allow_pickle=False) as kept:
        title = head if accuracy is None else f"{head}\naccuracy {accuracy:.1f} %"
        return Panel(title, kept["coordinates"], kept["labels"])


def _dataset(made: Path) -> str:
    """What the artifact of the dataset is called, without its key."""
    inputs = manifest(made).get("inputs")
    name = Path(str(inputs.get("dataset"))).name if isinstance(inputs, dict) else ""
    return name.rpartition("-")[0] or name or "unknown dataset"
