"""A picture of what encoders are worth along their training: a figure against image views, a line a row."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tessera.jobs import SummarizeStudy
from tessera.report.pictures.album import Picture
from tessera.report.pictures.drawing import drawing, legend_below, save
from tessera.report.pictures.training import GUESS, LOOKS
from tessera.report.tables.along import Course, read_along
from tessera.report.trials import mean, std
from tessera.report.words.sentences import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, PANEL, MARGIN = 7.5, 2.3, 0.5  # inches: page, height of a panel, what stands around
MOST_ROWS, MOST_COLUMNS, ACROSS = 12, 12, 3
DECADE = 10.0  # so much more at the end than at the start takes a logarithmic axis
STYLES = ("-", "--")  # of trainings: the second once all colours are used
LEVEL = (0, (6, 2, 1, 2))


def draw_along(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """Draws `along.png`: a panel a column; nothing where no cell is measured along its training.

    Raises:
        ArtifactError: If an artifact is damaged.
    """
    courses = [course for course in read_along(summary, root) if mean(course.values) is not None or _line(course)]
    if not any(_line(course) for course in courses):
        return []
    with drawing():
        file = save(draw(courses), folder, "along")
    return [Picture(file, "Along the training", caption(courses), "Along the training")]


def caption(courses: Sequence[Course]) -> str:
    """How to read it, in words."""
    metrics = listed(list(dict.fromkeys(f"`{course.figure.name}`" for course in courses)))
    levels = any(not course.points for course in courses)
    scale = ", on a logarithmic scale" if _spans_a_decade(courses) else ""
    trials = max(len(course.values) for course in courses)
    text = (
        f"What an encoder is worth by how much of its training is over: {metrics} against the image views that it was "
        f"trained on by then{scale}. A view is an image as the encoder is shown it: of every batch of every task, each "
        "tile of a puzzle by itself. Points are snapshots and, the last of each line, the end, which the table shows. "
    )
    if trials > 1:
        text += f"Lines are means of {trials} trials, bands their standard deviation to either side. "
    if levels:
        text += "Level lines are rows that are measured once, such as an encoder without training. "
    if any(course.chance is not None for course in courses):
        text += "Dotted: what guessing gives. "
    text += (
        "Where the learning rate falls towards the end, a snapshot is less than what a shorter training would have "
        "handed on."
    )
    shown, columns = (len(dict.fromkeys(names)) for names in zip(*((c.row, c.column) for c in courses), strict=True))
    if shown > MOST_ROWS:
        text += f" The first {MOST_ROWS} of {shown} rows are shown."
    if columns > MOST_COLUMNS:
        text += f" The first {MOST_COLUMNS} of {columns} columns are shown."
    return text


def draw(courses: Sequence[Course]) -> "Figure":
    """A panel for each column, a line for each row; call it inside `drawing()`."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = list(dict.fromkeys(course.column for course in courses))[:MOST_COLUMNS]
    rows = list(dict.fromkeys(course.row for course in courses))[:MOST_ROWS]
    looks = {row: (LOOKS[n % len(LOOKS)][0], STYLES[n // len(LOOKS) % len(STYLES)]) for n, row in enumerate(rows)}
    down = math.ceil(len(columns) / ACROSS)
    across = math.ceil(len(columns) / down)  # four are two by two
    width = WIDTH * (0.6 if across == 1 else 1.0)
    height = MARGIN + PANEL * down + 0.16 * math.ceil(len(rows) / 3)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharex=True)
    for ax, column in zip(grid.flat, columns, strict=False):
        _panel(ax, [course for course in courses if course.column == column and course.row in looks], looks)
    logarithmic = _spans_a_decade(courses)
    for index, ax in enumerate(grid.flat):
        if index >= len(columns):
            ax.set_visible(False)
            continue
        ax.set_title("\n".join(textwrap.wrap(columns[index], 34, max_lines=2, placeholder=" …")), fontsize=7.5)
        if logarithmic:
            ax.set_xscale("log")
        _ticks(ax, logarithmic)
        if index + across >= len(columns):  # the lowest of its column
            ax.set_xlabel("image views", fontsize=7)
            ax.tick_params(axis="x", labelbottom=True)
    once = {course.row for course in courses if not course.points}
    trained = {course.row for course in courses if course.points}
    handles = [
        Line2D([], [], color=color, ls=style if row in trained else LEVEL, marker="." if row in trained else "")
        for row, (color, style) in looks.items()
        if row in once | trained
    ]
    names = list(looks)
    if any(course.chance is not None for course in courses):
        handles.append(Line2D([], [], color=GUESS[0], ls=GUESS[1]))
        names.append("guessing")
    legend_below(figure, handles, names, most=4, fontsize=7, handlelength=4.0)  # a dash is to be seen as one
    return figure


def _panel(ax: "Axes", courses: Sequence[Course], looks: dict[str, tuple[str, str]]) -> None:
    ax.tick_params(labelsize=6.5, length=2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", linewidth=0.5)
    for course in courses:
        color, style = looks[course.row]
        if course.points:
            line = _line(course)
            views, means = [x for x, _, _ in line], [y for _, y, _ in line]
            ax.plot(views, means, color=color, linestyle=style, linewidth=1.3, marker=".", markersize=4, zorder=3)
            if any(spread for _, _, spread in line):
                low, high = ([y + sign * spread for _, y, spread in line] for sign in (-1, 1))
                ax.fill_between(views, low, high, color=color, alpha=0.15, linewidth=0)
        elif (level := mean(course.values)) is not None:
            ax.axhline(level, color=color, linestyle=LEVEL, linewidth=1.1)
            if spread := std(course.values):
                ax.axhspan(level - spread, level + spread, color=color, alpha=0.08, linewidth=0)
    guesses = dict.fromkeys(course.chance for course in courses if course.chance is not None)
    for chance in guesses:
        ax.axhline(chance, color=GUESS[0], linestyle=GUESS[1], linewidth=1.0)
    units = {f"{course.figure.name.replace('_', ' ')}{f', {course.figure.unit}' if course.figure.unit else ''}": None
             for course in courses}  # fmt: skip
    ax.set_ylabel(" / ".join(units), fontsize=7)


def _line(course: Course) -> list[tuple[float, float, float]]:
    """Image views, mean and standard deviation (0 of one trial) of the points that have both."""
    return [
        (views, value, point.std or 0.0)
        for point in course.points
        if (views := point.mean_views) is not None and (value := point.mean) is not None
    ]


def _spans_a_decade(courses: Sequence[Course]) -> bool:
    views = [x for course in courses for x, _, _ in _line(course) if x > 0]
    return bool(views) and max(views) > DECADE * min(views)


def _ticks(ax: "Axes", logarithmic: bool) -> None:
    """Few ticks, written as 20 k or 1.5 M."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6) if logarithmic else MaxNLocator(4))
    ax.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
