"""First-time words: those that a study says or measures by, and no others."""

from pathlib import Path
from typing import Any

from tessera.jobs import SummarizeStudy
from tessera.report.page.glossary import TERMS, glossary
from tessera.report.runs import Runs
from tessera.report.tables.table import read_table


def words(study: SummarizeStudy, root: Path) -> dict[str, str]:
    return dict(glossary(read_table(study, root), Runs(root, study.artifacts)))


def test_only_words_that_occur_are_explained(study: SummarizeStudy, tmp_path: Path) -> None:
    assert list(words(study, tmp_path)) == ["linear probe"]  # it measures by one; `tte` in small letters is a label
    title = "Do TTE and FSP help a student, against target only?"
    assert list(words(study.model_copy(update={"title": title}), tmp_path)) == [
        "linear probe", "student", "target only", "FSP", "TTE",
    ]  # fmt: skip
    assert "equal (plain multi-task)" not in words(study.model_copy(update={"title": "An equal budget"}), tmp_path)
    assert "MSVL" not in words(study.model_copy(update={"title": "MSVLs"}), tmp_path)


def test_pretext_tasks_are_told_from_the_table_of_parts(study: SummarizeStudy, tmp_path: Path, write: Any) -> None:
    tasks = [{"name": "jigsaw"}, {"name": "classification"}, {"name": "mine:Rotation"}]
    write(study.artifacts[1], settings={"source": {"tasks": tasks}})
    text = words(study, tmp_path)["pretext task"]
    assert text.endswith("Here jigsaw: which permutation of nine tiles?; mine:Rotation")


def test_no_word_is_explained_twice_and_each_is_a_sentence() -> None:
    assert len({term.name for term in TERMS}) == len(TERMS)
    assert all(term.text.endswith(".") and len(term.text) < 160 for term in TERMS)
