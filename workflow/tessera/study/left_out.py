"""Cells that cannot be filled here, since their images are missing: which, and why."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

Place = tuple[str, str]


@dataclass(frozen=True)
class LeftOut:
    """Cells of one study that one reason leaves out.

    Attributes:
        where: Which cells, in words.
        reason: Why, and what to do.
    """

    where: str
    reason: str


def group(left_out: Iterable[tuple[Place, str]], every: Collection[Place]) -> tuple[LeftOut, ...]:
    """One entry a reason, in the order in which they come.

    Args:
        left_out: (row, column) of each cell that is left out, and its reason.
        every: (row, column) of every cell of the study.
    """
    by_reason: dict[str, set[Place]] = {}
    for place, reason in left_out:
        by_reason.setdefault(reason, set()).add(place)
    return tuple(LeftOut(_where(places, every), reason) for reason, places in by_reason.items())


def _where(places: Collection[Place], every: Collection[Place]) -> str:
    """The cells in words: whole columns or rows where they are that, else their number.

    >>> _where({("a", "x"), ("b", "x")}, [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y")])
    "column 'x'"
    """
    if len(places) == len(every):
        return "everything"
    for axis, what in ((1, "column"), (0, "row")):
        touched = {place[axis] for place in places}
        if all(place in places for place in every if place[axis] in touched):
            total = len({place[axis] for place in every})
            names = list(dict.fromkeys(place[axis] for place in every if place[axis] in touched))
            if len(names) == 1:
                return f"{what} '{names[0]}'"
            shown = ", ".join(f"'{name}'" for name in names) if len(names) <= 3 else f"'{names[0]}' to '{names[-1]}'"
            return f"{len(names)} of {total} {what}s ({shown})"
    return f"{len(places)} of {len(every)} cells"
