"""Members of tar archives that mean harm: nothing leaves, nothing is read without end, each is answered in a line."""

import gzip
import tarfile
from pathlib import Path

import pytest
from hostile_archives import (
    LINK,
    OUT,
    answer,
    base256,
    member,
    octal,
    pax,
    png,
    raw,
    write_tar,
)

from tessera.data.datasets.listing import unfit_archive

IN_TARS: dict[str, tuple[bytes, str]] = {
    "above": (member("../train/a/9.png"), OUT),
    "above, later": (member("train/../../a/9.png"), OUT),
    "absolute": (member("/train/a/9.png"), OUT),
    "absolute, twice": (member("//train/a/9.png"), OUT),
    "a drive": (member("C:/train/a/9.png"), OUT),
    "above, by pax": (pax(path="../../train/b/9.png"), OUT),
    "absolute, by pax": (pax(path="/train/b/9.png"), OUT),
    "link": (member("train/a/9.png", tarfile.SYMTYPE, linkname="secret"), LINK),
    "link out": (member("train/a/9.png", tarfile.SYMTYPE, linkname="../../secret"), LINK),
    "link to a folder": (member("train/c", tarfile.SYMTYPE, linkname="/"), LINK),
    "file through a link": (member("train/c", tarfile.SYMTYPE, linkname="/tmp") + member("train/a/c/9.png"), LINK),
    "hard link": (member("train/a/9.png", tarfile.LNKTYPE, linkname="train/a/1.png"), LINK),
    "hard link out": (member("train/a/9.png", tarfile.LNKTYPE, linkname="/etc/passwd"), LINK),
    "pipe": (member("train/a/9.png", tarfile.FIFOTYPE), ": a pipe"),
    "character device": (member("train/a/9.png", tarfile.CHRTYPE, devmajor=1, devminor=5), ": a device"),
    "block device": (member("train/a/9.png", tarfile.BLKTYPE), ": a device"),
    "no name": (raw("", b"0", octal(0)), "has no name"),
    "a name of a dot": (member("."), "has no name"),
    "a folder named as an image": (member("train/a/9.png", tarfile.DIRTYPE), ""),
    "a folder in the place of an image": (member("train/a/1.png", tarfile.DIRTYPE), ""),
    "an image in the place of a folder": (member("train/a/x.png/9.txt"), "not an image"),
    "a line break": (member("train/a/9\n.txt"), r"9\n.txt`: not an image"),
    "an escape": (member("train/a/\x1b[2J9.txt"), r"\x1b[2J9.txt`: not an image"),
    "text from right to left": (member("train/a/\u202e9.txt"), r"\u202e9.txt`: not an image"),
    "no UTF-8": (member("train/a/\udcff9.txt"), r"\udcff9.txt`: not an image"),
    "NUL, by pax": (pax(path="train/b/\0.txt"), r"\x00.txt`: not an image"),
    "an image with a line break": (member("train/a/9\n.png"), ""),
    "an image without UTF-8": (member("train/a/\udcff9.png"), ""),
    "a long name": (member(f"train/a/{'9' * 5000}.txt"), "…"),
    "a deep one": (member(f"train/a/{'9/' * 20_000}9.png"), ""),
    "a class with a line break": (member("train/c\nd/9.png"), r"name `c\nd` is not printable. Rename it."),
    "a class without UTF-8": (member("train/\udcff/9.png"), r"name `\udcff` is not printable. Rename it."),
    "a long class": (member(f"train/{'c' * 300}/9.png"), "is longer than 200 characters. Rename it."),
    "two classes of one name": (
        member("train/caf\u00e9/9.png") + member("train/cafe\u0301/9.png"),
        "in two forms of Unicode. Make them one.",
    ),
    "names that differ in case": (member("train/a/1.PNG") + member("train/a/9.png"), ""),
    "a name twice": (member("train/a/1.png", data=png(1)), ""),
    "an archive within": (member("train/a/x.tar", data=bytes(1024)), "not an image"),
    "EPS": (member("train/a/9.png", data=b"%!PS-Adobe-3.0 EPSF-3.0\n"), "`train/a/9.png`: cannot be decoded (it seems"),
    "empty": (member("train/a/9.png", data=b""), "`train/a/9.png`: cannot be decoded (empty file)"),
    "10 GB": (raw("train/a/9.png", b"0", base256(10**10)), "incomplete (unexpected end of data)"),
    "10 GB of no image": (raw("train/a/9.txt", b"0", base256(10**10)), "incomplete (unexpected end of data)"),
    "more than there is": (raw("train/a/9.png", b"0", octal(10**6)), "damaged or incomplete (unexpected end of data)"),
    "10^18 B": (raw("train/a/9.png", b"0", base256(10**18)), "incomplete (unexpected end of data)"),
    "less than nothing": (raw("train/a/9.png", b"0", base256(-1024)), "damaged or incomplete ("),
    "no size": (raw("train/a/9.png", b"0", b"hello world\0"), "damaged or incomplete ("),
    "a name of 2 GB": (raw("././@LongLink", b"L", octal(2**31)), "(a header of 2147483648 bytes)"),
    "a link's name of 2 GB": (raw("././@LongLink", b"K", octal(2**31)), "(a header of 2147483648 bytes)"),
    "facts of 2 GB": (raw("pax", b"x", octal(2**31)), "(a header of 2147483648 bytes)"),
    "facts of all, of 2 GB": (raw("pax", b"g", octal(2**31)), "(a header of 2147483648 bytes)"),
    "facts that are none": (raw("pax", b"x", octal(512)) + b"hello".ljust(512, b"\0"), ""),
    "a size by pax": (pax(size="99999999999"), "incomplete (unexpected end of data)"),
    "an unknown kind": (member("train/a/9.png", b"Z"), ": a device"),
    "a damaged header": (b"x" * 512, "damaged or incomplete (invalid header)"),
    "half a header": (b"x" * 100, "damaged or incomplete ("),
}  # fmt: skip


@pytest.mark.parametrize("what", IN_TARS)
def test_tar_archives(what: str, tmp_path: Path) -> None:
    extra, expected = IN_TARS[what]
    path = write_tar(tmp_path / "data" / "x.tar", extra)
    if path.stat().st_size % 512:
        expected = "damaged or incomplete (not a whole number of blocks)"
    said, number = answer(path)
    assert expected in said
    assert expected or not said
    assert number in ((-1,) if ". " in said else (3, 4, 5)), said
    assert all(line.startswith((f"{path}", "data: ")) for line in said.splitlines())
    if "GB" in what or "2147483648" in expected:
        assert unfit_archive(path) is None  # the first member is looked at alone


def test_a_header_is_not_read_whole_while_it_is_planned(tmp_path: Path) -> None:
    path = tmp_path / "data" / "x.tar.gz"
    path.write_bytes(gzip.compress(raw("././@LongLink", b"L", octal(2**31)) + bytes(2048)))
    assert unfit_archive(path) == f"{path}: damaged or incomplete (a header of 2147483648 bytes). Get it again."
