"""Members of zip archives that mean harm: nothing leaves, nothing grows without end, each is answered in a line."""

import zipfile
from pathlib import Path

import pytest
from hostile_archives import LINK, NINE, OUT, Change, Member, answer, end, last, png, write_zip, zipped

IN_ZIPS: dict[str, tuple[list[Member], Change | None, str]] = {
    "above": ([("../9.png", png())], None, OUT),
    "above, by Windows": ([("..\\9.png", png())], None, OUT),
    "absolute": ([("/train/a/9.png", png())], None, OUT),
    "a share": ([("\\\\host\\train\\a\\9.png", png())], None, OUT),
    "a drive": ([("C:\\train\\a\\9.png", png())], None, OUT),
    "link": ([(zipped(NINE, 0o120777), b"/etc/passwd")], None, LINK),
    "pipe": ([(zipped(NINE, 0o010644), b"")], None, ": a pipe"),
    "device": ([(zipped(NINE, 0o020644), b"")], None, ": a device"),
    "socket": ([(zipped(NINE, 0o140644), b"")], None, ": a socket"),
    "a folder named as an image": ([("train/a/9.png/", b"")], None, ""),
    "a folder with content": ([("train/a/9.png/", png())], None, ""),
    "a name of a dot": ([(".", png())], None, "has no name"),
    "a line break": ([("train/a/9\n.txt", b"")], None, r"9\n.txt`: not an image"),
    "an escape": ([("train/a/\x1b[2J.txt", b"")], None, r"\x1b[2J.txt`: not an image"),
    "encrypted": ([(NINE, png())], last(8, "<H", 1), "encrypted. Unpack it with its password"),
    "bzip2": ([(zipped(NINE, method=zipfile.ZIP_BZIP2), png())], None, "compressed by bzip2. In a zip, deflate alone"),
    "LZMA": ([(zipped(NINE, method=zipfile.ZIP_LZMA), png())], None, "compressed by LZMA. In a zip, deflate alone"),
    "a bomb of bzip2": (
        [(zipped(NINE, method=zipfile.ZIP_BZIP2), bytes(10**7))], last(24, "<L", 100), "compressed by bzip2"),
    "an unknown method": ([(NINE, png())], last(10, "<H", 93), "compressed by an unknown method"),
    "a wrong checksum": ([(NINE, png())], last(16, "<L", 1), "damaged or incomplete (Bad CRC-32 for file"),
    "10 GB of zeros, it says": ([(NINE, png())], last(24, "<L", 0xFFFF_FFF0), "larger than 1 GiB"),
    "zeros that are called few": (
        [(zipped(NINE, method=zipfile.ZIP_DEFLATED), bytes(10**7))], last(24, "<L", 100), "damaged or incomplete ("),
    "more than there is": ([(NINE, png())], last(20, "<L", 10**8), ""),
    "bytes that are no deflate": ([(NINE, b"\xff" * 99)], last(10, "<H", 8), "damaged or incomplete ("),
    "another name before the data": ([(NINE, png())], lambda c: c.__setitem__(c.rindex(b"PK\3\4") + 30, 65), "damaged"),
    "data elsewhere": ([(NINE, png())], last(42, "<L", 10**6, "c"), "damaged or incomplete ("),
    "several disks": ([(NINE, png())], end(4, "<H", 3), ""),
    "a directory elsewhere": ([(NINE, png())], end(16, "<L", 10**9), "damaged or incomplete ("),
    "a name twice": ([("train/a/8.png", png()), ("train/a/8.png", png())], None, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", IN_ZIPS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_archives(what: str, tmp_path: Path) -> None:
    extra, change, expected = IN_ZIPS[what]
    path = write_zip(tmp_path / "data" / "x.zip", *extra, change=change)
    said, number = answer(path)
    assert expected in said
    assert expected or not said
    assert number in ((-1,) if ". " in said else (3, 4)), said
    assert said.startswith(f"{path}: ") or not said
    if "deflate alone" in expected or "encrypted" in expected or "GiB" in expected or "CRC" in expected:
        assert said.startswith(f"{path}: `{NINE}`: ")


def test_members_over_one_another_are_refused_or_read(tmp_path: Path) -> None:
    """Many names of the same bytes, by which a small zip becomes a large one."""
    path = write_zip(tmp_path / "data" / "x.zip", (NINE, png()), change=last(42, "<L", 0, "c"))
    said, _ = answer(path)
    assert "damaged or incomplete (" in said
