"""Archives are streamed; nothing of them leaves, and damage is told."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tessera.data.archives import check_sha256, entries
from tessera.errors import DataError

SUFFIXES = [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip"]


def contents(path: Path) -> dict[str, bytes]:
    return {"/".join(entry.parts): entry.read() for entry in entries(path) if entry.read is not None}


@pytest.fixture
def tree(make_tree: Callable[..., Path]) -> Path:
    return make_tree("train/a/1.png", "train/b/x/2.png", "notes.txt")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_holds_what_the_tree_holds(tree: Path, pack: Callable[..., Path], suffix: str) -> None:
    expected = {f"tree/{name}": data for name, data in contents(tree).items()}
    assert sorted(expected) == ["tree/notes.txt", "tree/train/a/1.png", "tree/train/b/x/2.png"]
    assert contents(pack(tree, suffix)) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0.4, 0.97])
def test_a_cut_off_archive_is_told(tree: Path, pack: Callable[..., Path], suffix: str, kept: float) -> None:
    (tree / "train/a/0.bin").write_bytes(os.urandom(5000))
    archive = pack(tree, suffix)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(kept * len(data)) | 1])
    with pytest.raises(DataError, match=r"packed.*: damaged or incomplete \(.+\)\. Get it again\.$"):
        contents(archive)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
def test_a_changed_byte_is_told(tree: Path, pack: Callable[..., Path], suffix: str) -> None:
    archive = pack(tree, suffix)
    data = bytearray(archive.read_bytes())
    data[len(data) // 4] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged or incomplete"):
        contents(archive)


def add(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    data = b"data" if kind == tarfile.REGTYPE else b""
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def test_links_devices_and_names_that_lead_out_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "/etc/passwd.png")
        add(archive, "../out.png")
        add(archive, "a/../../out.png")
        add(archive, "soft.png", tarfile.SYMTYPE, "/etc/passwd")
        add(archive, "hard.png", tarfile.LNKTYPE, "/etc/passwd")
        add(archive, "pipe.png", tarfile.FIFOTYPE)
        add(archive, "disk.png", tarfile.BLKTYPE)
        add(archive, "./a/good.png")
    found = {"/".join(entry.parts): (entry.refused, entry.read and entry.read()) for entry in entries(path)}
    assert found.pop("a/good.png") == (None, b"data")
    assert found == {
        "//etc/passwd.png": ("leads out of the archive", None),
        "../out.png": ("leads out of the archive", None),
        "a/../../out.png": ("leads out of the archive", None),
        "soft.png": ("a link", None),
        "hard.png": ("a link", None),
        "pipe.png": ("a pipe", None),
        "disk.png": ("a device", None),
    }
    assert sorted(tmp_path.iterdir()) == [path]


def test_zip_members_that_lead_out_and_backslashes(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../out.png", b"1")
        archive.writestr("..\\out2.png", b"2")
        archive.writestr("C:\\out3.png", b"3")
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, b"/etc/passwd")
        archive.writestr("a\\good.png", b"4")
    found = list(entries(path))
    assert [entry.refused for entry in found] == ["leads out of the archive"] * 3 + ["a link", None]
    assert found[4].parts == ("a", "good.png")


def test_a_link_to_a_folder_above_does_not_loop(make_tree: Callable[..., Path]) -> None:
    tree = make_tree("a/1.png")
    (tree / "a" / "up").symlink_to(tree)
    (tree / "b").symlink_to(tree / "a", target_is_directory=True)  # an ordinary link is followed
    assert sorted(contents(tree)) == ["a/1.png", "b/1.png"]


def test_unknown_kind_and_absence(tmp_path: Path) -> None:
    (tmp_path / "x.rar").write_bytes(b"")
    with pytest.raises(DataError, match=r"x\.rar: not an archive of a known kind\. Known: a folder, \.zip, \.tar,"):
        list(entries(tmp_path / "x.rar"))
    with pytest.raises(DataError, match=r"y\.tar: not found\. Put it there"):
        list(entries(tmp_path / "y.tar"))


def test_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"abc")
    check_sha256(path, sha256(b"abc").hexdigest())
    with pytest.raises(DataError, match=r"x\.tar: sha256 is ba7816bf.*, but `sha256` says 0000.*get it again"):
        check_sha256(path, "0" * 64)
    with pytest.raises(DataError, match="this is a folder"):
        check_sha256(tmp_path, "0" * 64)
