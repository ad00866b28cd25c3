"""Figure 1: how far each task moves the encoder, epoch by epoch."""

import csv
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tessera.jobs import SummarizeStudy
from tessera.report.lineage import Pretraining, pretrainings
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, legend_below, save
from tessera.report.records import figures

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIX = ".impact"
COLUMNS, WIDTH, PANEL_HEIGHT = 4, 7.5, 1.95  # panels a line; inches: of the page, of a panel
MOST_PANELS = 24
# Colours that any sight tells apart (Okabe & Ito), of different lightness; lines and markers do it in gray.
LOOKS: tuple[tuple[str, Any, str], ...] = (
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", ":", "^"),
    ("#cc79a7", "-.", "D"),
    ("#000000", (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("#56b4e9", (0, (1, 1)), "P"),
    ("#e69f00", (0, (8, 2)), "X"),
)
CAPTION = (
    "The impact of a task on the encoder in an epoch is the mean absolute change of the weights of the layers before "
    "pooling, from where its turn began to where it ended (paper, Eq. 7 and Fig. 1). Thick lines are means over the "
    "trials, thin ones trials. All panels have the same axes; on their logarithmic scale equal ratios lie equally far "
    "apart. Unevenness is the standard deviation over the tasks divided by their mean, averaged over the epochs and "
    "then over the trials: 0 where all tasks move the encoder equally far."
)


@dataclass(frozen=True)
class Panel:
    """The impacts of one pretraining.

    Attributes:
        impacts: For each trial, the impact of each task in each epoch.
        spread: The summary number, mean over the trials; None where none has it.
    """

    title: str
    impacts: tuple[Mapping[str, Sequence[float]], ...]
    spread: float | None

    @property
    def tasks(self) -> list[str]:
        """Tasks of all trials, in their order."""
        return list(dict.fromkeys(task for trial in self.impacts for task in trial))

    def mean(self, task: str) -> list[float]:
        """Mean over the trials, for as many epochs as all of them have."""
        trials = [trial[task] for trial in self.impacts if task in trial]
        return [fmean(values) for values in zip(*trials, strict=False)]


def draw_impact(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `impact.png`: a panel for each pretraining in which several tasks take turns; nothing where none does."""
    panels = read_panels(summary, root)
    if not panels:
        return []
    caption = CAPTION
    if len(panels) > MOST_PANELS:
        caption += f" The first {MOST_PANELS} of {len(panels)} pretrainings are shown."
    with drawing():
        file = save(draw(panels[:MOST_PANELS]), folder, "impact")
    return [Picture(file, "Impact of each task on the encoder (Figure 1)", caption, "Pretraining")]


def read_panels(summary: SummarizeStudy, root: Path) -> list[Panel]:
    """The study's pretrainings whose history tells the impact of two tasks or more.

    Raises:
        ArtifactError: If a source artifact is damaged.
    """
    panels = [_panel(pretraining, root) for pretraining in pretrainings(summary, root)]
    return [panel for panel in panels if len(panel.tasks) > 1]


def draw(panels: Sequence[Panel]) -> "Figure":
    """The panels side by side on the same axes, with one legend."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(WIDTH * max(columns, 2) / COLUMNS, 0.45 + lines * PANEL_HEIGHT), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    axes: list[Axes] = grid.flatten().tolist()
    tasks = list(dict.fromkeys(task for panel in panels for task in panel.tasks))
    for ax, panel in zip(axes, panels, strict=False):
        _draw_panel(ax, panel, tasks)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    _scale(axes[0], panels)
    for index, ax in enumerate(axes[: len(panels)]):
        if index + columns >= len(panels):
            ax.set_xlabel("epoch")
            ax.tick_params(labelbottom=True)
    for row in grid:
        row[0].set_ylabel("impact µ")
    handles, labels = _legend(tasks)
    legend_below(figure, handles, labels, most=5)
    return figure


def _draw_panel(ax: "Axes", panel: Panel, tasks: Sequence[str]) -> None:
    for task in panel.tasks:
        color, line, marker = LOOKS[tasks.index(task) % len(LOOKS)]
        if len(panel.impacts) > 1:
            for trial in panel.impacts:
                values = trial.get(task, ())
                ax.plot(range(1, len(values) + 1), values, color=color, linewidth=0.5, alpha=0.5)
        mean = panel.mean(task)
        every = max(1, len(mean) // 6)
        ax.plot(
            range(1, len(mean) + 1), mean, color=color, linestyle=line, linewidth=1.5,
            marker=marker, markersize=3.5, markevery=every,
        )  # fmt: skip
    trials = len(panel.impacts)
    spread = "" if panel.spread is None else f"unevenness {panel.spread:.2f}"
    about = f"{spread}{', ' if spread else ''}{trials} trial{'s' if trials > 1 else ''}"
    ax.set_title("\n".join([*textwrap.wrap(panel.title, 30, break_on_hyphens=False), about]))
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _scale(ax: "Axes", panels: Sequence[Panel]) -> None:
    """Axes are shared: what is set of one holds for all."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    values = [value for panel in panels for trial in panel.impacts for row in trial.values() for value in row]
    positive = [value for value in values if value > 0]
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if not positive:
        return
    ax.set_yscale("log")
    decades = math.log10(max(positive) / min(positive))
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-")))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(min(positive) / 1.2, max(positive) * 1.2)


def _legend(tasks: Sequence[str]) -> "tuple[list[Artist], list[str]]":
    from matplotlib.lines import Line2D

    handles: list[Artist] = []
    for index in range(len(tasks)):
        color, line, marker = LOOKS[index % len(LOOKS)]
        handles.append(Line2D([], [], color=color, linestyle=line, linewidth=1.5, marker=marker, markersize=3.5))
    return handles, list(tasks)


def _panel(pretraining: Pretraining, root: Path) -> Panel:
    trials, spreads = [], []
    for name in pretraining.folders:
        folder = root / name
        if not (folder / "history.csv").exists():
            continue
        if impacts := _impacts(folder / "history.csv"):
            trials.append(impacts)
            spreads.append(figures(folder).get("impact_spread") if (folder / "metrics.json").exists() else None)
    known = [spread for spread in spreads if spread is not None]
    return Panel(pretraining.title, tuple(trials), fmean(known) if known else None)


def _impacts(history: Path) -> dict[str, list[float]]:
    """Each task's column `<task>.impact`, as far as it holds numbers."""
    with history.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in (rows[0] if rows else ()) if name.endswith(SUFFIX)]
    return {
        name.removesuffix(SUFFIX): [float(row[name]) for row in rows if row[name] not in (None, "")] for name in columns
    }
