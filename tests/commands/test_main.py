"""`tessera`, and `python -m tessera`."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tessera.__main__ import COMMANDS, main

REPOSITORY = Path(__file__).parents[2]


def test_the_script_is_the_module() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"tessera": "tessera.__main__:main"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tessera {metadata.version('tessera')}\n"


@pytest.mark.parametrize("command", ["plan", "why", "watch", "sync", "commit", "prune"])
def test_outside_a_project_it_says_what_to_do(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command]) == 1
    here = f"error: {tmp_path} is no project of Tessera: it has no config/config.yaml. "
    assert capsys.readouterr().err == (
        f"{here}Change to the folder of your project, which holds config/config.yaml, and try again.\n"
    )
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").touch()
    monkeypatch.chdir(tmp_path / "config")
    assert main([command]) == 1
    assert f"Change to {tmp_path}, and try again." in capsys.readouterr().err


@pytest.mark.parametrize("words", [["plan", "--jobs"], ["why"], ["watch", "--once"], ["--help"], ["finish"]])
def test_a_reader_may_leave(words: list[str], edited: Any) -> None:
    """As `| head` does: nothing is complained of, and what runs goes on to its end."""
    edited.config["tracking"] = {"mlflow": {"enabled": False}, "dvc": {"enabled": False}}
    edited.write()
    command = [sys.executable, "-m", "tessera", *words]
    environment = {"PYTHONPATH": str(REPOSITORY / "workflow"), "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (errors, process.wait()) == (b"", 0)


def test_no_command_imports_torch() -> None:
    code = (
        "import sys; import tessera.__main__; assert not {'torch', 'mlflow', 'scipy'} & sys.modules.keys(), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(REPOSITORY / "workflow")}, check=True)


def test_every_command_is_told() -> None:
    assert all(module.HELP and module.run.__doc__ for module in COMMANDS.values())
