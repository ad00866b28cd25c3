"""Archives, trees and annotations that mean harm: nothing leaves, nothing hangs, each is answered in a line."""

import bz2
import gzip
import io
import lzma
import os
import signal
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tessera.data import archives, decode, reading
from tessera.data.datasets import voc_form
from tessera.data.datasets.base import ListedDataset, ListedObjects, RawDataset
from tessera.data.datasets.image_folder import ImageFolder
from tessera.data.datasets.listing import unfit_archive
from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.torchvision import Cifar10Options, Stl10Options
from tessera.data.datasets.options.voc import Voc0712Options, VocFolderOptions
from tessera.data.datasets.voc_annotations import parse_annotation
from tessera.data.datasets.voc_folder import VocFolder
from tessera.data.decode import Encoded, map_in_threads
from tessera.data.prepare import check_names, prepare_dataset, tell_skipped
from tessera.data.reading import MOST_ANNOTATION, MOST_BYTES, UnfitFileError, printable, read_stream
from tessera.errors import DataError
from tessera.registry import load

GOOD = ("train/a/1.png", "train/a/2.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
TARS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
}  # fmt: skip


def png(value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError("this does not end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _nothing_is_written(tmp_path: Path) -> Iterator[None]:
    """But the archive itself, and what the test names `made`."""
    (tmp_path / "data").mkdir()
    secret = tmp_path / "data" / "secret"
    secret.write_bytes(b"secret")
    yield
    outside = {path.name for path in tmp_path.iterdir()} - {"data", "made"}
    assert not outside, outside
    assert secret.read_bytes() == b"secret"


def answer(path: Path, **options: Any) -> tuple[str, int]:
    """What is said, on one line a thing, and how many training images are read; packed and unpacked alike."""
    before = sorted(path.parent.rglob("*"))
    said, number = [], -1
    for packed in (False, True):
        reader = ImageFolder(ImageFolderOptions(path=path.name, image_size=8, packed=packed, **options))
        try:
            found = reader.read(path.parent)
            assert isinstance(found, RawDataset | ListedDataset)
            check_names(found.classes, "data")
            if isinstance(found, ListedDataset):
                for encoded in found.read(0):
                    decode.check_image(encoded)
            assert number in (-1, len(found.splits["train"]))
            number = len(found.splits["train"])
            lines = list(found.skipped)
        except DataError as error:
            lines = [str(error)]
        said.append("\n".join(lines))
        assert all(line.isprintable() and len(line) < 900 for line in lines), lines
    assert said[0] == said[1] or all("damaged or incomplete (unexpected end of data)" in words for words in said)
    assert b"secret" not in said[0].encode()
    assert sorted(path.parent.rglob("*")) == before
    return said[0], number


# --- tar archives ---


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes | None = None, **about: Any) -> bytes:
    """A member as it lies in an archive."""
    info = tarfile.TarInfo(name)
    content = (png() if kind == tarfile.REGTYPE else b"") if data is None else data
    info.type, info.size = kind, len(content)
    form = about.pop("form", tarfile.GNU_FORMAT)
    for key, value in about.items():
        setattr(info, key, value)
    return info.tobuf(form, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)


def raw(name: str, kind: bytes, size: bytes) -> bytes:
    """A header alone, which says any size."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157], block[148:156] = size, kind, b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def octal(size: int) -> bytes:
    return f"{size:011o}\0".encode() if 0 <= size < 8**11 else (size % 256**12 | 0x80 << 88).to_bytes(12)


def base256(size: int) -> bytes:
    return b"\x80" + size.to_bytes(11) if size >= 0 else b"\xff" + (256**11 + size).to_bytes(11)


def pax(**values: str) -> bytes:
    return member("train/b/9.png", form=tarfile.PAX_FORMAT, pax_headers=values)


OUT, LINK = "leads out of the archive", ": a link"
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


def write_tar(path: Path, extra: bytes, end: bytes = bytes(1024)) -> Path:
    """The good images with something between them."""
    first, *rest = (member(name) for name in GOOD)
    path.write_bytes(TARS["".join(path.suffixes)](b"".join([first, extra, *rest, end])))
    return path


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


# --- zip archives ---


Member = tuple[zipfile.ZipInfo | str, bytes]
Change = Callable[[bytearray], None]


def write_zip(path: Path, *extra: Member, change: Change | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [(name, png(3)) for name in GOOD] + list(extra):
            archive.writestr(name, data)
    if change is not None:
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)
    return path


def zipped(name: str, mode: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, method
    return info


def last(offset: int, form: str, value: int, headers: str = "cl") -> Callable[[bytearray], None]:
    """Changes a field of the last member in the directory (c), whose offset is given, and before the data (l)."""

    def change(content: bytearray) -> None:
        if "c" in headers:
            struct.pack_into(form, content, content.rindex(b"PK\1\2") + offset, value)
        if "l" in headers:
            struct.pack_into(form, content, content.rindex(b"PK\3\4") + offset - 2, value)

    return change


def end(offset: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda content: struct.pack_into(form, content, content.rindex(b"PK\5\6") + offset, value)


NINE = "train/a/9.png"
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


# --- trees ---


def make_tree(root: Path) -> Path:
    for name in GOOD:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png())
    return root


def test_what_is_no_file_in_a_tree_is_passed_over(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "data" / "tree")
    for name in ("train/a/pipe.png", "pipe"):
        os.mkfifo(tree / name)
    (tree / "train/a/zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as held:
        here = Path.cwd()
        os.chdir(tree)  # its path may be too long for a socket
        try:
            held.bind("socket.png")
        finally:
            os.chdir(here)
    said, number = answer(tree)
    assert said.splitlines() == [
        f"{tree}/pipe: a pipe",
        f"{tree}/socket.png: a socket",
        f"{tree}/train/a/pipe.png: a pipe",
        f"{tree}/train/a/zero.png: a device",
    ]
    assert number == 3


def test_a_file_that_is_too_large_is_named_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = reading.read_stream
    monkeypatch.setattr(reading, "read_stream", lambda stream, name, most: read(stream, name, min(most, 1000)))
    tree = make_tree(tmp_path / "data" / "tree")
    with (tree / "train/a/1.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    said, _ = answer(tree)
    assert said == (
        f"{tree}/train/a/1.png: larger than 1 GiB, the most that is read of such a file. Remove or replace it."
    )


@pytest.mark.parametrize("size", [0, 9, 10, 11, 10**7])
def test_no_more_is_read_than_may_be(size: int) -> None:
    for most in (10, 1 << 20, (1 << 20) + 5):
        stream = io.BytesIO(bytes(size))
        if size <= most:
            assert read_stream(stream, "x", most) == bytes(size)
        else:
            with pytest.raises(UnfitFileError, match=r"^x: larger than"):
                read_stream(stream, "x", most)
            assert stream.tell() == most + 1


def test_links_that_lead_round_end(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "data" / "tree")
    for name in ("one", "two"):  # a to b and b to a, by two ways each: 2^40 ways were there
        (tree / "train/a" / name).symlink_to(tree / "train/b")
        (tree / "train/b" / name).symlink_to(tree / "train/a")
    (tree / "train/a/root").symlink_to("/")
    said, number = answer(tree)
    assert (said, number) == ("", 3 + 2 * 1 + 2 * 2)


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path / "data" / "tree")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    reader = ImageFolder(ImageFolderOptions(path="tree", image_size=8))
    with pytest.raises(DataError, match=r"tree/test/b: cannot be listed \(Permission denied\)\. Make it readable"):
        reader.read(tmp_path / "data")


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (Cifar10Options(), "cifar-10-batches-py/data_batch_1"),
        (Cifar10Options(), "cifar-10-python.tar.gz"),
        (Stl10Options(), "stl10_binary/train_X.bin"),
        (Voc0712Options(), "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pipes_in_the_place_of_known_files(options: DatasetOptions, file: str, tmp_path: Path) -> None:
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(DataError) as raised:
        load("dataset", options.name)(options).read(tmp_path / "data")
    assert str(raised.value) == f"{path}: a pipe, not a file. Remove or replace it."


# --- annotations ---

BOX = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
ONE = f"<annotation><object><name>{{}}</name>{BOX}</object></annotation>"
LAUGHS = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
ANNOTATIONS = {
    "entities": f'<!DOCTYPE x [<!ENTITY e0 "ha">{LAUGHS}]>' + ONE.format("&e9;"),
    "one entity": '<!DOCTYPE x [<!ENTITY e "cat">]>' + ONE.format("&e;"),
    "a file's content": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + ONE.format("&e;"),
    "a file of declarations": '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + ONE.format("cat"),
    "entities of parameters": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://localhost:1/"> %p;]>' + ONE.format("cat"),
    "attributes by default": '<!DOCTYPE x [<!ATTLIST object a CDATA "b">]>' + ONE.format("cat"),
    "no end": "<annotation>" * 20_000,
    "another root": f"<{'x' * 10_000}/>",
    "NUL": ONE.format("c\0t"),
    "an unknown encoding": '<?xml version="1.0" encoding="x-none"?>' + ONE.format("cat"),
    "an unknown entity": ONE.format("&e;"),
    "nothing": "",
}


@pytest.mark.parametrize("what", ANNOTATIONS)
def test_annotations_that_are_refused(what: str) -> None:
    with pytest.raises(ValueError, match=r"^it ") as raised:
        parse_annotation(ANNOTATIONS[what].encode())
    assert len(str(raised.value)) < 300
    assert "root:" not in str(raised.value)
    assert str(raised.value).isprintable()


def test_annotations_that_are_read() -> None:
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>'
    for text in (ONE.format(f"cat{include}"), f"<?x y?>{ONE.format('cat')}<!-- -->"):
        assert [marked.name for marked in parse_annotation(text.encode()).objects] == ["cat"]
    deep = f"<annotation>{'<x>' * 50_000}{'</x>' * 50_000}</annotation>"
    assert parse_annotation(deep.encode()).objects == []


def voc(root: Path) -> Path:
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for name in "abc":
        (root / f"Annotations/{name}.xml").write_text(ONE.format("cat"))
        (root / f"JPEGImages/{name}.png").write_bytes(png())
    return root


@pytest.mark.parametrize("damaged", ["refuse", "skip"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_set_with_boxes(damaged: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large, or no file, is refused by name, or passed over with it."""
    tree = voc(tmp_path / "data" / "tree")
    monkeypatch.setattr(voc_form, "MOST_ANNOTATION", 1000)
    (tree / "Annotations/c.xml").write_text(ONE.format("cat") + " " * 1000)
    path, name = tree, f"{tree}/Annotations/c.xml"
    if packed:
        path = tmp_path / "data" / "x.zip"
        name = f"{path}: `Annotations/c.xml`"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(tree.rglob("*.*")):
                archive.write(file, file.relative_to(tree))
    else:
        os.mkfifo(tree / "JPEGImages/d.png")
    reader = VocFolder(VocFolderOptions.model_validate({"path": path.name, "image_size": 32, "damaged": damaged}))
    if damaged == "refuse":
        with pytest.raises(DataError, match=r"d\.png: a pipe\. |c\.xml`: larger than "):
            reader.read(path.parent)
        return
    found = reader.read(path.parent)
    assert isinstance(found, ListedObjects)
    lines = found.images.skipped
    assert any(line.startswith(f"{name}: larger than ") for line in lines), lines
    assert len(found.images) == 2
    assert MOST_ANNOTATION == 2**24


# --- many things, and large ones ---


def test_what_is_passed_over_a_thousand_times_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    tell_skipped([f"x/{i}.txt: not an image" for i in range(200_000)])
    assert len(caplog.messages) == 6
    assert caplog.messages[0] == "passed over x/0.txt: not an image"
    assert caplog.messages[5] == "passed over 199995 more: not an image"
    caplog.clear()
    lines = [f"{i}.xml: object {i} (`cat`) has no area (xmin {i}). Correct or remove it." for i in range(99)]
    tell_skipped([*lines, "x.png: a link"])
    assert caplog.messages[5:] == [
        "passed over x.png: a link",
        "passed over 94 more: object … … has no area …. Correct or remove it.",
    ]
    caplog.clear()
    tell_skipped([f"x: reason {chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)])
    assert len(caplog.messages) == 36
    assert caplog.messages[-1] == f"passed over {26 * 26 - 35} more for other reasons"


def test_images_that_wait_in_memory_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of large members is read no further ahead than memory should hold."""
    monkeypatch.setattr(decode.torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(decode, "HELD", 4000)
    monkeypatch.setattr(decode, "CHUNK_HELD", 1000)
    taken, ahead = [0], []

    def items() -> Iterator[Encoded]:
        for number in range(300):
            taken[0] = number
            yield Encoded(str(number), lambda: b"", 400)

    for done, chunk in enumerate(map_in_threads(list, items(), 64, lambda image: image.held)):
        assert len(chunk) <= 3
        ahead.append(taken[0] - 3 * done)
    assert max(ahead) <= 15


def test_a_name_is_one_line_whatever_it_holds() -> None:
    assert printable("a/é 猫.png") == "a/é 猫.png"
    assert printable("\n\x1b\udcff\u2028") == r"\n\x1b\udcff\u2028"
    assert len(printable("x" * 10**6)) == 201


def test_names_of_classes_are_looked_at_in_every_dataset(tmp_path: Path) -> None:
    write_tar(tmp_path / "data" / "x.tar", member("train/c\nd/9.png"))
    (tmp_path / "made").mkdir()
    options = ImageFolderOptions(path="x.tar", image_size=8)
    with pytest.raises(DataError, match=r"^x: the class's name `c\\nd` is not printable\. Rename it\.$"):
        prepare_dataset(options, tmp_path / "data", tmp_path / "made")


@pytest.mark.parametrize("value", [0, 7, 255])
def test_images_of_one_colour_have_a_deviation_to_divide_by(value: int, tmp_path: Path) -> None:
    from tessera.data.store import save_dataset

    (tmp_path / "made").mkdir()
    images, labels = np.full((4, 8, 8, 3), value, np.uint8), np.zeros(4, np.int64)
    save_dataset(tmp_path / "made", images, labels, {"train": np.arange(2), "test": np.arange(2, 4)}, ["a"])
    import torch

    from tessera.data.store import load_dataset

    dataset = load_dataset(tmp_path / "made", torch.device("cpu"))
    assert dataset.mean == pytest.approx([value / 255] * 3)
    assert min(dataset.std) > 0
    mean, std = (torch.tensor(values)[:, None, None] for values in dataset.normalization)
    assert ((dataset.train.images[torch.arange(2)] / 255 - mean) / std).abs().max() < 1e-2
