"""Where dots lie: every trial, the mean, the paper's figure and chance, all columns of a figure on one scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tessera.report.tables.filled import FilledCell
from tessera.report.tables.table import Table, digits
from tessera.report.trials import Value
from tessera.report.words.sentences import number

TICKS = 5  # at most, on an axis


@dataclass(frozen=True)
class Axis:
    """A scale from the first tick to the last."""

    values: tuple[float, ...]

    def place(self, value: float) -> float:
        """Percent of the axis, from the left."""
        low, high = self.values[0], self.values[-1]
        return round(100 * (value - low) / (high - low), 2)

    def at(self, value: float | None) -> float | None:
        """The same of what may be missing."""
        return None if value is None else self.place(value)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Places of the ticks, and what stands there."""
        return tuple((self.place(value), f"{value:g}".replace("-", "−")) for value in self.values)


@dataclass(frozen=True)
class Strip:
    """One row of a dot plot; positions are percent of the axis, from the left.

    Attributes:
        text: The mean and the spread.
        words: The same for those who hear the page.
    """

    row: str
    dots: tuple[tuple[float, str], ...]
    mean: float | None
    paper: float | None
    best: bool
    text: str
    words: str


@dataclass(frozen=True)
class Plot:
    """One column of a study, rows from the top; cells that are measured differently have plots of their own.

    Attributes:
        chance: Its place on the axis; None where it is not known.
        guess: Chance in words.
    """

    column: str
    metric: str
    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    chance: float | None
    guess: str
    has_paper: bool


def plots(table: Table) -> list[Plot]:
    """A plot for each column and figure. Plots of one figure share an axis, so that columns can be compared by eye."""
    axes = {
        metric: axis_of([figure for figure in table.figures.values() if figure.cell.metric == metric])
        for metric in dict.fromkeys(figure.cell.metric for figure in table.figures.values())
    }
    found = []
    for column in table.summary.columns:
        kinds: dict[tuple[str, str], list[FilledCell]] = {}
        for figure in table.in_column(column):
            kinds.setdefault((figure.cell.protocol, figure.cell.metric), []).append(figure)
        # Without any figure there is nothing to see; the table and what failed tell of it.
        found += [
            _plot(table, column, figures, axes[metric])
            for (_, metric), figures in kinds.items()
            if any(figure.mean is not None or figure.cell.published is not None for figure in figures)
        ]
    return found


def axis_of(figures: Sequence[FilledCell]) -> Axis:
    """The scale that holds every trial, the paper's figures, and chance where it is known."""
    numbers = [value for figure in figures for value in (*figure.values, figure.cell.published, figure.chance)]
    return enclosing(numbers)


def enclosing(numbers: Sequence[Value]) -> Axis:
    """The scale that holds these numbers."""
    known = [number for number in numbers if number is not None]
    return Axis(tuple(nice_ticks(min(known, default=0.0), max(known, default=1.0))))


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose a range.

    >>> nice_ticks(57.1, 63.3)
    [56.0, 58.0, 60.0, 62.0, 64.0]
    >>> nice_ticks(0.5, 0.5)
    [0.46, 0.48, 0.5, 0.52, 0.54]
    """
    if not high > low:
        low, high = low - 0.05 * abs(low), high + 0.05 * abs(high or 1)  # what cannot be negative stays above zero
    size = 10 ** math.floor(math.log10((high - low) / TICKS))
    for step in (size, 2 * size, 2.5 * size, 5 * size, 10 * size, 20 * size):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first < TICKS:
            break
    return [round(float(index * step), 12) for index in range(first, last + 1)]


def _plot(table: Table, column: str, figures: Sequence[FilledCell], axis: Axis) -> Plot:
    chance = next((figure.chance for figure in figures if figure.chance is not None), None)
    has_paper = any(figure.cell.published is not None for figure in figures)
    metric = figures[0].cell.metric
    decimals = digits(list(table.figures.values()), metric)
    strips = []
    for figure in figures:
        dots = [
            (axis.place(value), f"trial {trial}: {number(value, decimals + 1)}")
            for trial, value in enumerate(figure.values)
            if value is not None
        ]
        values = ", ".join(number(value, decimals) if value is not None else "none" for value in figure.values)
        paper = "" if figure.cell.published is None else f"; paper {figure.cell.published:g}"
        words = f"{figure.cell.row}: trials {values}{paper}"
        strips.append(
            Strip(
                figure.cell.row,
                tuple(dots),
                axis.at(figure.mean),
                axis.at(figure.cell.published),
                table.is_best(figure),
                spread(figure.mean, figure.std, decimals),
                words,
            )
        )
    return Plot(
        column,
        metric,
        tuple(strips),
        axis.ticks,
        axis.at(chance),
        f"{chance:.3g}" if chance is not None else "",
        has_paper,
    )


def spread(mean: Value, std: Value, decimals: int) -> str:
    """Mean ± standard deviation, as far as they are known.

    >>> spread(44.31, 1.68, 1), spread(0.5, None, 3), spread(None, None, 1)
    ('44.3 ± 1.7', '0.500', '')
    """
    if mean is None:
        return ""
    return number(mean, decimals) + ("" if std is None else f" ± {number(std, decimals)}")
