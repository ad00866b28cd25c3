"""Which `python` jobs are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tessera import environment


def test_an_interpreter_without_a_python_beside_it_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as Debian's, which is `python3` alone."""
    folder = tmp_path / "an interpreter's"
    folder.mkdir()
    alone = folder / "python3"
    alone.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    alone.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "executable", str(alone))
    environment.prefer_this_python()
    found = shutil.which("python")
    assert found == str(tmp_path / ".snakemake" / "bin" / "python")
    told = subprocess.run(["python", "-c", "import tessera; print('a word', tessera.__name__)"], capture_output=True)
    assert told.stdout == b"a word tessera\n", told.stderr
