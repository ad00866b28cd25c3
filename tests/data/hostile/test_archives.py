"""Archives that are none, that are cut off, and that hold what is too large."""

import gzip
import os
import zipfile
from pathlib import Path

import pytest
from hostile_archives import (
    TARS,
    answer,
    member,
    write_tar,
    write_zip,
    zipped,
)

from tessera.data import archives
from tessera.data.datasets.listing import unfit_archive


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_member_that_is_too_large_is_passed_over_unread(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert archives.MOST_BYTES == 2**30
    monkeypatch.setattr(archives, "MOST_BYTES", 10**6)
    path = tmp_path / "data" / f"x{suffix}"
    if suffix == ".zip":
        write_zip(path, (zipped("train/a/9.png", method=zipfile.ZIP_DEFLATED), bytes(10**6 + 1)))
    else:
        write_tar(path, member("train/a/9.png", data=bytes(10**6 + 1)))
    assert answer(path) == (f"{path}: `train/a/9.png`: larger than 1 GiB", 3)


@pytest.mark.parametrize("suffix", [*TARS, ".zip"])
def test_wherever_an_archive_is_cut_off(suffix: str, tmp_path: Path) -> None:
    whole = tmp_path / "data" / f"x{suffix}"
    if suffix == ".zip":
        write_zip(whole)
    else:
        write_tar(whole, b"")
    data = whole.read_bytes()
    assert answer(whole) == ("", 3)
    cuts = {len(data) * part // 20 for part in range(20)}
    # Between two members a plain archive would seem to be a shorter one.
    cuts |= set(range(0, len(data) - 1024, 512)) if suffix == ".tar" else set()
    for cut in cuts:
        whole.write_bytes(data[:cut])
        said, number = answer(whole)
        assert number == -1, cut
        assert said.startswith(f"{whole}: ")
        assert "damaged or incomplete (" in said
        assert said.endswith("Get it again.")


def test_what_is_no_archive(tmp_path: Path) -> None:
    for name, data, expected in (
        ("empty.tar", b"", "damaged or incomplete (empty file)"),
        ("void.tar", bytes(10_240), "holds no images"),
        ("text.zip", b"hello", "damaged or incomplete (File is not a zip file)"),
        ("page.tar.gz", b"<html>", "damaged or incomplete (Not a gzipped file"),
        ("other.tar.xz", gzip.compress(b"x"), "damaged or incomplete ("),
        ("bomb.tar.gz", gzip.compress(gzip.compress(bytes(10**6))), "damaged or incomplete ("),
        ("within.tar", member("a/b.tar.gz", data=b"x") + bytes(1024), "`a/b.tar.gz` is an archive, and none is opened"),
    ):
        (tmp_path / "data" / name).write_bytes(data)
        said, _ = answer(tmp_path / "data" / name)
        assert expected in said, name
    for name in ("x.tar", "x.zip", "x.tar.gz"):
        os.mkfifo(path := tmp_path / "data" / name)
        assert answer(path)[0] == unfit_archive(path) == f"{path}: a pipe, not a file. Remove or replace it."
