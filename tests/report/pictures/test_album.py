"""Where album lie: what is no longer made goes, what lies in a cache stays as it is."""

import json
import os
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tessera.jobs import SummarizeStudy
from tessera.report.pictures import album as albums
from tessera.report.pictures.album import Album, Picture, make_album
from tessera.report.pictures.drawing import drawing, legend_below, save

STUDY = SummarizeStudy(
    name="toy", title="", description="", scale="smoke", trials=1, rows=(), columns=(), cells=(), artifacts=()
)


def draw(summary: SummarizeStudy, root: Path, folder: Path) -> list[Picture]:
    """A maker, named in the table by the test below."""
    (folder / "a.png").write_bytes(b"drawn")
    return [Picture("a.png", f"Of {summary.name}", "How to read it.", "Kind")]


def test_an_album_is_drawn_first_and_written_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(albums, "PICTURES", {"a": "json:loads"})
    monkeypatch.setattr(json, "loads", draw)
    album = make_album(STUDY, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    album.write(tmp_path / "figures")
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["a.png", "index.json"]
    assert json.loads((tmp_path / "figures" / "index.json").read_text()) == [
        {"file": "a.png", "title": "Of toy", "caption": "How to read it.", "category": "Kind"}
    ]


def test_pictures_of_an_earlier_configuration_go(tmp_path: Path) -> None:
    Album((), {"old.png": b"", "kept.png": b"1"}).write(tmp_path)
    Album((), {"kept.png": b"2"}).write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"kept.png": b"2"}


def test_a_link_into_a_cache_is_replaced_not_written_through(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_bytes(b"old")
    (tmp_path / "figures").mkdir()
    os.link(cache, tmp_path / "figures" / "a.png")
    Album((), {"a.png": b"new"}).write(tmp_path / "figures")
    assert cache.read_bytes() == b"old"
    assert (tmp_path / "figures" / "a.png").read_bytes() == b"new"


def test_every_maker_of_the_table_is_there(tmp_path: Path) -> None:
    assert make_album(STUDY, tmp_path).pictures == ()


@pytest.mark.parametrize("name", ["a task", "my_laboratory.pretext.tasks:OrderOfTiles", 3 * "my_laboratory.pretext."])
def test_a_legend_is_never_wider_than_its_figure(tmp_path: Path, name: str, words_within: None) -> None:
    with drawing():
        figure = Figure(figsize=(3.5, 3), layout="constrained")
        lines = figure.subplots().plot([[1, 2, 3, 4], [2, 3, 4, 5]])
        legend_below(figure, lines, [f"{name} {index}" for index in range(4)], most=4, fontsize=7)
        save(figure, tmp_path, "legend")
    (legend,) = figure.legends
    lefts = {round(text.get_window_extent().x0) for text in legend.get_texts()}
    assert len(lefts) == (4 if name == "a task" else 1)  # names in a line
