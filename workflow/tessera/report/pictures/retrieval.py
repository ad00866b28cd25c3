"""Figure 4: what a clustering retrieves, which classes its clusters hold, and a map of its embedding."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tessera.jobs import FOLDERS, Cell, SummarizeStudy
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, save, text_inches
from tessera.report.pictures.maps import NAMED, WIDTH, Panel, draw_panels
from tessera.report.pictures.sheets import read_sheet
from tessera.report.records import classes_read, figures, read_json
from tessera.report.words.sentences import number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORY = "Clusters and retrieval"
RIGHT, WRONG = "#0072b2", "#d55e00"  # frames; solid and dashed tell them apart in gray
LABEL, LETTERS = 6.5, 16  # points; of a row's name, in a line
NAMES = (("nmi", "NMI"), ("ari", "ARI"), ("recall_at_1", "R@1"), ("recall_at_5", "R@5"), ("recall_at_10", "R@10"))


@dataclass(frozen=True)
class Method:
    """A cell of the study that was clustered.

    Attributes:
        folders: Its artifacts, one a trial.
        scores: Mean over the trials, by name, in percent.
    """

    row: str
    column: str
    folders: tuple[Path, ...]
    scores: Mapping[str, float]

    def folder_with(self, file: str) -> Path:
        """The first of its artifacts that kept a file."""
        return next(folder for folder in self.folders if (folder / file).exists())

    def words(self) -> str:
        """NMI, ARI and recall in a line."""
        return ", ".join(f"{shown} {number(self.scores[name], 1)}" for name, shown in NAMES if name in self.scores)


def draw_retrieval(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `retrieval-<n>.png`, one for each column that was clustered: queries and their nearest images."""
    pictures = []
    for index, (column, methods) in enumerate(_by_column(_with(_methods(summary, root), "retrieval.json")), start=1):
        asked = [(method, *_read(method.folder_with("retrieval.json"))) for method in methods]
        queries = [[query["image"] for query in about["queries"]] for _, about, _ in asked]
        # Methods that were asked for other images cannot stand above each other.
        asked = [one for one, images in zip(asked, queries, strict=True) if images == queries[0]]
        with drawing():
            file = save(_draw_retrieval(asked), folder, f"retrieval-{index}", svg=False)
        names = " above ".join(method.row for method, _, _ in asked)
        scores = "; ".join(f"{method.row}: {method.words()}" for method, _, _ in asked)
        caption = (
            f"A query, then its nearest images by cosine in the embedding; {names}. Solid frame: of the query's class; "
            "dashed: of another. One query a class, drawn by the first trial's seed and not chosen for its result, by "
            f"class. Means over the trials, %: {scores}."
        )
        pictures.append(Picture(file, _title("Retrieval (Figure 4)", column, summary), caption, CATEGORY))
    return pictures


def draw_confusion(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `confusion-<n>.png`, one for each column that was clustered: classes against clusters."""
    pictures = []
    for index, (column, methods) in enumerate(_by_column(_with(_methods(summary, root), "assignments.npz")), start=1):
        tables = [_confusion(method, root) for method in methods]
        with drawing():
            file = save(_draw_confusion(methods, tables), folder, f"confusion-{index}")
        caption = (
            "Share of each class, %, in each cluster; mean over the trials. Clusters are named, and ordered, by the "
            "class that the one-to-one match with most right images gives them (Hungarian algorithm): the framed "
            "diagonal is what is right."
        )
        pictures.append(Picture(file, _title("Clusters and classes", column, summary), caption, CATEGORY))
    return pictures


def draw_map(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `map-<n>.png`, one for each column that was clustered: the embedding in two dimensions.

    Rows that read other classes are a picture of their own: one legend is of one list of classes.
    """
    pictures: list[Picture] = []
    for column, methods in _by_column(_with(_methods(summary, root), "map.npz")):
        groups: dict[tuple[str, ...], list[Method]] = {}
        for method in methods:
            groups.setdefault(tuple(classes_read(root, method.folder_with("map.npz"))), []).append(method)
        for group in groups.values():
            with drawing():
                file = save(_draw_map(group, root), folder, f"map-{len(pictures) + 1}")
            title = _title("Map of the embedding", column, summary)
            if len(groups) > 1:
                title += f": {group[0].row}" + (f" and {len(group) - 1} more" if len(group) > 1 else "")
            caption = (
                "t-SNE of the embedding after clustering, coloured by class; first trial, at most 500 images. "
                "Neighbours are neighbours in the embedding; sizes of groups, and distances between them, mean little."
            )
            pictures.append(Picture(file, title, caption, CATEGORY))
    return pictures


def _draw_retrieval(asked: "Sequence[tuple[Method, Mapping[str, Any], list[np.ndarray]]]") -> "Figure":
    from matplotlib.figure import Figure

    queries = asked[0][1]["queries"]
    hits = [[_hits(about["queries"][index]) for _, about, _ in asked] for index in range(len(queries))]
    order = sorted(range(len(queries)), key=lambda index: (queries[index]["label"], index))
    blocks = min(2, len(queries))  # side by side
    shown = max(len(strip) for _, _, strips in asked for strip in strips)
    lines = -(-len(queries) // blocks)
    names = ["\n".join(textwrap.wrap(method.row, LETTERS, max_lines=3, placeholder=" …")) for method, _, _ in asked]
    left = max(text_inches(line, LABEL) for name in names for line in name.split("\n")) + 0.12
    name, gap = 0.16, 0.07  # inches: above a block for the class, between pictures
    pitch = (WIDTH - blocks * left - 0.1) / (blocks * (shown + 0.4))
    height = lines * (name + pitch * len(asked) + 0.1) + 0.08
    figure = Figure(figsize=(WIDTH, height))
    for place, index in enumerate(order):
        x = (place // lines) * WIDTH / blocks + left
        y = 0.08 + (place % lines) * (height - 0.08) / lines + name
        classes = asked[0][1]["classes"]
        figure.text(x / WIDTH, 1 - (y - 0.03) / height, classes[queries[index]["label"]], va="bottom", weight="bold")
        for line, (_, _, strips) in enumerate(asked):
            top = y + line * pitch
            middle = 1 - (top + (pitch - gap) / 2) / height
            figure.text((x - 0.05) / WIDTH, middle, names[line], ha="right", va="center", fontsize=LABEL)
            for position, image in enumerate(strips[index]):
                across = x + position * pitch + (0.4 * pitch if position else 0)
                side = pitch - gap
                box = (across / WIDTH, 1 - (top + side) / height, side / WIDTH, side / height)
                _draw_image(figure.add_axes(box), image, hits[index][line][position - 1] if position else None)
    return figure


def _draw_image(ax: "Axes", image: "np.ndarray", right: bool | None) -> None:
    """An image, framed unless it is the query."""
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    if right is None:
        return
    from matplotlib.patches import Rectangle

    # White below the frame, so that the gaps of a dashed one show against any image.
    whole: dict[str, Any] = {
        "xy": (0, 0),
        "width": 1,
        "height": 1,
        "fill": False,
        "transform": ax.transAxes,
        "clip_on": False,
    }
    ax.add_patch(Rectangle(**whole, edgecolor="white", linewidth=3.2))
    line: dict[str, Any] = (
        {"linewidth": 2.0} if right else {"linewidth": 1.4, "linestyle": (0, (2.5, 2.5)), "capstyle": "butt"}
    )
    ax.add_patch(Rectangle(**whole, edgecolor=RIGHT if right else WRONG, **line))


def _draw_confusion(methods: Sequence[Method], tables: "Sequence[tuple[list[str], list[str], np.ndarray]]") -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = min(2, len(methods))
    lines = -(-len(methods) // columns)
    size = (WIDTH if columns > 1 else 0.62 * WIDTH), lines * 3.6
    figure = Figure(figsize=size, layout="constrained")
    axes: list[Axes] = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    picture = None
    for ax, method, (classes, clusters, shares) in zip(axes, methods, tables, strict=False):
        picture = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        if len(classes) <= NAMED:
            ax.set_yticks(range(len(classes)), classes)
            ax.set_xticks(range(len(clusters)), clusters, rotation=40, ha="right", rotation_mode="anchor")
        if len(classes) <= 12:
            for y, x in [(y, x) for y in range(len(classes)) for x in range(len(clusters)) if shares[y, x] >= 0.5]:
                color = "white" if shares[y, x] > 62 else "black"
                ax.text(x, y, f"{shares[y, x]:.0f}", ha="center", va="center", fontsize=6.5, color=color)
        for index in range(len(classes)):  # what is right
            ax.add_patch(Rectangle((index - 0.5, index - 0.5), 1, 1, fill=False, edgecolor="0.35", linewidth=0.8))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel("cluster, by its class")
        ax.set_title(
            _head(method, f"accuracy {method.scores['accuracy']:.1f} %" if "accuracy" in method.scores else "")
        )
    for ax in axes[len(methods) :]:
        ax.set_visible(False)
    for line in range(lines):
        axes[line * columns].set_ylabel("class")
    assert picture is not None
    bar = figure.colorbar(picture, ax=axes, location="right", aspect=25, pad=0.02)
    bar.set_label("share of the class, %")
    bar.outline.set_visible(False)
    return figure


def _draw_map(methods: Sequence[Method], root: Path) -> "Figure":
    import numpy as np

    panels, classes = list[Panel](), list[str]()
    for method in methods:
        folder = method.folder_with("map.npz")
        with np.load(folder / "map.npz", allow_pickle=False) as kept:
            title = _head(method, ", ".join(method.words().split(", ")[:2]))
            panels.append(Panel(title, kept["coordinates"], kept["labels"]))
        classes = max(classes, _classes(folder, root, int(panels[-1].labels.max()) + 1), key=len)
    return draw_panels(panels, classes)


def _head(method: Method, about: str) -> str:
    return "\n".join([*textwrap.wrap(method.row, 46, break_on_hyphens=False), *([about] if about else [])])


def _title(words: str, column: str, summary: SummarizeStudy) -> str:
    return f"{words}: {column}" if column and len(summary.columns) > 1 else words


def _methods(summary: SummarizeStudy, root: Path) -> list[Method]:
    """The cells that were clustered, in the order of the table's rows."""
    cells = sorted(summary.cells, key=lambda cell: summary.rows.index(cell.row))
    return [_method(cell, root) for cell in cells if _clustered(cell)]


def _clustered(cell: Cell) -> bool:
    return all(Path(name).parent.name == FOLDERS["cluster_target"] for name in cell.artifacts)


def _method(cell: Cell, root: Path) -> Method:
    folders = tuple(root / name for name in cell.artifacts)
    trials = [figures(folder) for folder in folders if (folder / "metrics.json").exists()]
    known = {name: [value for trial in trials if (value := trial.get(name)) is not None] for name in _names(trials)}
    return Method(cell.row, cell.column, folders, {name: fmean(values) for name, values in known.items() if values})


def _names(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial))


def _with(methods: Sequence[Method], file: str) -> list[Method]:
    """Those of which some artifact has this file: earlier code kept fewer."""
    return [method for method in methods if any((folder / file).exists() for folder in method.folders)]


def _by_column(methods: Sequence[Method]) -> list[tuple[str, list[Method]]]:
    columns = dict.fromkeys(method.column for method in methods)
    return [(column, [method for method in methods if method.column == column]) for column in columns]


def _read(folder: Path) -> "tuple[dict[str, Any], list[np.ndarray]]":
    about = read_json(folder / "retrieval.json")
    return about, read_sheet(folder / "retrieval.jpg", about["strips"])


def _hits(query: Mapping[str, Any]) -> list[bool]:
    return [label == query["label"] for label in query["neighbor_labels"]]


def _confusion(method: Method, root: Path) -> "tuple[list[str], list[str], np.ndarray]":
    """Names of classes and of clusters, and the share of each class, %, in each cluster: mean over the trials."""
    import numpy as np

    trials = []
    for folder in method.folders:
        if not (folder / "assignments.npz").exists():
            continue
        with np.load(folder / "assignments.npz", allow_pickle=False) as kept:
            trials.append((kept["labels"], kept["predictions"]))
    number = 1 + max(int(labels.max()) for labels, _ in trials)
    tables = np.zeros((len(trials), number, number + 1))
    for table, (labels, predictions) in zip(tables, trials, strict=True):
        # A cluster beyond the number of classes has no class of its own: -1, the last column.
        np.add.at(table, (labels, predictions), 1)
        table *= 100 / np.maximum(table.sum(axis=1, keepdims=True), 1)
    shares = tables.mean(axis=0)
    classes = _classes(method.folders[0], root, number)
    if shares[:, -1].any():
        return classes, [*classes, "(none)"], shares
    return classes, classes, shares[:, :-1]


def _classes(folder: Path, root: Path, number: int) -> list[str]:
    """Names of the classes, where the dataset's artifact is there; else their numbers."""
    names = classes_read(root, folder)
    return names if len(names) >= number else [str(index) for index in range(number)]
