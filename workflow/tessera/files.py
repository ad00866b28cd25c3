"""Writes files so that a reader, or a kill, finds the old one or the new one, never a half; and their checksums."""

import os
from hashlib import file_digest
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Puts a new file in the place of the old one, in one step.

    The old file may be a link into a cache: it is replaced, never written through.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """The same, of any content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
