"""Figures: what a protocol or a task measures, each with its unit and its direction, said once. Torch-free."""

from typing import Literal

from tessera.registry import Checked

Unit = Literal["%", "°", "m", ""]


class Figure(Checked):
    """One number that a measurement reports.

    Attributes:
        name: As in metrics.json.
        unit: `%` for shares, which lie between 0 and 100; `°`, `m`; nothing for a pure number.
        lower_is_better: Whether the smaller value is the better one.
        guesses: How many classes an answer may name to be right, in percent of the images; None: it is no such share.
    """

    name: str
    unit: Unit = ""
    lower_is_better: bool = False
    guesses: int | None = None

    def chance(self, num_classes: int) -> float | None:
        """What guessing among the classes would give, %; None where that is not known."""
        known = self.guesses is not None and num_classes > 0
        return min(100.0, 100.0 * self.guesses / num_classes) if known and self.guesses is not None else None


def shares(*names: str) -> tuple[Figure, ...]:
    """Figures in percent, of which the larger value is the better one."""
    return tuple(Figure(name=name, unit="%") for name in names)
