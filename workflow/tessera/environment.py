"""The environment of jobs: this very Python and package, whether or not a virtual environment is active."""

import os
import sys
from pathlib import Path


def prefer_this_python() -> None:
    """Makes `python` of every process that this one starts the present one, with this package importable."""
    package = str(Path(__file__).parent.parent)
    for name, first in (("PATH", str(Path(sys.executable).parent)), ("PYTHONPATH", package)):
        rest = [folder for folder in os.environ.get(name, "").split(os.pathsep) if folder and folder != first]
        os.environ[name] = os.pathsep.join([first, *rest])
