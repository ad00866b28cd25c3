"""Every benchmark runs as its page says: the way there, in small, for what it prints is a machine's."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.options import environment_with

FOLDER = Path(__file__).parents[2] / "benchmarks"

SMALL = {
    "balancing": "--encoder resnet8 --batch 8 --rounds 1 --balancings pcgrad",
    "compiled": "--encoder resnet8 --batch 8 --passes 1 --rounds 1",
    "dense": "--width eighth --images 8 --batch 4 --rounds 1",
    "fsp_loss": "",
    "preparation": "--images 100 --image-size 32 --batches 2",
    "pretext_batches": "--encoder resnet8 --batch-size 8 --rounds 1 --tasks jigsaw simclr",
    "pretraining": "--encoder resnet8 --batch 8 --steps 1 --rounds 1 --images 256",
    "sharing": "--encoder resnet8 --image-size 32 --rounds 1 --ways mtan",
    "starts": "--rounds 1 --jobs 1",
    "steps": "--encoder resnet8 --steps 1 --rounds 1",
    "threads": "--encoder resnet8 --batch 8 --steps 1 --rounds 1",
    "transfer": "--teacher resnet8 --batch 8 --steps 1 --rounds 1",
}


def test_each_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == SMALL.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_it_runs(name: str, tmp_path: Path) -> None:
    if name == "compiled" and not any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++")):
        pytest.skip("there is no C++ compiler here")
    environment = {**environment_with(FOLDER.parent / "workflow"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *SMALL[name].split()],
        cwd=FOLDER.parent, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert any(letter.isdigit() for letter in done.stdout)
