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
    """

    name: str
    unit: Unit = ""
    lower_is_better: bool = False


def shares(*names: str) -> tuple[Figure, ...]:
    """Figures in percent, of which the larger value is the better one."""
    return tuple(Figure(name=name, unit="%") for name in names)
