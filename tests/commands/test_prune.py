"""`tessera prune` asks, and takes nothing that a study could need."""

import builtins
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tessera.__main__ import main
from tessera.study.plan import make_plan

Answer = Callable[[str | None], list[str]]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Answers what is asked, as on a terminal; None: there is none."""

    def give(word: str | None) -> list[str]:
        asked: list[str] = []

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return word is not None

        def ask(question: str) -> str:
            asked.append(question)
            assert word is not None
            return word

        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr(builtins, "input", ask)
        return asked

    return give


def made(edited: Any) -> tuple[list[Path], Path]:
    """Artifacts of the chosen study, of another, at another scale and trials; and one that no study needs."""
    scales = edited.root / "config" / "scales"
    every = scales.resolve()
    scales.unlink()
    scales.mkdir()
    for name in ("smoke.yaml", "quickstart.yaml"):
        (scales / name).symlink_to(every / name)
    (edited.root / "config" / "studies" / "another.yaml").write_text(
        yaml.safe_dump(
            {**edited.study, "title": "Another", "trials": 1, "grid": {"rows": {"source.method": ["equal"]}}}
        )
    )
    edited.config["trials"] = 1
    edited.write()
    (edited.root / "config" / "more.yaml").write_text(yaml.safe_dump({"trials": 2}))
    wanted = {}
    for change in ({}, {"scale": "quickstart"}, {"trials": 2}, {"studies": ["another"]}):
        wanted |= make_plan({**edited.config, **change}, edited.root).jobs
    unneeded = make_plan({**edited.config, "trials": 3}, edited.root).jobs
    (folder,) = [name for name in unneeded if name.startswith("artifacts/source/") and ".t2-" in name][:1]
    for job in (*wanted.values(), unneeded[folder]):
        edited.make_job(job)
    for name in (*wanted, folder):
        if not name.startswith(folder):
            shutil.rmtree(edited.root / name.replace("artifacts", "resume"))
    return [edited.root / name for name in wanted], edited.root / folder


def test_nothing_that_a_study_could_need_is_removed(
    edited: Any, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, unneeded = made(edited)
    (edited.root / "config" / "notes.yaml").write_text("author: me\n")  # no configuration
    answer("yes")
    assert main(["prune"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 folders, ")  # what and how much stands first
    assert f"  {unneeded.relative_to(edited.root)}\n" in said
    assert "--only-configured removes them" in said
    assert not unneeded.exists()
    assert all((folder / "artifact.json").exists() for folder in wanted)
    assert main(["prune"]) == 0
    assert "Nothing to remove" in capsys.readouterr().out


def test_only_configured(edited: Any, answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    wanted, _ = made(edited)
    answer("yes")
    assert main(["prune", "--only-configured"]) == 0
    left = {folder for folder in wanted if folder.exists()}
    assert left == {edited.root / folder for folder in make_plan(edited.config, edited.root).jobs_of(["which"])}
    assert len(left) < len(wanted)


def test_only_the_whole_word_removes(edited: Any, answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    _, unneeded = made(edited)
    for word in ("y", "", "YES", None):
        asked = answer(word)
        assert main(["prune", "--only-configured"]) == 1
        assert "Nothing was removed" in capsys.readouterr().out
        assert asked == ([] if word is None else ["Type yes to remove them: "])
    assert main(["prune", "--only-configured", "--dry-run"]) == 0
    assert unneeded.exists()
    assert main(["prune", "--yes"]) == 0
    assert not unneeded.exists()


@pytest.mark.parametrize("file", ["config/studies/wrong.yaml", "config/more.yaml"])
def test_what_cannot_be_planned_may_need_anything(
    file: str, edited: Any, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    _, unneeded = made(edited)
    (edited.root / file).write_text("trials: many\n")
    answer("yes")
    assert main(["prune", "--yes"]) == 1
    said = capsys.readouterr().out
    assert "What these need is not known, since they cannot be planned:\n" in said
    assert f"  {file}" in said
    assert "Nothing was removed. Mend them or move them away, or say --only-configured" in said
    assert unneeded.exists()
    assert main(["prune", "--yes", "--only-configured"]) == 0
    assert not unneeded.exists()


def test_a_study_that_is_edited_before_the_answer_keeps_what_it_needs(
    edited: Any, monkeypatch: pytest.MonkeyPatch, answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    _, unneeded = made(edited)
    answer("yes")

    def ask(question: str) -> str:
        edited.config["trials"] = 3
        edited.write()
        return "yes"

    monkeypatch.setattr(builtins, "input", ask)
    assert main(["prune"]) == 0
    assert "stays, for it is needed by now" in capsys.readouterr().out
    assert unneeded.exists()
