"""`artifact.json`: what an artifact says of itself, and whether that is so. Never imports torch."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from tessera.errors import ArtifactError
from tessera.files import sha256_of
from tessera.jobs import KINDS, key_of

MANIFEST = "artifact.json"
CHECKED_BYTES = 64 * 2**20  # larger inputs are checked by size alone when they are read
PRECISIONS = ("auto", "float32", "bfloat16")  # which was asked for stands in no manifest, only in the key


class DamagedError(ArtifactError):
    """An artifact that is there, and is not what its manifest and its place say."""


class File(BaseModel):
    """One file of an artifact: size, bytes, and SHA-256 in hexadecimal digits."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What of `artifact.json` is relied upon; it says more, for people and trackers.

    Attributes:
        kind: The stage.
        name: Of the folder.
        files: Name within the folder, with `/`, to what it is. Other files of the folder are no part of the artifact.
    """

    kind: str
    name: str
    key: str
    version: int
    trial: int | None
    settings: dict[str, Any]
    inputs: dict[str, str]
    own_code: dict[str, str] = {}  # of artifacts that are older than this field, too
    files: dict[str, File] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> "Manifest":
        if self.kind not in KINDS:
            raise ValueError(f"there is no stage {self.kind!r}")
        for name in self.files:
            if not is_inside(name):
                raise ValueError(f"{name!r} is no name of a file in its folder")
        if self.name.rpartition("-")[2] != self.key:
            raise ValueError(f"the name {self.name!r} does not end with the key {self.key!r}")
        # So that neither another artifact under this name nor other settings can pass for it.
        content = self.kind, self.version, self.trial, self.settings, self.inputs
        if self.key not in {key_of(*content, precision, self.own_code) for precision in PRECISIONS}:
            raise ValueError(f"the key {self.key!r} is not that of its settings and inputs")
        return self


def is_inside(name: str) -> bool:
    """Whether a name is one of a file in a folder, or in a folder of it, and not of its manifest."""
    path = PurePosixPath(name)
    absolute = path.is_absolute() or not path.parts
    return name == str(path) != MANIFEST and not absolute and ".." not in path.parts and "\0" not in name


def inspect(folder: Path, whole: bool = False, place: Path | None = None) -> Manifest:
    """Compares an artifact with its manifest, and that with the place in which it lies.

    Args:
        whole: Also compute checksums of files above 64 MB, whose size alone is checked otherwise.
        place: Where it should lie: `<folder of the stage>/<name>`. None: where it does.

    Raises:
        DamagedError: If it is not what it should be.
        ArtifactError: If it is missing, or cannot be read.
    """
    manifest = read_manifest(folder, place or folder)
    check(folder, manifest, whole)
    return manifest


def read_manifest(folder: Path, place: Path) -> Manifest:
    """What `artifact.json` says of the artifact that should lie in this place.

    Raises:
        DamagedError: If it is no manifest, or that of another artifact.
        ArtifactError: If it is missing, or cannot be read.
    """
    try:
        manifest = parse_manifest((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{folder}: no {MANIFEST}, so it is not complete. Run snakemake again.") from None
    except (ValueError, IsADirectoryError) as error:
        raise DamagedError(f"{folder}: {MANIFEST} cannot be read ({error})") from None
    except OSError as error:  # rights, or the disk: to move the artifact would not help
        raise ArtifactError(f"{folder}: {MANIFEST} cannot be read ({error.strerror})") from None
    if (manifest.name, KINDS[manifest.kind].folder) != (place.name, place.parent.name):
        where = f"{KINDS[manifest.kind].folder}/{manifest.name}"
        raise DamagedError(f"{place}: {MANIFEST} is that of another artifact, {where}")
    return manifest


def parse_manifest(content: bytes) -> Manifest:
    """A manifest from its text.

    Raises:
        ValueError: If it is none; in a line.
    """
    try:
        return Manifest.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(word) for word in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    except RecursionError:
        raise ValueError("too many brackets") from None


def check(folder: Path, manifest: Manifest, whole: bool) -> None:
    """Compares an artifact's files with what its manifest says of them.

    Args:
        whole: Also compute checksums of files above 64 MB, whose size alone is checked otherwise.

    Raises:
        DamagedError: If one is missing, or its size or checksum differs.
        ArtifactError: If one cannot be read.
    """
    for name, stated in manifest.files.items():
        path = folder / name
        try:
            if not path.is_file():
                raise DamagedError(f"{folder}: {name} is missing")
            if (size := path.stat().st_size) != stated.bytes:
                raise DamagedError(f"{folder}: {name} has {size} bytes, but should have {stated.bytes}")
            if (whole or stated.bytes < CHECKED_BYTES) and sha256_of(path) != stated.sha256:
                raise DamagedError(f"{folder}: {name} does not match its checksum (damaged?)")
        except FileNotFoundError:  # it goes while we look
            raise DamagedError(f"{folder}: {name} is missing") from None
        except OSError as error:
            raise ArtifactError(f"{folder}: {name} cannot be read ({error.strerror})") from None
