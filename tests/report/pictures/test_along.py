"""The picture of encoders along their training: what is drawn where, and when nothing is."""

from pathlib import Path

import pytest

from tessera.figures import Figure
from tessera.jobs import SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.pictures.along import caption, draw, draw_along
from tessera.report.pictures.drawing import drawing, save
from tessera.report.tables.along import Course, Point


def course(
    row: str, means: list[float], column: str = "probe", views: int = 1000, trials: int = 3, figure: Figure = ACCURACY
) -> Course:
    """Epochs 1, 2, 4, …: trials one below, at and one above the mean."""
    spread = [0.0] if trials == 1 else [-1.0, 0.0, 1.0]
    points = tuple(
        Point(2**number, (views * 2**number,) * trials, tuple(mean + each for each in spread), ("a",) * trials)
        for number, mean in enumerate(means)
    )
    return Course(row, column, figure, points, points[-1].values, 10.0)


def level(row: str, value: float, column: str = "probe") -> Course:
    return Course(row, column, ACCURACY, (), (value - 1, value, value + 1), 10.0)


def test_lines_bands_levels_and_chance_stand_where_they_were_measured() -> None:
    with drawing():
        figure = draw([course("tte", [20, 40, 50]), level("untrained", 15)])
    (ax,) = [ax for ax in figure.axes if ax.get_visible()]
    line, low, guess = ax.get_lines()
    assert list(line.get_xdata()) == [1000, 2000, 4000]
    assert list(line.get_ydata()) == [20, 40, 50]
    assert set(low.get_ydata()) == {15}
    assert set(guess.get_ydata()) == {10}
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    assert {(x, y) for x, y in corners} >= {(1000, 19), (1000, 21), (4000, 49), (4000, 51)}
    assert ax.get_xscale() == "linear"
    assert ax.get_ylabel() == "accuracy, %"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["tte", "untrained", "guessing"]


def test_more_than_a_decade_of_views_takes_a_logarithmic_axis() -> None:
    with drawing():
        scales = [draw([course("a", [1.0] * number)]).axes[0].get_xscale() for number in (4, 5)]  # 8 and 16 times
    assert scales == ["linear", "log"]


def test_a_row_has_one_colour_in_all_panels_and_no_two_rows_look_alike() -> None:
    rows = [f"row {number}" for number in range(12)]
    with drawing():
        figure = draw([course(row, [20, 30], column) for column in ("probe", "kNN") for row in rows])
    one, two = ([(line.get_color(), line.get_linestyle()) for line in ax.get_lines()[:12]] for ax in figure.axes[:2])
    assert one == two
    assert len(set(one)) == 12


def test_panels_fill_their_lines_and_a_dash_is_seen_as_one_in_the_legend() -> None:
    """A marker in its middle hides the gap of a short one."""
    with drawing():
        four = draw([course(f"row {n}", [20, 30], column) for column in "abcd" for n in range(8)])
        five = draw([course("a", [20, 30], column) for column in "abcde"])
    assert [ax.get_subplotspec().get_geometry()[:2] for ax in (four.axes[0], five.axes[0])] == [(2, 2), (2, 3)]
    (legend,) = four.legends
    dashed = legend.get_lines()[7]
    assert dashed.get_linestyle() == "--"
    pattern = sum(dashed._unscaled_dash_pattern[1]) * dashed.get_linewidth()
    assert legend.handlelength * 7 > 3 * pattern


def test_without_a_spread_no_band_is_drawn() -> None:
    with drawing():
        figure = draw([course("a", [20, 30], trials=1)])
    assert not figure.axes[0].collections


@pytest.mark.usefixtures("words_within")
@pytest.mark.parametrize("columns", [1, 2, 4, 7])
def test_many_columns_and_long_names_stay_on_the_page(columns: int, tmp_path: Path) -> None:
    names = [f"linear probe of stage {number} with its map pooled to 2×2 pixels" for number in range(columns)]
    rows = ["rotation and jigsaw, in the order in which they were named, by TTE", *(f"row {n}" for n in range(9))]
    with drawing():
        save(draw([course(row, [20, 30, 80], name) for name in names for row in rows]), tmp_path, "along")


def test_the_caption_says_what_there_is() -> None:
    text = caption([course("a", [20, 30]), level("b", 15)])
    assert "`accuracy` against the image views" in text
    assert "Lines are means of 3 trials" in text
    assert "Level lines are rows that are measured once" in text
    assert "Dotted: what guessing gives" in text
    alone = caption([course("a", [20, 30], trials=1, figure=Figure(name="error"))])
    assert "bands" not in alone
    assert "Level lines" not in alone
    many = caption([course(f"row {n}", [20, 30]) for n in range(13)])
    assert "The first 12 of 13 rows are shown." in many


def test_nothing_is_drawn_of_a_study_that_follows_no_training(study: SummarizeStudy, tmp_path: Path) -> None:
    assert draw_along(study, tmp_path, tmp_path / "figures") == []
