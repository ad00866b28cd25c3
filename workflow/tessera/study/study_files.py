"""Where studies lie, and which files of theirs are asked for."""

import re
from collections.abc import Iterable
from pathlib import Path

from tessera.errors import StudyError, brief
from tessera.jobs import STAGES
from tessera.registry import suggest

STUDIES = "config/studies"
RESERVED = {"all", "metrics", "plots", *STAGES, *(f"all_{stage}" for stage in STAGES), "summarize_study"}


def study_files(names: Iterable[str], root: Path, shown: str) -> dict[str, Path]:
    """The files of studies, by the studies' names.

    Args:
        names: Of studies under config/studies, or paths of files.
        root: The project's folder.
        shown: Name of the configuration, for messages.

    Raises:
        StudyError: If there is no such file, if two have one name, or if one has a name that no study can have.
    """
    found: dict[str, Path] = {}
    for name in names:
        is_path = name.endswith((".yaml", ".yml"))
        path = root / name if is_path else root / STUDIES / f"{name}.yaml"
        if not is_file(path):
            known = [item.stem for item in (root / STUDIES).glob("*.yaml")]
            where = brief(shown_path(path, root))
            raise StudyError(f"{shown}: `studies`: no study '{brief(name)}' ({where}). {suggest(name, known)}")
        check_name(path.stem, shown_path(path, root))
        if path.stem in found:
            raise StudyError(
                f"{shown}: `studies`: the name '{path.stem}' is taken by {shown_path(found[path.stem], root)}: "
                "name a study once, and rename one of two files of that name"
            )
        found[path.stem] = path
    return found


def check_name(name: str, shown: str) -> None:
    """Raises StudyError where a study of this name could not be asked for."""
    if name in RESERVED:
        raise StudyError(f"{shown}: the name '{name}' is taken by the workflow itself: rename the file")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise StudyError(
            f"{shown}: a study's name is typed as a target, so it takes letters, digits and `_` only, "
            f"starting with a letter, but is '{brief(name)}': rename the file"
        )


def is_file(path: Path) -> bool:
    """Whether there is such a file; also of names that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def shown_path(path: Path, root: Path) -> str:
    """The path as the user knows it: relative to the project's folder where it lies in there."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
