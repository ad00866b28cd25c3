"""How three patches lie, and what the mirror makes of it."""

import itertools

import pytest

from tessera.tasks.arrangements import ARRANGEMENTS, mirrored


def test_there_are_twenty_and_no_two_are_alike() -> None:
    assert len(ARRANGEMENTS) == len(set(ARRANGEMENTS)) == 20
    for layout, cells in ARRANGEMENTS:
        assert len(set(cells)) == 3
        assert all(0 <= row < layout and 0 <= column < layout for row, column in cells)


def test_lines_angles_and_blocks_by_hand() -> None:
    names = {"TL": (0, 0), "T": (0, 1), "TR": (0, 2), "L": (1, 0), "C": (1, 1), "R": (1, 2), "BL": (2, 0), "B": (2, 1),
             "BR": (2, 2)}  # fmt: skip
    lines = "TL C BR, T C B, TR C BL, R C L, BR C TL, B C T, BL C TR, L C R"
    angles = "L C T, B C L, R C B, T C R"
    expected = [(3, tuple(names[word] for word in row.split())) for row in f"{lines}, {angles}".split(", ")]
    assert list(ARRANGEMENTS[:12]) == expected
    square = {"TL": (0, 0), "TR": (0, 1), "BL": (1, 0), "BR": (1, 1)}
    blocks = "TR BR BL, BL BR TR, BR BL TL, TL BL BR, BL TL TR, TR TL BL, TL TR BR, BR TR TL"
    assert list(ARRANGEMENTS[12:]) == [(2, tuple(square[word] for word in row.split())) for row in blocks.split(", ")]


def test_the_mirror_maps_each_to_the_cells_it_shows() -> None:
    for index, (layout, cells) in enumerate(ARRANGEMENTS):
        other, order = mirrored(index)
        assert ARRANGEMENTS[other].layout == layout
        for new, old in zip(ARRANGEMENTS[other].cells, order, strict=True):
            assert new == (cells[old][0], layout - 1 - cells[old][1])


def test_two_mirrors_are_none() -> None:
    for index in range(20):
        other, order = mirrored(index)
        back, again = mirrored(other)
        assert back == index
        assert tuple(order[place] for place in again) == (0, 1, 2)
    assert sorted(mirrored(index).arrangement for index in range(20)) == list(range(20))


@pytest.mark.parametrize(
    ("pairs", "order"),
    [([(0, 2), (3, 7), (4, 6), (1, 1), (5, 5)], (0, 1, 2)), ([(8, 11), (9, 10)], (2, 1, 0))],
)
def test_lines_and_angles_mirror_as_in_the_authors_code(pairs: list[tuple[int, int]], order: tuple[int, ...]) -> None:
    for first, second in itertools.chain(pairs, [(b, a) for a, b in pairs]):
        assert mirrored(first) == (second, order)
