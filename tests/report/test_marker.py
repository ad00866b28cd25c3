"""The marker of a study's results: it names their files, and tells when one is gone or another."""

import json
from pathlib import Path

import pytest

from tessera.jobs import SummarizeStudy
from tessera.report.marker import differing, set_aside
from tessera.report.page.index import write_index
from tessera.report.summary import summarize
from tessera.tracking.dvc import gather


@pytest.fixture
def made(study: SummarizeStudy, tmp_path: Path) -> Path:
    """The study's results."""
    summarize(study, tmp_path)
    gather(tmp_path)
    write_index(tmp_path)
    return tmp_path / "results" / "toy"


def test_results_as_they_were_written_are_right(study: SummarizeStudy, tmp_path: Path, made: Path) -> None:
    stated = json.loads((tmp_path / study.marker).read_text())["files"]
    there = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert set(stated) == there - {Path(study.marker).name}
    assert {"report.html", "table.csv", "figures/index.json"} < set(stated)
    assert differing(study, tmp_path) == {}


@pytest.mark.parametrize("name", ["table.csv", "figures/index.json", "../index.html", "../plots/toy.csv"])
def test_a_file_that_is_gone_is_told(study: SummarizeStudy, tmp_path: Path, made: Path, name: str) -> None:
    (made / name).unlink()
    assert differing(study, tmp_path) == {name: "is missing"}


def test_a_file_that_was_changed_is_told_and_kept(study: SummarizeStudy, tmp_path: Path, made: Path) -> None:
    text = (made / "report.html").read_text()
    (made / "report.html").write_text(text.replace("tte", "TTE", 1))  # of the same size
    (made / "table.tex").unlink()
    found = differing(study, tmp_path)
    assert found == {"report.html": "was changed", "table.tex": "is missing"}
    kept = set_aside(study, tmp_path, found)
    assert kept is not None
    assert [path.name for path in kept.iterdir()] == ["report.html"]
    assert "TTE" in (kept / "report.html").read_text()
    assert not (tmp_path / study.marker).exists()
    assert differing(study, tmp_path) == {}


def test_a_marker_of_an_earlier_version_is_believed(study: SummarizeStudy, tmp_path: Path) -> None:
    marker = tmp_path / study.marker
    marker.parent.mkdir(parents=True)
    marker.write_text('{"key": "0"}')
    assert differing(study, tmp_path) == {}


@pytest.mark.parametrize("content", ["", "null", "[]", '{"files": []}', '{"files": {"../a": {}}}', "[" * 5000])
def test_a_marker_that_is_none_is_damage(study: SummarizeStudy, tmp_path: Path, content: str) -> None:
    marker = tmp_path / study.marker
    marker.parent.mkdir(parents=True)
    marker.write_text(content)
    assert differing(study, tmp_path) == {marker.name: "cannot be read"}
    assert set_aside(study, tmp_path, differing(study, tmp_path)) is None
    assert not marker.exists()
