"""The code of a user's own parts: what of it belongs to the keys of the jobs that use them. Never imports torch itself.

A change of Tessera's own code changes no key: versions of stages do that, by hand. Whoever writes a part of their own
has no stage to bump, so the code itself is in the key.
"""

import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tessera.errors import StudyError
from tessera.registry import import_target

HERE = __name__.partition(".")[0]


def own_code(settings: Any, known: dict[str, str], shown: str) -> dict[str, str]:
    """What stands in a key for the code of the user's own parts that settings name, wherever they name them.

    Args:
        settings: Resolved settings of a job, as of JSON.
        known: Of parts that were looked at already; those of these settings are added.
        shown: File, row and column, for messages.

    Returns:
        Part to its version, in order of their names; nothing of built-in parts.

    Raises:
        StudyError: If the code of one cannot be read.
    """
    named = set(_own_parts(settings))
    for name in named - known.keys():
        try:
            known[name] = version_of(name)
        except StudyError as error:
            raise StudyError(f"{shown}: {error}") from error
    return {name: known[name] for name in sorted(named) if known[name]}


def version_of(name: str) -> str:
    """Of one part, named as `package.module:Class`: its class attribute `version`, or else a hash of its code.

    The code is every source and extension file of the top-level package that the class stands in, or of the module
    where it is in no package; and of the one by which it is named, if that is another. It is empty for a class of
    Tessera itself.

    Raises:
        StudyError: If `version` is no word or number, or if the code cannot be read.
    """
    cls = import_target(name)
    version = getattr(cls, "version", None)
    if version is not None:
        if isinstance(version, bool) or not isinstance(version, str | int | float):
            raise StudyError(
                f"`{name}`: its class attribute `version` should be a word or a number, but is {version!r}"
            )
        return f"version {version}"
    roots = {name.partition(":")[0].partition(".")[0], str(cls.__module__).partition(".")[0]} - {HERE}
    digest = sha256()
    try:
        for root in sorted(roots):
            for shown, path in _files(root):
                digest.update(shown.encode() + b"\0" + path.read_bytes() + b"\0")
    except OSError as error:
        raise StudyError(
            f"`{name}`: its code, which is part of the key, cannot be read ({error}): give the class an attribute "
            "`version`"
        ) from None
    return digest.hexdigest()[:12] if roots else ""


def refuse_other_code(planned: Mapping[str, str]) -> None:
    """Makes sure that the code of own parts is what a job was planned with: its key says so.

    Raises:
        StudyError: If it has changed since.
    """
    for name, version in planned.items():
        if version_of(name) != version:
            raise StudyError(f"the code of `{name}` has changed since this job was planned: run snakemake again")


def _own_parts(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        name = settings.get("name")
        if isinstance(name, str) and ":" in name:
            yield name
        settings = settings.values()
    elif not isinstance(settings, list | tuple):
        return
    for item in settings:
        yield from _own_parts(item)


def _files(root: str) -> Iterator[tuple[str, Path]]:
    """Files of a top-level package or module: how they are called within it, and where they lie."""
    module = sys.modules.get(root)
    spec = getattr(module, "__spec__", None) or (find_spec(root) if module is None else None)
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.name.endswith((*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)) and path.is_file():
                yield path.relative_to(folder).as_posix(), path
    if not folders:
        file = (spec and spec.origin) or getattr(module, "__file__", None)
        if file is None:
            raise FileNotFoundError(f"no file of {root}")
        yield Path(file).name, Path(file)
