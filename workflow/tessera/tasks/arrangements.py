"""The twenty ways in which three patches lie in an image, and which of them mirror each other."""

from itertools import permutations
from typing import NamedTuple

Cell = tuple[int, int]  # row, column

RING: tuple[Cell, ...] = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))  # of 3x3, clockwise
SQUARE: tuple[Cell, ...] = ((0, 0), (0, 1), (1, 1), (1, 0))  # of 2x2, clockwise
CENTER: Cell = (1, 1)


class Arrangement(NamedTuple):
    """Where three patches lie, in order.

    Attributes:
        layout: Cells a side, 3 or 2; neighbouring cells of a 3x3 layout are nearer to each other.
        cells: Of the three patches.
    """

    layout: int
    cells: tuple[Cell, Cell, Cell]


class Mirrored(NamedTuple):
    """What an arrangement becomes in the mirror.

    Attributes:
        arrangement: Its index.
        order: Which of the old patches, mirrored, is first, second and third of the new ones.
    """

    arrangement: int
    order: tuple[int, int, int]


def _arrangements() -> tuple[Arrangement, ...]:
    lines = [(cell, CENTER, RING[(index + 4) % 8]) for index, cell in enumerate(RING)]
    # Arms of a right angle, clockwise: left and top, bottom and left, right and bottom, top and right.
    arms = [(RING[7], RING[1]), (RING[5], RING[7]), (RING[3], RING[5]), (RING[1], RING[3])]
    angles = [(first, CENTER, second) for first, second in arms]
    blocks = []
    for missing in range(4):
        first, second, third = (SQUARE[(missing + step) % 4] for step in (1, 2, 3))
        blocks += [(first, second, third), (third, second, first)]
    return tuple([Arrangement(3, cells) for cells in lines + angles] + [Arrangement(2, cells) for cells in blocks])


ARRANGEMENTS = _arrangements()
"""0 to 7: through the centre of 3x3, from top left clockwise. 8 to 11: a right angle at the centre: top left, bottom
left, bottom right, top right. 12 to 19: 2x2 without the top left, top right, bottom right, bottom left cell; each
clockwise, then counter-clockwise.

Source: Mundhenk, Ho & Chen, CVPR 2018, arXiv:1711.06379. Their code shows which classes mirror each other, but not
where the patches lie: the coordinates are ours, and so is the order in 12 to 19, which keeps it in the mirror.
"""


def mirrored(index: int) -> Mirrored:
    """The arrangement that a mirrored image shows, left for right; patches are reordered only where they must be.

    >>> mirrored(0), mirrored(8)
    (Mirrored(arrangement=2, order=(0, 1, 2)), Mirrored(arrangement=11, order=(2, 1, 0)))
    """
    layout, cells = ARRANGEMENTS[index]
    flipped = [(row, layout - 1 - column) for row, column in cells]
    for order in permutations(range(3)):
        first, second, third = order
        wanted = Arrangement(layout, (flipped[first], flipped[second], flipped[third]))
        if wanted in ARRANGEMENTS:
            return Mirrored(ARRANGEMENTS.index(wanted), (first, second, third))
    raise AssertionError(f"arrangement {index} has no mirror image in the table")
