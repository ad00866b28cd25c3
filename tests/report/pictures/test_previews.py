"""Pictures of the pretext tasks: read as they were kept, first trial first, nothing where nothing was kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tessera.errors import ArtifactError
from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.pictures.previews import draw_previews, read_previews

NAMES = ("turned back as predicted", "right")


def keep(folder: Path, level: int) -> None:
    """Two tasks, one of them with pictures of two sizes."""
    tasks = []
    for number, strips in enumerate([[(4, 24, 24), (4, 8, 24)], [(4, 32, 32)]], start=1):
        sheet = np.full((sum(s[1] for s in strips), max(s[0] * s[2] for s in strips), 3), 255, np.uint8)
        top = 0
        for count, height, width in strips:
            for index in range(count):
                sheet[top : top + height, index * width : (index + 1) * width] = level + 10 * index
            top += height
        Image.fromarray(sheet).save(folder / f"previews-{number}.jpg", quality=95)
        views = [{"name": NAMES[index], "strip": strip} for index, strip in enumerate(strips)]
        tasks.append({"task": f"task{number}", "file": f"previews-{number}.jpg", "caption": "Words.", "views": views})
    (folder / "previews.json").write_text(json.dumps({"tasks": tasks}))


@pytest.fixture
def study(write: Any, tmp_path: Path) -> SummarizeStudy:
    sources = [write(f"artifacts/source/tte.t{t}-0000000{t}") for t in range(2)]
    old = write("artifacts/source/old.t0-11111111")
    for trial, source in enumerate(sources):
        keep(tmp_path / source, 100 * trial)
    made = [
        write(f"artifacts/target/p.t{t}-2222222{t}", {"accuracy": 1.0}, inputs={"source": s})
        for t, s in enumerate(sources)
    ]
    other = write("artifacts/target/o.t0-33333333", {"accuracy": 1.0}, inputs={"source": old})
    rows = {"old": (other,), "TTE": tuple(made)}
    return SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=2, rows=tuple(rows), columns=("",), artifacts=(),
        cells=tuple(
            Cell(row=row, column="", protocol="p", figure=ACCURACY, artifacts=made) for row, made in rows.items()
        ),
    )  # fmt: skip


def test_strips_are_read_as_they_were_kept(study: SummarizeStudy, tmp_path: Path) -> None:
    first, second = read_previews(tmp_path / "artifacts/source/tte.t1-00000001")
    assert (first.task, first.caption, second.task) == ("task1", "Words.", "task2")
    assert [(name, images.shape) for name, images in first.views] == [
        (NAMES[0], (4, 24, 24, 3)),
        (NAMES[1], (4, 8, 24, 3)),
    ]
    for _, images in (*first.views, *second.views):
        assert images.mean(axis=(1, 2, 3)) == pytest.approx([100, 110, 120, 130], abs=2)


@pytest.mark.usefixtures("fine")
def test_one_picture_a_pretraining_that_kept_previews(study: SummarizeStudy, tmp_path: Path) -> None:
    (picture,) = draw_previews(study, tmp_path, tmp_path / "figures")
    assert (picture.file, picture.title) == ("previews-1.png", "Tasks: TTE")
    assert "same 4 held-out images" in picture.caption
    assert "First trial" in picture.caption
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["previews-1.png"]
    once = (tmp_path / "figures" / "previews-1.png").read_bytes()
    with Image.open(tmp_path / "figures" / "previews-1.png") as drawn:
        levels = np.asarray(drawn.convert("L"))
        assert drawn.width == 1200
    assert all((abs(levels - float(level)) < 3).sum() > 2_000 for level in (10, 20, 30))  # of trial 0
    assert draw_previews(study, tmp_path, tmp_path / "figures") == [picture]
    assert (tmp_path / "figures" / "previews-1.png").read_bytes() == once


def test_names_lie_within_the_picture(study: SummarizeStudy, tmp_path: Path, words_within: None) -> None:
    draw_previews(study, tmp_path, tmp_path / "figures")


def test_a_damaged_sheet_is_named(study: SummarizeStudy, tmp_path: Path) -> None:
    sheet = tmp_path / "artifacts/source/tte.t0-00000000/previews-1.jpg"
    Image.new("RGB", (8, 8)).save(sheet)
    with pytest.raises(ArtifactError, match=r"previews-1\.jpg: is smaller"):
        draw_previews(study, tmp_path, tmp_path / "figures")
    sheet.write_bytes(b"no picture")
    with pytest.raises(ArtifactError, match=r"previews-1\.jpg: cannot be read"):
        draw_previews(study, tmp_path, tmp_path / "figures")
