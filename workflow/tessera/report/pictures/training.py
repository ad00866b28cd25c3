"""Pictures of training: losses, pretext figures against chance, and the weights of tasks, epoch by epoch.

Rows of a picture are trainings, with a name that says which rows of the study they serve; columns are figures, and a
column has one scale. Thin lines are trials, thick ones their mean.
"""

import csv
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from tessera.errors import ArtifactError
from tessera.jobs import SummarizeStudy
from tessera.report.lineage import Training, pretrainings, transfers
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, legend_below, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Mapping[int, float]  # epoch to value
CHANCE, VALIDATION = "chance_", "validation_"
SHOWN = ("loss", "localization", "classification", "train_accuracy")  # figures of a transfer
GUESS = ("#555555", ":")
WIDTH, LABEL, ROW, MARGIN = 7.5, 1.5, 0.85, 0.75  # inches: page, names of rows, a row, what stands around
MOST_ROWS, MOST_COLUMNS = 24, 6  # of a picture
FEW_EPOCHS = 6  # so few that points are drawn
# Okabe & Ito: told apart by any sight; in gray by their lines.
LOOKS = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", ":"), ("#cc79a7", "-."), ("#000000", "-"), ("#56b4e9", "--"))
LINES = (
    "Thin lines are trials, thick ones their mean; panels of a column have one scale. A training that serves several "
    "rows of the table has the name of the one that the others are named after."
)
# Zhang et al.'s weights do so on purpose (tasks/color.py: class_weights); accuracy and guessing count all pixels alike.
COLORS = (
    "Colorization's accuracy may lie below guessing, which always names the commonest colour: its loss weighs rare "
    "colours more, so it names them more often than they occur. "
)


@dataclass(frozen=True)
class Series:
    """One kind of line in a panel, over its trials."""

    label: str
    look: tuple[str, str]
    trials: tuple[Curve, ...]

    def mean(self) -> Curve:
        """Mean of the trials, for the epochs that all of them have."""
        epochs = set(self.trials[0]).intersection(*self.trials[1:])
        return {epoch: fmean(trial[epoch] for trial in self.trials) for epoch in sorted(epochs)}


@dataclass(frozen=True)
class Row:
    """One training: the panels that it fills, by column."""

    title: str
    panels: Mapping[str, tuple[Series, ...]]


def draw_pretraining(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws losses, regularizers, pretext figures against chance, and weights of tasks, as far as they were recorded.

    Raises:
        ArtifactError: If a history cannot be read.
    """
    read = [
        (training, [read_history(root / folder) for folder in training.folders])
        for training in pretrainings(summary, root)
    ]
    pictures: list[Picture] = []
    guessed = [_against_chance(*each) for each in read]
    below = COLORS if any("colorization accuracy" in row.panels for row in guessed) else ""
    for stem, title, caption, rows in (
        (
            "pretraining_losses",
            "Losses of the tasks",
            f"Solid: while training; dashed: on held-out images; dotted: guessing, where that has a loss. {LINES}",
            [_losses(*each) for each in read],
        ),
        (
            "pretraining_regularizer",
            "The regularizer: what it adds to each task's loss",
            f"On the mean of an epoch, its weight in it. {LINES}",
            [_by_task(*each, "regularizer") for each in read],
        ),
        (
            "pretraining_features",
            "Norm of the features that each task reads",
            f"On the mean of an epoch. Small features alone make the gradients of heads small. {LINES}",
            [_by_task(*each, "feature_norm") for each in read],
        ),
        (
            "pretraining_chance",
            "Tasks against chance",
            f"On held-out images; dotted: what guessing gives. Higher is better for an accuracy only. {below}{LINES}",
            guessed,
        ),
        (
            "pretraining_alpha",
            "Weights of the tasks: α and β",
            f"α: the weight of each task's encoder in the fusion of an epoch; β: of the tasks' gradient. {LINES}",
            [_fusion(*each) for each in read],
        ),
        (
            "pretraining_weights",
            "Weights of the tasks' losses",
            f"By which the balancing multiplied each task's loss, or its gradient, on the mean of an epoch. {LINES}",
            [_weights(*each) for each in read],
        ),
    ):
        pictures += _picture(stem, title, caption, "Pretraining", rows, folder)
    return pictures


def draw_transfer(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws the losses and accuracies of every target network's training.

    Raises:
        ArtifactError: If a history cannot be read.
    """
    rows = [
        _transfer(training, [read_history(root / folder) for folder in training.folders])
        for training in transfers(summary, root)
    ]
    caption = (
        "Losses of different methods add up different terms: compare their course, not their size; a scale is "
        f"logarithmic where they differ much. {LINES}"
    )
    return _picture("transfer", "Training of the target networks", caption, "Transfer", rows, folder)


def read_history(folder: Path) -> dict[str, dict[int, float]]:
    """What history.csv holds, by figure and epoch; nothing where there is none.

    Figures of a stage of its own carry the stage's name: `first.loss`.

    Raises:
        ArtifactError: If it cannot be read.
    """
    path = folder / "history.csv"
    found: dict[str, dict[int, float]] = {}
    if not path.exists():
        return found
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for index, line in enumerate(csv.DictReader(file), start=1):
                stage, epoch = line.pop("stage", None), int(float(line.pop("epoch", None) or index))
                for name, text in line.items():
                    value = _number(text)
                    if name is not None and value is not None:
                        found.setdefault(f"first.{name}" if stage == "first" else name, {})[epoch] = value
    except (OSError, ValueError, csv.Error) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder; it is made again.") from error
    return found


def draw(rows: Sequence[Row]) -> "Figure":
    """A row of panels for each training, a column for each figure; call it inside `drawing()`."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    names = dict.fromkeys(name for row in rows for name in row.panels)
    columns = sorted(names, key=lambda name: not name.startswith("first stage"))[:MOST_COLUMNS]
    width = LABEL + (WIDTH - LABEL) * min(1.0, len(columns) / 3)
    figure = Figure(figsize=(width, MARGIN + ROW * len(rows) * (1.5 if len(rows) < 3 else 1)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey="col")
    for row, axes in zip(rows, grid, strict=True):
        for name, ax in zip(columns, axes, strict=True):
            series = row.panels.get(name, ())
            _draw_panel(ax, series)
            if not series:
                ax.spines[:].set_visible(False)
                ax.tick_params(which="both", left=False, labelleft=False, bottom=False)  # the last row keeps the epochs
                ax.text(0.5, 0.5, "–", transform=ax.transAxes, ha="center", va="center", color="#888888")
        title = "\n".join(textwrap.wrap(row.title, 24, max_lines=5, placeholder=" …"))
        axes[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=7)
    for index, name in enumerate(columns):
        grid[0, index].set_title(_in_lines(name), fontsize=7.5)
        grid[-1, index].set_xlabel("epoch", fontsize=7)
        values = [
            value for row in rows for each in row.panels.get(name, ()) for c in each.trials for value in c.values()
        ]
        if "loss" in name and values and min(values) > 0 and max(values) > 8 * min(values):
            for ax in grid[:, index]:
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
                ax.yaxis.set_major_formatter("{x:g}")
                ax.yaxis.set_minor_formatter(NullFormatter())
    _legend(figure, rows)
    return figure


def _in_lines(name: str) -> str:
    """A column's name, broken at spaces and after dots, of which a task's key may have one."""
    lines = textwrap.wrap(name.replace("_", " ").replace(".", ". "), 18)
    return "\n".join(line.replace(". ", ".") for line in lines)


def _picture(stem: str, title: str, caption: str, category: str, rows: list[Row], folder: Path) -> list[Picture]:
    filled = [row for row in rows if row.panels]
    if not filled:
        return []
    if len(filled) > MOST_ROWS:
        caption += f" The first {MOST_ROWS} of {len(filled)} trainings are shown."
    with drawing():
        file = save(draw(filled[:MOST_ROWS]), folder, stem)
    return [Picture(file, title, caption, category)]


def _draw_panel(ax: "Axes", series: Sequence[Series]) -> None:
    ax.tick_params(labelsize=6, length=2)
    ax.spines[["top", "right"]].set_visible(False)
    for each in series:
        color, line = each.look
        for trial in each.trials if len(each.trials) > 1 else ():
            ax.plot(list(trial), list(trial.values()), color=color, linestyle=line, linewidth=0.5, alpha=0.5)
        mean = each.mean()
        marker = "." if len(mean) <= FEW_EPOCHS and each.label != "guessing" else ""
        ax.plot(
            list(mean), list(mean.values()), color=color, linestyle=line, linewidth=1.3, marker=marker, markersize=3
        )
    if series:
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))  # one epoch has one tick


def _legend(figure: "Figure", rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    looks = {each.label: each.look for row in rows for panel in row.panels.values() for each in panel if each.label}
    if len(looks) > 1:
        handles = [Line2D([], [], color=color, ls=line) for color, line in looks.values()]
        legend_below(figure, handles, list(looks), most=4, fontsize=7)


def _tasks(trials: Sequence[Mapping[str, Curve]]) -> list[str]:
    """Tasks by their training losses: names of a user's own tasks have dots in them."""
    names = dict.fromkeys(name for trial in trials for name in trial)
    return [name.removesuffix(".loss") for name in names if name.endswith(".loss")]


def _panel(trials: Sequence[Mapping[str, Curve]], *kinds: tuple[str, tuple[str, str], str]) -> tuple[Series, ...]:
    """The series of a panel: label, look and figure of each that was recorded."""
    found = [Series(label, look, tuple(t[name] for t in trials if t.get(name))) for label, look, name in kinds]
    return tuple(series for series in found if series.trials)


def _losses(training: Training, trials: Sequence[Mapping[str, Curve]]) -> Row:
    panels = {
        f"{task} loss": _panel(
            trials,
            ("training", LOOKS[0], f"{task}.loss"),
            ("held-out images", LOOKS[1], f"{task}.{VALIDATION}loss"),
            ("guessing", GUESS, f"{task}.{CHANCE}loss"),
        )
        for task in _tasks(trials)
    }
    return Row(training.title, panels)


def _by_task(training: Training, trials: Sequence[Mapping[str, Curve]], figure: str) -> Row:
    panels = {task: _panel(trials, ("", LOOKS[0], f"{task}.{figure}")) for task in _tasks(trials)}
    return Row(training.title, {task: series for task, series in panels.items() if series})


def _against_chance(training: Training, trials: Sequence[Mapping[str, Curve]]) -> Row:
    names = dict.fromkeys(name for trial in trials for name in trial)
    panels = {}
    for task in _tasks(trials):
        start = f"{task}.{CHANCE}"
        for figure in [name.removeprefix(start) for name in names if name.startswith(start)]:
            if figure != "loss":
                ours = f"{task}.{VALIDATION}{figure}"
                ours = ours if ours in names else f"{task}.{figure}"
                chance = "guessing", GUESS, f"{start}{figure}"
                panels[f"{task} {figure}"] = _panel(trials, ("the task", LOOKS[0], ours), chance)
    return Row(training.title, panels)


def _fusion(training: Training, trials: Sequence[Mapping[str, Curve]]) -> Row:
    tasks = [task for task in _tasks(trials) if any(f"alpha.{task}" in trial for trial in trials)]
    kinds = [(task, LOOKS[index % len(LOOKS)], f"alpha.{task}") for index, task in enumerate(tasks)]
    panels = {"α of each task": _panel(trials, *kinds), "β": _panel(trials, ("", LOOKS[4], "beta"))}
    return Row(training.title, {name: series for name, series in panels.items() if series})


def _weights(training: Training, trials: Sequence[Mapping[str, Curve]]) -> Row:
    kinds = [
        (task, LOOKS[index % len(LOOKS)], f"weight.{task}")
        for index, task in enumerate(_tasks(trials))
        if any(f"weight.{task}" in trial for trial in trials)
    ]
    return Row(training.title, {"weight": _panel(trials, *kinds)} if kinds else {})


def _transfer(training: Training, trials: Sequence[Mapping[str, Curve]]) -> Row:
    names = dict.fromkeys(name for trial in trials for name in trial)
    shown = {name.replace("first.", "first stage, "): name for name in names if name.endswith(SHOWN)}
    return Row(training.title, {words: _panel(trials, ("", LOOKS[0], name)) for words, name in shown.items()})


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
