"""Packs encoded images into shards: in bounded memory, whatever their number, and resumable after a kill."""

import json
import logging
import os
import time
import zlib
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tessera.data.datasets.base import ListedDataset
from tessera.data.decode import Encoded, check_image, map_in_threads
from tessera.data.packed import ENTRY, INDEX, NAMES, SHARD
from tessera.errors import DataError
from tessera.files import remove_drafts, replace_text, sha256_of

log = logging.getLogger("tessera")

SHARD_BYTES = 256 * 2**20
CHUNK = 8  # images a turn of a thread: what is held in memory is some chunks a thread
REPORT_S = 10.0  # seconds a line of the log


@dataclass
class Record:
    """What is known of a complete shard; written after it.

    Attributes:
        start, stop: Rows of the listing that it covers.
        listed: SHA-256 of their names.
        files: Name to SHA-256.
        skipped: Row and reason of each image that was passed over.
        whole: False where an error ended it before its time: the next run adds to it.
    """

    start: int
    stop: int
    listed: str
    files: dict[str, str]
    skipped: list[tuple[int, str]]
    whole: bool = True


class Packed(NamedTuple):
    """What `pack_images` made.

    Shape:
        kept: (N,) bool, whether the image of a listed row is in the shards.
    """

    kept: np.ndarray
    skipped: list[str]


def pack_images(listed: ListedDataset, state: Path, folder: Path, what: str, shard_bytes: int = SHARD_BYTES) -> Packed:
    """Writes `Shards` of every listed image, in the order of rows, each decoded once to see that it can be.

    A shard is complete when its record is there. After a kill, or an error, complete shards whose checksums are right
    and whose images are listed as before are kept, and the first that is not is made again. What is held in memory is
    a few images a thread and the names of one shard.

    Args:
        state: Folder that outlives a kill; shards are made in it.
        folder: Gets the shards when all are complete: as second names of the files, on the same file system, so
            that a kill before the dataset is published loses none.
        what: First word of the log's lines.
        shard_bytes: A shard is closed before it would be larger; only a single larger image makes one larger.

    Raises:
        DataError: If an image cannot be read or decoded and `damaged` is `refuse`, or more than `most_damaged`.
    """
    state.mkdir(parents=True, exist_ok=True)
    remove_drafts(state)
    records = _complete(listed, state, what)
    progress = _Progress(what, len(listed), _end(records))
    draft = _Draft.after(records, state, listed)
    records += _write(listed, draft, sum(len(record.skipped) for record in records), shard_bytes, progress)
    _assemble(records, state, folder)
    kept = np.ones(len(listed), dtype=bool)
    skipped = [item for record in records for item in record.skipped]
    kept[[row for row, _ in skipped]] = False
    return Packed(kept, [reason for _, reason in skipped])


def _write(
    listed: ListedDataset, draft: "_Draft", passed_over: int, shard_bytes: int, progress: "_Progress"
) -> list[Record]:
    """The shards that are missing, one after the other."""
    records = []
    row = draft.stop
    passed_over += len(draft.skipped)
    try:
        for chunk in map_in_threads(_check, listed.read(row), CHUNK, lambda image: image.held):
            for found in chunk:
                if isinstance(found, DataError):
                    passed_over += 1
                    _refuse(listed, found, passed_over, row)
                    draft.skip(listed.name(row), str(found))
                else:
                    if draft.offset and draft.offset + len(found) > shard_bytes:
                        records.append(draft.close())
                        draft = _Draft(draft.state, draft.number + 1, row)
                    draft.add(listed.name(row), found)
                row += 1
            progress.reached(row)
        if row != len(listed):
            raise DataError(f"{row} images were found, but {len(listed)} listed: did the data change? Run it again.")
        if row > draft.start:
            records.append(draft.close())
    except DataError:
        if row > draft.start:
            draft.close(whole=False)
        raise
    finally:
        draft.drop()
    return records


def _check(chunk: list[Encoded]) -> list[bytes | DataError]:
    found: list[bytes | DataError] = []
    for encoded in chunk:
        try:
            found.append(check_image(encoded))
        except DataError as error:
            found.append(error)
    return found


def _refuse(listed: ListedDataset, error: DataError, passed_over: int, row: int) -> None:
    rest = f"The next run goes on after the {row} images that are packed."
    if listed.damaged == "refuse":
        # Another setting is another artifact, with shards of its own.
        raise DataError(
            f"{error} {rest} Or set `damaged: skip`, without `strict`: it passes such files over, and starts anew."
        ) from error
    if passed_over > max(1, listed.most_damaged * len(listed)):
        raise DataError(
            f"{error} `damaged: skip` passes over one image in a hundred at most, but {passed_over} of {len(listed)} "
            f"are damaged so far. {rest}"
        ) from error


class _Draft:
    """A shard that is being written."""

    def __init__(self, state: Path, number: int, start: int) -> None:
        self.state, self.number, self.start = state, number, start
        self.offset = self.name_offset = self.covered = 0
        self.entries: list[tuple[int, ...]] = []
        self.names: list[bytes] = []  # of those in it
        self.digest: Any = sha256()  # of the shard
        self.listed: Any = sha256()  # of the names that it covers
        self.skipped: list[tuple[int, str]] = []
        self.path = state / SHARD.format(number)
        self.file = self.path.with_suffix(".draft").open("ab")

    @classmethod
    def after(cls, records: list[Record], state: Path, listed: ListedDataset) -> "_Draft":
        """The shard that comes after these, or the last of them, taken off the list, where it is not whole."""
        if not records or records[-1].whole:
            return cls(state, len(records), _end(records))
        record = records.pop()
        path = state / SHARD.format(len(records))
        path.with_suffix(".json").unlink()
        os.replace(path, path.with_suffix(".draft"))
        draft = cls(state, len(records), record.start)
        index, names = _parts(path)
        draft.entries = np.load(index, allow_pickle=False).tolist()
        draft.names = names.read_bytes().splitlines(keepends=True)
        draft.offset, draft.name_offset = draft.file.tell(), sum(len(line) for line in draft.names)
        with path.with_suffix(".draft").open("rb") as file:
            draft.digest = file_digest(file, "sha256")
        draft.skipped, draft.covered = record.skipped, record.stop - record.start
        draft.listed = _names_digest(listed, record.start, record.stop)
        return draft

    @property
    def stop(self) -> int:
        """The row that comes next."""
        return self.start + self.covered

    def add(self, name: str, data: bytes) -> None:
        line = _line(name)
        self._cover(line)
        self.entries.append((self.offset, self.name_offset, self.number, len(data), zlib.crc32(data)))
        self.names.append(line)
        self.file.write(data)
        self.digest.update(data)
        self.offset += len(data)
        self.name_offset += len(line)

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append((self.stop, reason))
        self._cover(_line(name))

    def close(self, whole: bool = True) -> Record:
        """Completes the shard; its record comes last."""
        index, names = _parts(self.path)
        names.write_bytes(b"".join(self.names))
        np.save(index, np.array(self.entries, dtype=ENTRY))
        self.file.close()
        os.replace(self.file.name, self.path)
        files = {path.name: sha256_of(path) for path in (index, names)} | {self.path.name: self.digest.hexdigest()}
        record = Record(self.start, self.stop, self.listed.hexdigest(), files, self.skipped, whole)
        replace_text(self.path.with_suffix(".json"), json.dumps(asdict(record)))
        return record

    def drop(self) -> None:
        """Removes what is not complete."""
        self.file.close()
        Path(self.file.name).unlink(missing_ok=True)

    def _cover(self, line: bytes) -> None:
        self.listed.update(line)
        self.covered += 1


def _complete(listed: ListedDataset, state: Path, what: str) -> list[Record]:
    """Records of the shards that are there and right, up to the first that is not; the others are removed."""
    records: list[Record] = []
    while (record := _read_record(listed, state, len(records), _end(records))) is not None:
        records.append(record)
        if not record.whole:
            break
    keep = {name for number, record in enumerate(records) for name in (*record.files, _json(number))}
    for path in state.iterdir():
        if path.name.startswith("images-") and path.name not in keep:
            path.unlink()
    if records:
        log.info("%s: going on after %d shards, %d images", what, len(records), _end(records))
    return records


def _read_record(listed: ListedDataset, state: Path, number: int, start: int) -> Record | None:
    path = state / _json(number)
    try:
        about = json.loads(path.read_text())
        record = Record(**{**about, "skipped": [(row, reason) for row, reason in about["skipped"]]})
        if not start == record.start < record.stop <= len(listed):
            return None
        same = _names_digest(listed, record.start, record.stop).hexdigest() == record.listed
        if same and all(sha256_of(state / name) == expected for name, expected in record.files.items()):
            return record
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: cannot be read (%s)", path, error)
        return None
    log.warning("%s: its shard is damaged, or the data are others by now; it is made again", path)
    return None


def _assemble(records: list[Record], state: Path, folder: Path) -> None:
    """One index and one list of names over all shards, and the shards beside them."""
    indices, offset = [], 0
    with (folder / NAMES).open("wb") as names:
        for number in range(len(records)):
            index_file, names_file = _parts(state / SHARD.format(number))
            index = np.load(index_file, allow_pickle=False)
            index["name"] += offset
            indices.append(index)
            offset += names.write(names_file.read_bytes())
    np.save(folder / INDEX, np.concatenate(indices))
    for number in range(len(records)):
        name = SHARD.format(number)
        try:
            os.link(state / name, folder / name)
        except OSError:  # a file system without second names
            os.replace(state / name, folder / name)


class _Progress:
    """A line every ten seconds: images, images a second, remaining time."""

    def __init__(self, what: str, number: int, done: int) -> None:
        self.what, self.number, self.first = what, number, done
        self.start = self.last = time.monotonic()

    def reached(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last < REPORT_S and done < self.number:
            return
        self.last = now
        rate = (done - self.first) / max(now - self.start, 1e-9)
        remaining = (self.number - done) / max(rate, 1e-9) / 60
        log.info("%s: %d/%d images packed, %.0f images/s, %.0f min remaining",
                 self.what, done, self.number, rate, remaining)  # fmt: skip


def _end(records: list[Record]) -> int:
    return records[-1].stop if records else 0


def _names_digest(listed: ListedDataset, start: int, stop: int) -> Any:
    digest = sha256()
    for row in range(start, stop):
        digest.update(_line(listed.name(row)))
    return digest


def _parts(shard: Path) -> tuple[Path, Path]:
    """A shard's own index and names."""
    return shard.with_suffix(".npy"), shard.with_suffix(".txt")


def _json(number: int) -> str:
    return Path(SHARD.format(number)).with_suffix(".json").name


def _line(name: str) -> bytes:
    return name.replace("\n", "\\n").encode("utf-8", "backslashreplace") + b"\n"
