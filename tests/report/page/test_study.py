"""The pages: what stands on them, that links resolve, that nothing is executed or fetched, and that bytes repeat."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tessera.jobs import Cell, SummarizeStudy
from tessera.protocols.options import ACCURACY
from tessera.report.page.index import write_index
from tessera.report.page.study import Failure
from tessera.report.page.unfinished import write_unfinished
from tessera.report.pictures.album import PICTURES
from tessera.report.summary import summarize

Write = Callable[..., str]
HOSTILE = """<script>alert(1)</script> & "quoted" {{ 7 * 7 }} </style>"""


class Page(HTMLParser):
    """A page's elements, ids, links, and the text of each table cell; fails on elements that do not nest."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "br":
            self.rows[-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open or "style" in self._open:
            return
        self.words += data
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    @property
    def links(self) -> list[str]:
        return [str(attributes["href"]) for attributes in self.all("a")]

    def row(self, name: str) -> list[str]:
        return next(
            row for row in ([" ".join(cell.split()) for cell in cells] for cells in self.rows) if row[0] == name
        )

    def marks(self, kind: str) -> list[dict[str, str | None]]:
        """Dots of the plots; those of their key have no place."""
        return [about for about in self.all("i") if about.get("class") == kind and "style" in about]


def page_of(study: SummarizeStudy, root: Path) -> Page:
    summarize(study, root)
    return Page((root / "results" / study.name / "report.html").read_text())


def test_the_table_shows_ours_the_paper_and_the_difference(study: SummarizeStudy, tmp_path: Path) -> None:
    page = page_of(study, tmp_path)
    assert page.row("tte") == ["tte", "72.3 best ± 1.5", "73", "−0.7", "0.500"]
    assert page.row("joint") == ["joint", "71.0 ± 1.3", "", "", "– no such cell"]
    heads = [attributes for attributes in page.all("th") if "data-sort" in attributes]
    assert [head["data-sort"] for head in heads] == ["0", "1", "2", "3", "4"]  # what script.js sorts by
    assert all(head["aria-sort"] == "none" for head in heads)
    values = [float(str(cell["data-value"])) for cell in page.all("td") if "data-value" in cell]
    assert values == pytest.approx([217 / 3, 73, 217 / 3 - 73, 0.5, 71])


def test_the_answer_comes_first_and_with_care(study: SummarizeStudy, tmp_path: Path) -> None:
    words = page_of(study, tmp_path).words
    answer = words.index("Does fusion help?")
    assert answer < words.index("Table", answer)
    assert "tte is above joint by 1.3 points (C10; 95\xa0% interval 0.6 to 2.1, 3 trials)." in words
    assert "3 trials: spreads and intervals are rough." in words
    assert "Between two rows of one standard deviation a difference shows from 3.5 of these on." in words
    assert "The one cell with a published figure differs from it by −0.7." in words
    assert "Nothing failed, was skipped or left out." in words


def test_many_comparisons_of_a_question_are_folded(study: SummarizeStudy, tmp_path: Path) -> None:
    """Else the table stands screens below them."""
    few, many = (study.model_copy(update={"compare": study.compare * number}) for number in (6, 13))
    assert not re.search(r"All \d+ comparisons", page_of(few, tmp_path).words)
    page = page_of(many, tmp_path)
    assert re.search(r"All (13|26) comparisons", page.words)
    assert page.words.count("tte is above joint by 1.3 points") == 13


def test_every_link_on_the_page_resolves_and_every_cell_leads_to_its_runs(
    study: SummarizeStudy, tmp_path: Path
) -> None:
    page = page_of(study, tmp_path)
    write_index(tmp_path)
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (tmp_path / "results" / "toy" / link).exists()
    assert [link for link in page.links if link.startswith("#runs-")] == ["#runs-1-1", "#runs-1-2", "#runs-2-1"]
    for folder in (folder for cell in study.cells for folder in cell.artifacts):
        assert folder in page.words
        assert folder.rpartition("-")[2] in page.words


def test_every_trial_is_a_dot_and_the_paper_is_marked(study: SummarizeStudy, tmp_path: Path) -> None:
    page = page_of(study, tmp_path)
    dots = page.marks("dot")
    assert [dot["title"] for dot in dots] == [
        "trial 0: 71.00", "trial 1: 72.00", "trial 2: 74.00",
        "trial 0: 70.00", "trial 1: 70.50", "trial 2: 72.50",
        "trial 0: 0.5000",
    ]  # fmt: skip
    places = [float(str(dot["style"]).split("%")[0].removeprefix("left:")) for dot in dots]
    assert places[:3] == pytest.approx([85, 86.67, 90])  # of an axis from 20 to 80: chance, 25, is on it
    assert [mark["style"] for mark in page.marks("ref")] == ["left:88.33%"]
    assert {mark["style"] for mark in page.marks("guess")} == {"left:8.33%"}
    assert "C10, accuracy; chance 25" in page.words


def test_what_failed_was_skipped_or_left_out_is_told(study: SummarizeStudy, tmp_path: Path, write: Write) -> None:
    write(study.cells[0].artifacts[1], {"accuracy": float("nan")}, inputs={"dataset": study.artifacts[0]})
    write(study.artifacts[0], {"num_skipped": 2.0})
    gaps = {"left_out": ("column 'C1000'",), "stand_ins": {"cifar10": "digits_m"}, "part": "row 'TTE'"}
    page = page_of(study.model_copy(update=gaps), tmp_path)
    assert "tte, C10: trial 1 of 3 gave no finite accuracy; mean and spread are over the others." in page.words
    assert page.row("tte")[1] == "72.5 best ± 2.1 2 of 3 trials"
    assert "toy-00000000: 2 passed over (images, annotations or objects); its log says why." in page.words
    assert "Left out for want of images: column 'C1000'." in page.words
    assert "A part of the study: row 'TTE'." in page.words
    assert "digits_m stands in for cifar10." in page.words
    assert "Nothing failed" not in page.words


def test_a_cell_without_any_figure_says_so(study: SummarizeStudy, tmp_path: Path, write: Write) -> None:
    write(study.cells[2].artifacts[0], {"cross_entropy": None})
    page = page_of(study, tmp_path)
    assert page.row("tte")[4] == "no figure 0 of 1 trials"
    assert "trial 0 of 1 gave no finite cross_entropy" in page.words


def test_it_says_how_to_make_it_again(study: SummarizeStudy, tmp_path: Path, write: Write) -> None:
    about = {"git": {"commit": "abc123", "dirty": False}, "finished": "2031-05-04T10:34:52+00:00", "trial": 0}
    write(study.artifacts[1], settings={"source": {"epochs": 3}}, versions={"torch": "2.9"}, **about)
    page = page_of(study, tmp_path)
    assert "git checkout abc123\nsnakemake --cores all toy --config scale=smoke trials=3" in page.words
    assert "made 2031-05-04 10:34 UTC" in page.words
    assert "source:\n  epochs: 3\n" in page.words
    assert all(told in page.words for told in ("2.9", "machine a CPU", "name a GPU"))
    assert "9 artifacts, 4 min of compute" in page.words


def test_one_cell_without_comparisons_is_answered(write: Write, tmp_path: Path) -> None:
    folder = write("artifacts/target/a-00000000", {"accuracy": 57.25})
    cell = Cell(row="only", column="", protocol="knn", figure=ACCURACY, artifacts=(folder,))
    study = SummarizeStudy(
        name="one", title="One cell", description="", scale="paper", trials=1, rows=("only",), columns=("",),
        cells=(cell,), artifacts=(folder,),
    )  # fmt: skip
    page = page_of(study, tmp_path)
    assert "Measured: only, 57.2." in page.words
    assert "One trial: no spread, so nothing here tells an effect from chance." in page.words
    assert page.row("only") == ["only", "57.2"]
    assert "Scale paper" not in page.words


def hostile(study: SummarizeStudy) -> SummarizeStudy:
    cells = tuple(cell.model_copy(update={"row": HOSTILE if cell.row == "tte" else cell.row}) for cell in study.cells)
    return study.model_copy(
        update={
            "title": HOSTILE, "description": f"`{HOSTILE}`", "rows": (HOSTILE, "joint"), "cells": cells,
            "left_out": (HOSTILE,), "part": HOSTILE, "compare": (),
        }
    )  # fmt: skip


def test_a_hostile_study_is_shown_as_it_is_written(study: SummarizeStudy, tmp_path: Path) -> None:
    page = page_of(hostile(study), tmp_path)
    index = Page(write_index(tmp_path).read_text())
    for shown in (page, index):
        assert HOSTILE in shown.words
        assert "<script>alert" not in (tmp_path / "results" / "index.html").read_text()
    assert len(page.all("script")) == 1
    assert len(index.all("script")) == 0


def test_nothing_is_fetched_and_the_page_is_small(study: SummarizeStudy, tmp_path: Path) -> None:
    summarize(study, tmp_path)
    for path in (tmp_path / "results" / "toy" / "report.html", write_index(tmp_path)):
        text = path.read_text()
        page = Page(text)
        loads = [
            attributes[name] for _, attributes in page.elements for name in ("src", "srcset") if name in attributes
        ]
        loads += [attributes["href"] for attributes in page.all("link")]
        assert all(str(load).startswith("data:") for load in loads)
        assert not re.search(r"https?://|url\(|@import", text)
        assert "default-src 'none'" in text
        assert len(text.encode()) < 2 * 2**20


def test_pictures_stand_under_their_category(study: SummarizeStudy, tmp_path: Path) -> None:
    page = page_of(study, tmp_path)
    pictures = json.loads((tmp_path / "results" / "toy" / "figures" / "index.json").read_text())
    assert [image["alt"] for image in page.all("img")] == [picture["title"] for picture in pictures]
    for picture in pictures:
        assert f"{picture['title']}. {picture['caption']}" in page.words


def test_equal_inputs_are_equal_bytes(study: SummarizeStudy, tmp_path: Path) -> None:
    def read() -> list[bytes]:
        summarize(study, tmp_path)
        return [(tmp_path / "results" / "toy" / "report.html").read_bytes(), write_index(tmp_path).read_bytes()]

    assert read() == read()


def test_the_index_has_a_card_a_study(study: SummarizeStudy, tmp_path: Path) -> None:
    assert "No study has been summarized yet." in write_index(tmp_path).read_text()
    summarize(study, tmp_path)
    (tmp_path / "results" / "broken").mkdir()
    (tmp_path / "results" / "broken" / "table.json").write_text("[]")
    page = Page(write_index(tmp_path).read_text())
    assert "Does it work?" in page.words
    assert "tte is above joint by 1.3 points (C10; 95\xa0% interval 0.6 to 2.1, 3 trials)." in page.words
    assert "C10: tte 72.3\xa0±\xa01.5; joint 71.0\xa0±\xa01.3, chance 25" in page.words
    assert "3 trials, scale smoke, 9 artifacts in 4 min of compute" in page.words
    assert "toy/report.html" in page.links
    assert all((tmp_path / "results" / link).exists() for link in page.links)
    assert len(page.marks("dot")) == 6


def test_the_index_shows_tables_of_earlier_versions(study: SummarizeStudy, tmp_path: Path) -> None:
    summarize(study, tmp_path)
    path = tmp_path / "results" / "toy" / "table.json"
    table = json.loads(path.read_text())
    del table["unanswered"]
    for comparison in table["comparisons"]:
        del comparison["answer"]
    path.write_text(json.dumps({**table, "headline": "What it said."}))
    assert "What it said." in Page(write_index(tmp_path).read_text()).words


def test_what_is_wider_than_a_narrow_screen_can_say_so(study: SummarizeStudy, tmp_path: Path) -> None:
    """script.js marks the pane around it; style.css puts the word there."""
    page = page_of(study, tmp_path)
    classes = [about.get("class") for about in page.all("div")]
    assert classes.count("scroll") == classes.count("pane") > 3
    text = (tmp_path / "results" / "toy" / "report.html").read_text()
    assert '.pane.more::after { content: "scroll' in text
    assert 'classList.toggle("more"' in text


def test_pictures_that_speak_of_everything_come_before_single_images() -> None:
    order = list(PICTURES)
    assert order[:2] == ["along", "pretraining"]
    singles = {"retrieval", "previews", "predictions", "mistakes"}
    assert set(order[-4:]) == singles


def test_a_study_with_a_failed_trial_has_a_page_of_what_is_made(study: SummarizeStudy, tmp_path: Path) -> None:
    """One trial of a cell, and all of another, are missing; the study's own files and marker wait."""
    lost = study.cells[0].artifacts[1], study.cells[2].artifacts[0]
    for folder in lost:
        (tmp_path / folder / "artifact.json").unlink()
        (tmp_path / folder / "metrics.json").unlink()
    failure = Failure("evaluate_target", "tte.t1-00000001", "out of <memory>", "logs/target/tte.t1-00000001.log")
    text = write_unfinished(study, tmp_path, [failure]).read_text()
    page = Page(text)
    assert "7 of 9 artifacts are made; 1 job failed." in page.words
    assert "out of &lt;memory&gt;" in text
    assert "logs/target/tte.t1-00000001.log" in page.words
    assert page.row("tte")[1] == "72.5 best ± 2.1 2 of 3 trials"
    assert "tte, C10: trial 1 of 3 is not made; mean and spread are over the others." in page.words
    assert "tte, C100: trial 0 of 1 is not made." in page.words
    assert "+1.2" in page.words  # trials 0 and 2 stay pairs
    assert [path.name for path in (tmp_path / "results" / "toy").iterdir()] == ["unfinished.html"]
    assert "toy/unfinished.html" in Page(write_index(tmp_path).read_text()).links


def test_a_complete_study_is_no_longer_unfinished(study: SummarizeStudy, tmp_path: Path) -> None:
    page = write_unfinished(study, tmp_path, [])
    summarize(study, tmp_path)
    assert not page.exists()
    assert "Unfinished" not in page_of(study, tmp_path).words
    assert "Unfinished" not in write_index(tmp_path).read_text()
