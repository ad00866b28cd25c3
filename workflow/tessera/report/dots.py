"""Where dots lie: every trial of a column on one scale, with the mean, the paper's figure and chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tessera.report.markdown import number
from tessera.report.table import Figure, Table, digits

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
        words: The same for those who hear the page.
    """

    row: str
    dots: tuple[tuple[float, str], ...]
    mean: float | None
    paper: float | None
    best: bool
    words: str


@dataclass(frozen=True)
class Plot:
    """One column of a study, rows from the top; cells that are measured differently have plots of their own."""

    column: str
    metric: str
    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    chance: float | None
    has_paper: bool


def plots(table: Table) -> list[Plot]:
    """A plot for each column and figure."""
    found = []
    for column in table.summary.columns:
        kinds: dict[tuple[str, str], list[Figure]] = {}
        for figure in table.in_column(column):
            kinds.setdefault((figure.cell.protocol, figure.cell.metric), []).append(figure)
        found += [_plot(table, column, figures) for figures in kinds.values()]
    return found


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose a range.

    >>> nice_ticks(57.1, 63.3)
    [56.0, 58.0, 60.0, 62.0, 64.0]
    >>> nice_ticks(0.5, 0.5)
    [0.46, 0.48, 0.5, 0.52, 0.54]
    """
    if not high > low:
        low, high = low - 0.05 * abs(low or 1), high + 0.05 * abs(high or 1)
    size = 10 ** math.floor(math.log10((high - low) / TICKS))
    for step in (size, 2 * size, 2.5 * size, 5 * size, 10 * size, 20 * size):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first < TICKS:
            break
    return [round(float(index * step), 12) for index in range(first, last + 1)]


def _plot(table: Table, column: str, figures: Sequence[Figure]) -> Plot:
    numbers = [value for figure in figures for value in figure.values if value is not None]
    papers = [figure.cell.published for figure in figures if figure.cell.published is not None]
    guesses = [figure.chance for figure in figures if figure.chance is not None]
    shown = [*numbers, *papers]
    chance = guesses[0] if guesses else None
    # Chance stands on the axis only where it does not squeeze all else into a corner.
    if chance is not None and shown and min(shown) - chance > 0.5 * (max(shown) - min(shown)):
        chance = None
    shown += [] if chance is None else [chance]
    axis = Axis(tuple(nice_ticks(min(shown, default=0.0), max(shown, default=1.0))))
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
                words,
            )
        )
    return Plot(column, metric, tuple(strips), axis.ticks, axis.at(chance), bool(papers))
