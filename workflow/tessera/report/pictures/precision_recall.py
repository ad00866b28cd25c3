"""Draws precision over recall, and the average precision of each class. Never imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from tessera.errors import ArtifactError
from tessera.report import trials as over_trials
from tessera.report.pictures.drawing import legend_below
from tessera.report.trials import Value

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, PANEL, ABREAST = 7.5, 1.65, 4  # inches: of the page, height of a panel; panels in a line
CELL, MARGIN = 0.22, 0.3  # inches: a line of the table, and what stands around it
LOOKS: list[tuple[str, Any]] = [
    ("#08519c", "-"), ("#d94801", "--"), ("#238b45", "-."), ("#6a51a3", ":"), ("#252525", (0, (6, 1))),
]  # fmt: skip
MOST = len(LOOKS)  # curves that can be told apart
POINTS = 201  # recalls at which a curve is drawn


@dataclass(frozen=True)
class ClassCurve:
    """One class in one artifact.

    Attributes:
        objects: Number of test objects that count.
        averages: Average precision, %, by its name: `ap_voc07`, `ap_area`; None without an object.

    Shape:
        envelope: (POINTS,) float64: precision at recalls 0 to 1, or at a higher one where it is larger.
    """

    objects: int
    averages: Mapping[str, Value]
    envelope: "np.ndarray"


@dataclass(frozen=True)
class Row:
    """One row of the study.

    Attributes:
        average: Which of the averages is meant.
        trials: The classes by name, of each trial.
        mean: Mean over classes and trials, %.
    """

    name: str
    average: str
    trials: Sequence[Mapping[str, ClassCurve]]
    mean: Value

    def values(self, name: str, average: str | None = None) -> list[Value]:
        """The average of a class in each trial; None where the class has no object."""
        return [t[name].averages[average or self.average] if name in t else None for t in self.trials]


def read_curves(path: Path) -> dict[str, ClassCurve]:
    """The classes of a `predictions.npz`.

    Raises:
        ArtifactError: If it is damaged.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            wanted = (
                "class_names",
                "class_objects",
                "ap_voc07",
                "ap_area",
                "curve_class",
                "curve_recall",
                "curve_precision",
            )
            names, objects, voc07, area, label, recall, precision = (arrays[name] for name in wanted)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder; it is made again.") from error
    found = {}
    for number, name in enumerate(names.tolist()):
        reached, reaching = recall[label == number], precision[label == number]
        envelope = np.append(np.maximum.accumulate(reaching[::-1])[::-1], 0.0)
        points = np.searchsorted(reached, np.linspace(0, 1, POINTS) - 1e-9)
        averages = {key: _known(values[number]) for key, values in (("ap_voc07", voc07), ("ap_area", area))}
        found[name] = ClassCurve(int(objects[number]), averages, envelope[points])
    return found


def classes_of(rows: Sequence[Row]) -> list[str]:
    """The classes of all rows, in order; those of which an object counts."""
    curves = [item for row in rows for trial in row.trials for item in trial.items()]
    return list(dict.fromkeys(name for name, curve in curves if curve.objects))


def draw_curves(rows: Sequence[Row]) -> "Figure | None":
    """A panel a class, a line a row, at most `MOST` of them; None where no class has an object."""
    from matplotlib.figure import Figure

    classes = classes_of(rows)
    if not classes:
        return None
    across = min(ABREAST, len(classes))
    down = -(-len(classes) // across)
    legend = 0.2 * len(rows) + 0.15
    size = WIDTH * (0.35 + 0.65 * across / ABREAST), down * PANEL + 0.3 + legend
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten().tolist()
    for ax, name in zip(axes, classes, strict=False):
        _draw_class(ax, rows, name)
    for ax in axes[len(classes) :]:
        ax.set_visible(False)
    for place in range(len(classes) - across, len(classes)):  # also above a place that stays empty
        axes[place].tick_params(labelbottom=True)
        axes[place].set_xlabel("recall", fontsize=7, labelpad=1)
    for ax in axes[::across]:
        ax.set_ylabel("precision", fontsize=7, labelpad=1)
    labels = [f"{row.name or 'mAP'} ({'–' if row.mean is None else f'{row.mean:.1f}'})" for row in rows]
    legend_below(figure, axes[0].get_lines(), labels, most=1, fontsize=7, handlelength=3.5)
    return figure


def draw_table(rows: Sequence[Row]) -> "Figure":
    """A heat map: a line a class and a column a row of the study, the mean below."""
    import numpy as np
    from matplotlib.figure import Figure

    names = classes_of(rows)
    shown = [[over_trials.mean(row.values(name)) for row in rows] for name in names] + [[row.mean for row in rows]]
    numbers = np.array([[np.nan if value is None else value for value in line] for line in shown], dtype=float)
    size = 1.2 + 0.75 * len(rows) + 0.6, CELL * len(shown) + MARGIN + 0.06 * max(len(row.name) for row in rows)
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.add_subplot()
    ax.imshow(numbers, cmap="Blues", vmin=0, vmax=100, aspect="auto")  # one hue: reads with any sight, and in gray
    for y, line in enumerate(shown):
        for x, value in enumerate(line):
            dark = value is not None and value > 62
            text = "–" if value is None else f"{value:.1f}"
            weight = "bold" if y == len(names) else "normal"
            ax.text(x, y, text, ha="center", va="center", color="white" if dark else "black", fontsize=7, weight=weight)
    ax.axhline(len(names) - 0.5, color="black", linewidth=0.8)
    ax.set_xticks(range(len(rows)), [row.name for row in rows], rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(shown)), [*names, "mean"])
    ax.tick_params(length=0, labelsize=7)
    ax.spines[:].set_visible(False)
    return figure


def _draw_class(ax: "Axes", rows: Sequence[Row], name: str) -> None:
    import numpy as np

    recalls = np.linspace(0, 1, POINTS)
    for number, row in enumerate(rows):
        color, style = LOOKS[number]
        curves = [trial[name].envelope for trial in row.trials if name in trial and trial[name].objects]
        envelope = np.mean(curves, 0) if curves else np.full(POINTS, np.nan)
        ax.plot(recalls, envelope, color=color, linestyle=style, linewidth=1.2, drawstyle="steps-pre")
        value = over_trials.mean(row.values(name))
        # Above the panel, in the order of the legend: nothing lies on a curve.
        ax.text(
            (number + 0.5) / len(rows), 1.02, "–" if value is None else f"{value:.1f}", color=color, fontsize=6.5,
            ha="center", va="bottom", transform=ax.transAxes,
        )  # fmt: skip
    objects = max(trial[name].objects for row in rows for trial in row.trials if name in trial)
    ax.set_title(f"{name} ({objects})", pad=11)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.03)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.tick_params(labelsize=7, length=2)
    ax.grid(color="#dddddd", linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)


def _known(value: float) -> Value:
    return None if value != value else float(value)  # NaN: nothing to find
