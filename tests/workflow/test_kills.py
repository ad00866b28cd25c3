"""Many kills at moments that a seed draws: of a job, of Snakemake, of both together. Nothing is lost or made twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from payloads import payloads
from tessera.study.files import read_yaml
from tessera.study.plan import make_plan

Run = Callable[..., subprocess.CompletedProcess[str]]

KILLS = 50
# Every kind of training, each a second or two long, so that most kills find several at work.
STUDY = """
title: Every kind of training
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: shades, image_size: 32}
  source: {encoder: resnet8, tasks: [jigsaw, reconstruction], method: tte, epochs: 4, iterations: 6}
  target: {network: reduced_alexnet, protocol: classification, epochs: 4, first_stage_epochs: 2, iterations: 6}
grid:
  rows:
    - {label: soft targets, transfer: {method: soft_targets, clusters: 4}}
    - {label: FSP, source.method: equal, transfer: {method: fsp, calibration_images: 16}}
    - {label: CETL, source.method: msvl, transfer.method: cetl}
    - {label: fine-tuned, source.method: single, source.tasks: [reconstruction], transfer.method: fine_tune}
    - {label: probed, target.protocol: linear_probe}
    - {label: clustered, target.protocol: clustering}
    - {label: nothing, transfer.method: none}
"""


@pytest.fixture
def study(project: Path) -> Path:
    (project / "config" / "studies" / "tiny.yaml").write_text(STUDY)
    return project


class Command:
    """`snakemake`, in a session of its own."""

    def __init__(self, project: Path, environment: dict[str, str]) -> None:
        self.project, self.output = project, project / "run.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "snakemake"), "--cores", "2"],
                cwd=project,
                env=environment,
                start_new_session=True,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends by itself."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def kill(self, whom: str, choose: Callable[[list[int]], int]) -> bool:
        """Whether there was one to kill."""
        if whom == "job":
            if not (pids := self.jobs()):
                return False
            with suppress(ProcessLookupError):
                os.kill(choose(pids), signal.SIGKILL)
            return True
        with suppress(ProcessLookupError):
            (os.killpg if whom == "group" else os.kill)(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return True

    def jobs(self) -> list[int]:
        """Processes of jobs that are at work, also those that an earlier command left."""
        found = []
        for path in sorted(self.project.glob("resume/*/*/.pid")):
            with suppress(OSError, ValueError):
                pid = int(path.read_text())
                if b"workflow/scripts/" in Path(f"/proc/{pid}/cmdline").read_bytes():  # numbers are used again
                    found.append(pid)
        return found


def logs(project: Path) -> dict[str, str]:
    """What the last process of each job has said, without what it repeats of those before."""
    found = {}
    for path in project.glob("logs/*/*.log"):
        lines = path.read_text(errors="replace").splitlines(keepends=True)
        found[str(path.relative_to(project))] = "".join(line for line in lines if not line.startswith("| "))
    return found


def repeated(before: str, after: str) -> int:
    """Epochs that a log says were done, and that were done again: by the words of the process that went on."""
    new = after.removeprefix(before)
    count = 0
    for what, last in dict(re.findall(r"([\w ]+): epoch (\d+)/\d+,", before)).items():
        gone_on = re.search(rf"{re.escape(what)}: (?:going on after epoch (\d+)|\d+ epochs)", new)
        if gone_on is not None:
            count += max(0, int(last) - int(gone_on[1] or 0))
    return count


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0])
def test_fifty_kills_lose_nothing(run: Run, study: Path, environment: Callable[..., dict[str, str]], seed: int) -> None:
    run("snakemake", "--cores", "2", at=study)
    undisturbed = payloads(study)
    plan = make_plan(read_yaml(study / "config" / "config.yaml", "config"), study)
    assert {str(Path(name).parent) for name in undisturbed} >= set(plan.jobs)
    table = (study / "results" / "tiny" / "table.csv").read_bytes()

    drawn = random.Random(seed)
    kills = again = 0
    while kills < KILLS:
        for made in ("artifacts", "resume", "results", "logs"):
            shutil.rmtree(study / made, ignore_errors=True)
        before: dict[str, str] = {}
        while True:
            command = Command(study, environment())
            while not command.ends_within(drawn.uniform(1.0, 8.0) if kills < KILLS else 600.0):
                whom = drawn.choice(["job", "snakemake", "group"])
                kills += command.kill(whom, drawn.choice)
            said = logs(study)
            again += sum(repeated(before[name], text) for name, text in said.items() if name in before)
            before = said
            if command.process.returncode == 0:
                break
        # The last command needed no hand, and made all that the undisturbed one did.
        assert "Traceback" not in command.output.read_text()
        assert payloads(study) == undisturbed
        assert (study / "results" / "tiny" / "table.csv").read_bytes() == table
        assert not [*study.glob("**/*.draft"), *study.glob("resume/*/*/state")]
    assert again == 0
