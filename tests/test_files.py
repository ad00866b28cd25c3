"""Drafts of processes that are dead are removed, and no others."""

import os
import subprocess
import sys
from pathlib import Path

from tessera.files import draft_of, remove_drafts, replace_text


def dead() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_drafts_of_the_dead_are_removed_and_others_are_spared(tmp_path: Path) -> None:
    mine = draft_of(tmp_path / "table.md")
    killed = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{dead()}."))
    folder = killed.with_name(killed.name.replace("table.md", "a.t0-0123"))
    elsewhere = tmp_path / f".table.md.another-machine.{dead()}.draft"
    earlier = tmp_path / f".table.md.{dead()}.draft"  # of a version that named no machine
    users = tmp_path / ".notes.draft"
    folder.mkdir()
    (folder / "images.bin").write_text("half")
    for path in (mine, killed, elsewhere, earlier, users, tmp_path / "table.md"):
        path.write_text("")
    remove_drafts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        mine.name, elsewhere.name, earlier.name, users.name, "table.md",
    }  # fmt: skip
    for path in (mine, elsewhere, earlier, users):
        os.utime(path, (1e9, 1e9))
    remove_drafts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {users.name, "table.md"}


def test_a_folder_that_is_not_there_has_no_drafts(tmp_path: Path) -> None:
    remove_drafts(tmp_path / "nothing")


def test_writing_leaves_no_draft(tmp_path: Path) -> None:
    replace_text(tmp_path / "a" / "table.md", "text")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["table.md"]
