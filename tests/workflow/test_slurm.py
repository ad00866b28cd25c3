"""A study on a real SLURM of one node with make-believe GPUs: what it asks for, and what ends of jobs cost."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from payloads import payloads

Environment = Callable[..., dict[str, str]]

HERE = Path(__file__).parent / "slurm"
# Debian's names: apt-get install slurm-wlm munge
DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "srun", "scancel", "squeue", "scontrol", "sinfo", "sacct")
PLUGIN = "snakemake_executor_plugin_slurm"
STUDY = """
title: Does a cluster give what this machine gives?
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: shades, image_size: 32}
  source: {encoder: resnet8, method: single, tasks: [reconstruction], epochs: 30, iterations: 4}
  target: {protocol: knn}
"""
TRAINING = "pretrain_source"
# No job looks 40 s for one that takes five.
PACE = ("--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "10")


def missing() -> str:
    """What this machine lacks for a SLURM of its own, in a word."""
    if os.geteuid() != 0:
        return "a SLURM of its own needs root"
    if lacking := [name for name in (*DAEMONS, *COMMANDS) if found(name) is None]:
        return f"SLURM is not installed: no {', '.join(lacking)} (slurm-wlm and munge of Debian)"
    return "" if find_spec(PLUGIN) else "the extra `slurm` is not installed"


def found(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.skipif(bool(missing()), reason=missing())]


class Slurm:
    """A controller and a node in a folder, on free ports; nothing outside the folder is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"

    def start(self) -> None:
        """Returns when the node is idle."""
        for name in ("bin", "dev", "log", "run", "spool", "state"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)  # munged wants to be reached, and refuses folders that others may write to
        (self.folder / "log").chmod(0o700)
        for index in range(2):
            os.mknod(self.folder / "dev" / f"nvidia{index}", 0o20666, os.makedev(1, 3))  # like /dev/null
        host = socket.gethostname().partition(".")[0]
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            ports = {"controller_port": one.getsockname()[1], "node_port": other.getsockname()[1]}
        for name in ("slurm.conf", "gres.conf"):
            text = (HERE / name).read_text().format(folder=self.folder, host=host, user="root", **ports)
            (self.folder / name).write_text(text)
        # Jobs lose SLURM_CONF, but not PATH.
        for name in COMMANDS:
            wrapper = self.bin / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {found(name)} "$@"\n')
            wrapper.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        run = self.folder / "run"
        self._daemon(
            *(
                "munged",
                "--force",
                f"--key-file={key}",
                f"--socket={run}/munge.socket",
                f"--seed-file={run}/munge.seed",
            ),
            *(f"--pid-file={run}/munged.pid", f"--log-file={self.folder}/log/munged.log"),
        )
        self._daemon("slurmctld", "-c", "-f", f"{self.folder}/slurm.conf")
        self._daemon("slurmd", "-f", f"{self.folder}/slurm.conf", "-N", host)
        wait_for(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), "an idle node", 60)

    def stop(self) -> None:
        """Cancels what runs, and ends the daemons."""
        self.ask("scancel", "--user=root")
        with suppress(AssertionError):
            wait_for(lambda: not self.running(), "the end of all jobs", 30)
        for name in reversed(DAEMONS):
            with suppress(OSError, ValueError):
                os.kill(int((self.folder / "run" / f"{name}.pid").read_text()), signal.SIGTERM)

    def ask(self, *words: str) -> str:
        """What a command of SLURM says."""
        done = subprocess.run([str(self.bin / words[0]), *words[1:]], capture_output=True, text=True, timeout=60)
        return done.stdout

    def running(self) -> list[str]:
        """Numbers of the jobs that wait, run or end."""
        states = "--states=PENDING,RUNNING,COMPLETING"
        return self.ask("squeue", "-h", "-o", "%i", states).split()

    def jobs(self, rule: str) -> list[dict[str, str]]:
        """What SLURM knows of the jobs of a rule, in their order."""
        told = [dict(re.findall(r"(\w+)=(\S*)", block)) for block in self.ask("scontrol", "show", "job").split("\n\n")]
        ours = [job for job in told if job.get("Comment", "").startswith(f"rule_{rule}_")]
        return sorted(ours, key=lambda job: int(job["JobId"]))

    def _daemon(self, name: str, *options: str) -> None:
        environment = {**os.environ, "SLURM_CONF": f"{self.folder}/slurm.conf"}
        done = subprocess.run([str(found(name)), *options], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


class Command:
    """`snakemake` on the login node, in a session of its own."""

    def __init__(self, project: Path, environment: dict[str, str], *words: str) -> None:
        self.project, self.output = project, project / "run.txt"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "snakemake"), *words],
                cwd=project,
                env=environment,
                start_new_session=True,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> None:
        """Ends it, and what it started on this machine."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        return self.output.read_text()

    def ends(self, code: int) -> str:
        """What it said until it ended."""
        assert self.process.wait(300) == code, self.said
        return self.said

    def hold_training(self, after: int) -> int:
        """Process of the training, stopped as it has done so many epochs: it goes on, or ends, when SLURM ends it."""
        log = self.training_log()
        last = f": epoch {after}/"
        wait_for(lambda: last in read(log) or self.process.poll() is not None, f"epoch {after}", 120)
        assert self.process.poll() is None, self.said
        (holder,) = self.project.glob("resume/source/*/.pid")
        pid = int(holder.read_text())
        os.kill(pid, signal.SIGSTOP)
        return pid

    def training_log(self) -> Path:
        wait_for(lambda: [*self.project.glob("logs/source/*.log")], "the training's log", 120)
        (log,) = self.project.glob("logs/source/*.log")
        return log


def read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def minutes(job: dict[str, str]) -> int:
    """The time limit of a job: hours:minutes:seconds."""
    hours, minutes, _ = job["TimeLimit"].split(":")
    return 60 * int(hours) + int(minutes)


def wait_for(is_so: Callable[[], object], what: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"no {what} in {seconds} s"
        time.sleep(0.05)


def results(project: Path) -> dict[str, object]:
    return {**payloads(project), "table": (project / "results" / "tiny" / "table.csv").read_bytes()}


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """Starts commands, which end with the test."""
    with ExitStack() as stack:

        def started(*words: str, at: Path, environment: dict[str, str]) -> Command:
            command = Command(at, environment, *words)
            stack.callback(command.end)
            return command

        yield started


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    with ExitStack() as stack:
        slurm = Slurm(tmp_path / "slurm")
        stack.callback(slurm.stop)
        slurm.start()
        yield slurm


def with_own_partition(project: Path) -> None:
    """Takes the profile's block for rules on a processor; the make-believe GPUs are asked for, not computed on."""
    path = project / "profiles" / "slurm" / "config.yaml"
    head, block, tail = re.split(r"(?m)((?:^# set-resources:\n)(?:^#   .*\n)+)", path.read_text())
    path.write_text(head + re.sub("(?m)^# ", "", block) + f"  {TRAINING}: {{gpu: 1}}\n" + tail)


def test_a_study_on_slurm(
    project: Path, tmp_path: Path, environment: Environment, slurm: Slurm, start: Callable[..., Command]
) -> None:
    (project / "config" / "studies" / "tiny.yaml").write_text(STUDY)
    with_own_partition(project)
    local = tmp_path / "local"
    shutil.copytree(project, local, symlinks=True)
    on_cpu = ("--config", "device=cpu")
    undisturbed = start("--cores", "1", *on_cpu, at=local, environment=environment())
    # The login node has no GPU: what jobs ask for must not be cut down to that.
    of_user = environment(CUDA_VISIBLE_DEVICES="")
    of_user["PATH"] = os.pathsep.join([str(slurm.bin), of_user["PATH"]])
    user = {"at": project, "environment": of_user}
    profile = ("--profile", "profiles/slurm", *PACE, *on_cpu)

    # A training that meets its time limit is begun again with more time, and goes on. Ctrl-C cancels it.
    command = start(*profile, **user)
    pid = command.hold_training(after=2)
    given = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    assert "CUDA_VISIBLE_DEVICES=0" in given
    assert "TESSERA_GPUS=1" in given
    (first,) = slurm.jobs(TRAINING)
    assert (first["Partition"], first["TresPerJob"]) == ("gpu", "gres:gpu:1")
    slurm.ask("scontrol", "update", f"JobId={first['JobId']}", "EndTime=now")
    log = command.training_log()
    wait_for(lambda: "going on after epoch" in read(log), "second attempt", 240)
    command.hold_training(after=5)
    _, second = slurm.jobs(TRAINING)
    assert minutes(second) == 2 * minutes(first)
    assert second["MinMemoryNode"] == first["MinMemoryNode"]
    os.killpg(command.process.pid, signal.SIGINT)
    said = command.ends(1)
    assert f"met its time limit of {minutes(first)} minutes (attempt 1 of 3)" in said
    assert "Stopped: 1 of 4 jobs are made." in said
    assert len(said.splitlines()) < 80
    wait_for(lambda: not slurm.running(), "the end of cancelled jobs", 60)
    assert slurm.jobs(TRAINING)[-1]["JobState"] == "CANCELLED"

    # The next command goes on, by the executor without a profile. Somebody cancels its job.
    asked = ("--set-resources", f"{TRAINING}:gpu=1", f"{TRAINING}:runtime=attempt*90")
    command = start("--executor", "slurm", "--jobs", "5", *PACE, *on_cpu, *asked, **user)
    command.hold_training(after=8)
    assert "going on after epoch" in read(log)
    last = slurm.jobs(TRAINING)[-1]
    assert (last["TresPerJob"], minutes(last)) == ("gres:gpu:1", 90)
    slurm.ask("scancel", last["JobId"])
    assert f"{log.stem} was cancelled" in command.ends(1)

    # And the next goes on to the end.
    command = start(*profile, **user)
    command.ends(0)
    undisturbed.ends(0)
    assert results(project) == results(local)
    (prepared,) = slurm.jobs("prepare_dataset")
    assert (prepared["Partition"], prepared.get("TresPerJob")) == ("cpu", None)
    assert slurm.jobs("summarize_study")[-1]["Partition"] == "cpu"
    assert not [*project.glob("resume/*/*/state")]
