"""The environment of jobs: this very Python and package, whether or not a virtual environment is active."""

import os
import shlex
import sys
from pathlib import Path

OWN = Path(".snakemake", "bin")  # of a `python`, where the interpreter's folder has none


def prefer_this_python() -> None:
    """Makes `python` of every process that this one starts the present one, with this package importable."""
    package, folder = str(Path(__file__).parent.parent), Path(sys.executable).parent
    if not (folder / "python").exists():  # such as Debian's python3
        folder = _folder_with_python()
    for name, first in (("PATH", str(folder)), ("PYTHONPATH", package)):
        rest = [folder for folder in os.environ.get(name, "").split(os.pathsep) if folder and folder != first]
        os.environ[name] = os.pathsep.join([first, *rest])


def _folder_with_python() -> Path:
    """Of a script, since a link to an interpreter loses the virtual environment that it is of."""
    folder = OWN.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"python-{os.getpid()}"
    draft.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    draft.chmod(0o755)
    draft.replace(folder / "python")
    return folder
