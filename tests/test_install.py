"""`make environment`: which builds of PyTorch are asked for, and what happens where they cannot be had."""

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parent.parent
UV = """#!{python}
import json, sys, time
from pathlib import Path
words = sys.argv[1:]
with Path("{journal}").open("a") as file:
    file.write(json.dumps(words) + "\\n")
if "--requirement" in words:
    Path("{lock}").write_text(Path(words[words.index("--requirement") + 1]).read_text())
if "--dry-run" in words:
    {probe}
"""


CALLED = {
    "PIL": "pillow",
    "matplotlib": "matplotlib-base",
    "sklearn": "scikit-learn",
    "torch": "pytorch",
    "yaml": "pyyaml",
}
# Of what is launched by hand; of extras; and what pydantic and jinja2 bring.
NOT_IN_JOBS = {"rich", "timm", "pydantic_core", "markupsafe"}


def test_conda_has_what_jobs_import() -> None:
    imported = set[str]()
    for path in (ROOT / "workflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    environment = yaml.safe_load((ROOT / "envs" / "tessera.yaml").read_text())["dependencies"]
    listed = [word for each in environment for word in (each["pip"] if isinstance(each, dict) else [each])]
    names = {re.match(r"[\w-]+", word)[0] for word in listed}  # type: ignore[index]
    own = imported - sys.stdlib_module_names - NOT_IN_JOBS - {"tessera"}
    assert {CALLED.get(name, name) for name in own} == names - {"python", "pip"}


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "envs" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(
    install: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, backend: str, probe: str = "pass"
) -> tuple[str, list[str], str]:
    """Which builds were taken, the commands of a stand-in of uv in their order, and its last file of requirements."""
    uv, journal, lock = folder / "uv", folder / "journal", folder / "lock"
    uv.write_text(UV.format(python=sys.executable, journal=journal, lock=lock, probe=probe))
    uv.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    taken = install.with_uv(backend)
    commands = [" ".join(word.strip('",[]') for word in line.split()) for line in journal.read_text().splitlines()]
    return taken, commands, lock.read_text()


def test_the_lock_without_pytorch_s_builds_is_a_lock_of_all_else(install: ModuleType) -> None:
    lock = install.LOCK.read_text()
    rest, taken = install.split(lock)
    assert {"torch", "torchvision", "triton"} <= taken.keys()
    assert all(name in ("torch", "torchvision", "triton") or name.startswith(("nvidia-", "cuda-")) for name in taken)
    assert not [line for line in rest.splitlines() if line.startswith(("nvidia", "cuda", "triton", "torch=", "torchv"))]
    names = [line.partition("==")[0] for line in rest.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert {"numpy", "torchmetrics", "sympy", "snakemake"} <= set(names)
    assert rest.count("--hash=") > 1000
    assert sum("==" in line and not line.startswith((" ", "#")) for line in lock.splitlines()) == len(names) + len(
        taken
    )


def test_small_builds_come_beside_the_lock_s_rest(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, commands, lock = run(install, tmp_path, monkeypatch, "cpu")
    version = install.split(install.LOCK.read_text())[1]["torch"]
    assert taken == "cpu"
    assert len(commands) == 4  # the probe, the rest, what the other builds left, the builds
    assert "--dry-run" in commands[0]
    assert "--torch-backend cpu" in commands[0]
    assert "--no-deps --requirement" in commands[1]
    assert "torch-backend" not in commands[1]
    assert "uninstall" in commands[2]
    assert "nvidia-cublas" in commands[2]
    assert f"--no-deps --torch-backend cpu torch=={version} torchvision==" in commands[3]
    assert "\ntorch==" not in lock
    assert all("--compile-bytecode" in commands[index] for index in (1, 3))


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("sys.exit('error: no such wheel\\n  Caused by: name or service not known')", "name or service not known"),
        ("time.sleep(60)", "no answer in 1 s"),
    ],
)
def test_where_they_cannot_be_had_a_line_says_so_and_the_lock_s_are_taken(
    install: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    probe: str,
    reason: str,
) -> None:
    monkeypatch.setattr(install, "PROBE_S", 1)
    taken, commands, lock = run(install, tmp_path, monkeypatch, "cpu", probe)
    assert taken == "default"
    (told,) = capsys.readouterr().out.splitlines()
    assert told.startswith("note: TORCH=cpu: ")
    assert reason in told
    assert lock == install.LOCK.read_text()
    assert "torch-backend" not in commands[-1]


def test_an_unknown_backend_ends_it(install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="invalid value 'gpu'"):
        run(install, tmp_path, monkeypatch, "gpu", """sys.exit("error: invalid value 'gpu' for '--torch-backend'")""")


def test_the_lock_s_builds_are_the_default(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, commands, lock = run(install, tmp_path, monkeypatch, install.DEFAULT)
    assert (taken, len(commands), lock) == ("default", 1, install.LOCK.read_text())
