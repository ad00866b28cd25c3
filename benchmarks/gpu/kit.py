"""`make gpu`: the steps in their order, each in a process of its own that writes its result before the next begins."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.gpu import checks, page
from benchmarks.gpu.options import ROOT, Kit, environment_with
from benchmarks.gpu.stopping import stop
from tessera.devices import LEASE_DIR, lease
from tessera.errors import TesseraError
from tessera.files import replace_text
from tessera.provenance import git_state, hardware

ASKED_S = 120.0  # a first use of CUDA may take one
LEAST_S = 15.0  # with less left nothing is begun
MARGIN = 0.85  # of the time left: what a table is planned with
FOR_TABLE = 0.4  # of all the time: what the steps before the table leave it
FOR_STEPS = 0.2  # and what the tests leave the benchmarks
MACHINE, FIRST, WHOLE = "machine", "table 4, first", "table 4"
CODE = (
    "workflow", "Snakefile", "rules", "benchmarks/gpu", "config/methods", "config/studies/table4.yaml",
    "config/scales/paper.yaml", "tests/gpu", "tests/conftest.py", "tests/label_maps.py", "tests/pretended_cuda.py",
)  # fmt: skip
KIND = "import torch; of = torch.cuda.get_device_properties(0); print(f'{of.name}, {of.total_memory / 2**30:.0f} GiB')"

Found = dict[str, Any]
Keep = Callable[[Found], None]  # takes what was found so far, for a step that may be cut off


@dataclass(frozen=True)
class Step:
    """One of the kit's steps.

    Attributes:
        run: What it does, in its own process: from the kit and the seconds that it has to what it found.
        most_s: Seconds after which it is stopped.
        leaves: Share of all the time that it leaves those after it.
    """

    name: str
    run: Callable[[Kit, float, Keep], Found]
    most_s: float
    leaves: float = FOR_TABLE

    @property
    def file(self) -> str:
        return "".join(letter if letter.isalnum() else "_" for letter in self.name).replace("__", "_") + ".json"


def steps_of(kit: Kit) -> list[Step]:
    """All steps, the most telling first. What needs torch is imported when it runs."""
    cases = list(enumerate(kit.size.cases))
    found = [Step(MACHINE, _machine, 120)]
    found += [Step(f"tests {name}", _tests(name), 240, FOR_TABLE + FOR_STEPS) for name in checks.FILES]
    found += [Step(f"steps {case.name}", _benchmark(index), 120) for index, case in cases]
    found += [Step("processes on one device", _processes, 120), Step("stacked trials", _stacked, 90)]
    # A compiler may take minutes: each size by itself, after what is sure to end.
    found += [Step(f"compiled steps {case.name}", _benchmark(index, compiled=True), 240) for index, case in cases]
    return [*found, Step(FIRST, _first_table, 420, 0.0), Step(WHOLE, _whole_table, 3600, 0.0)]


def _machine(kit: Kit, *_: Any) -> Found:
    from benchmarks.gpu import machine

    return machine.measure(kit)


def _tests(name: str) -> Callable[[Kit, float, Keep], Found]:
    return lambda kit, seconds, _: checks.run_tests(kit, name, seconds)


def _benchmark(index: int, compiled: bool = False) -> Callable[[Kit, float, Keep], Found]:
    def run(kit: Kit, _: float, keep: Keep) -> Found:
        from benchmarks.gpu import training_steps

        return training_steps.measure_steps(kit, kit.size.cases[index], compiled, keep)

    return run


def _processes(kit: Kit, *_: Any) -> Found:
    from benchmarks.gpu import training_steps

    return training_steps.measure_processes(kit)


def _stacked(kit: Kit, *_: Any) -> Found:
    from benchmarks.gpu import training_steps

    return training_steps.measure_stacked(kit)


def _first_table(kit: Kit, seconds: float, _: Keep) -> Found:
    from benchmarks.gpu import table

    return table.measure(kit, kit.size.first_share, seconds)


def _whole_table(kit: Kit, seconds: float, _: Keep) -> Found:
    """At the share that the first table's times say fits; once begun, a later call goes on at that share."""
    from benchmarks.gpu import table

    planned = kit.work / "share.json"
    if not planned.exists():
        first = read(kit, FIRST)["found"]
        share = share_that_fits(first, seconds)
        if share < 2 * first["share"]:
            return {"cut off": f"{seconds:.0f} s were left: too few for a longer training than the first table's"}
        replace_text(planned, json.dumps({"share": share}))
    share = json.loads(planned.read_text(encoding="utf-8"))["share"]
    return table.measure(kit, share, seconds)


def share_that_fits(first: Found, seconds: float) -> float:
    """The share of the paper's steps for which the time is enough, to two digits, 1 at most.

    A run costs what its processes take beside training, whatever its length, and the training, which grows with it.

    >>> share_that_fits({"share": 0.002, "seconds_of_run": 150.0, "training": {"a": 30.0, "b": 20.0}}, 1000.0)
    0.03
    """
    training = sum(first["training"].values())
    beside = max(0.0, first["seconds_of_run"] - training)
    share = first["share"] * (MARGIN * seconds - beside) / max(training, 1e-9)
    return min(1.0, float(f"{max(0.0, share):.2g}"))


def code_hash() -> str:
    """A hash of the code whose behaviour the results are of."""
    digest = sha256()
    for part in CODE:
        within = [ROOT / part] if (ROOT / part).is_file() else sorted((ROOT / part).rglob("*.*"))
        for path in (path for path in within if path.suffix in (".py", ".smk", ".yaml") or path == ROOT / part):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def identity(kit: Kit) -> Found:
    """What a result is of: another kind of device, PyTorch, code or scale asks for a new one."""
    kind = _kind_of_gpu() if kit.device == "cuda" else hardware()["processor"]
    try:
        torch = version("torch")
    except PackageNotFoundError:  # the step `machine` says so
        torch = "none"
    return {"device": kit.device, "kind": kind, "torch": torch, "scale": kit.scale, "code": code_hash()}


def _kind_of_gpu() -> str:
    """Of the leased one, asked for in a process of its own: in this one CUDA would stay for as long as the kit runs.

    An index says nothing: on a cluster the same one is another GPU tomorrow.

    Raises:
        TesseraError: If the GPU does not answer.
    """
    try:
        told = subprocess.run(
            [sys.executable, "-c", KIND], capture_output=True, text=True, timeout=ASKED_S, check=True
        ).stdout
    except subprocess.TimeoutExpired:
        raise TesseraError(
            f"the GPU did not answer within {ASKED_S:.0f} s: see what `nvidia-smi` says of it."
        ) from None
    except (OSError, subprocess.SubprocessError):
        return "none that PyTorch reaches"  # the step `machine` says why
    return told.strip()


def work_of(kit: Kit, whose: Found) -> Kit:
    """The kit, in a folder of its own for what it leaves on the way: that of other code or devices is no part of it."""
    return replace(kit, work=kit.work / sha256(json.dumps(whose, sort_keys=True).encode()).hexdigest()[:12])


def read(kit: Kit, name: str) -> Found:
    """The result of a step, as it is on disk; empty where there is none."""
    step = next(step for step in steps_of(kit) if step.name == name)
    try:
        found: Found = json.loads((kit.out / step.file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def run_all(kit: Kit, again: bool = False) -> int:
    """Runs what is not done yet, in order, while there is time; returns 1 where something failed, else 0.

    Args:
        again: Forget what was done, of this device and code; what other devices left on the way stays.
    """
    begun = time.monotonic()
    left, bad = list[str](), list[str]()
    kit.out.mkdir(parents=True, exist_ok=True)
    with lease(kit.device), _alone(kit.out):
        whose = identity(kit)
        kit = work_of(kit, whose)
        if again:
            shutil.rmtree(kit.work, ignore_errors=True)
            for step in steps_of(kit):
                if read(kit, step.name).get("of") == whose:
                    (kit.out / step.file).unlink()
        kit.work.mkdir(parents=True, exist_ok=True)
        steps = steps_of(kit)
        for number, step in enumerate(steps, 1):
            before = read(kit, step.name)
            if before.get("of") == whose and before["state"] == "done":
                print(f"[{number:2}/{len(steps)}] {step.name}: done before", flush=True)
                continue
            seconds = (1 - step.leaves) * 60 * kit.minutes - kit.stop_s - (time.monotonic() - begun)
            if seconds < LEAST_S:
                left.append(step.name)
                continue
            if step.name == WHOLE and read(kit, FIRST).get("of") == whose and read(kit, FIRST)["state"] != "done":
                left.append(step.name)
                continue
            state = _run_step(kit, step, min(step.most_s, seconds), whose)
            print(f"[{number:2}/{len(steps)}] {step.name}: {state} ({time.monotonic() - begun:.0f} s)", flush=True)
            if state == "failed":
                bad.append(step.name)
            elif state == "cut off":
                left.append(step.name)
            _write_page(kit, steps, whose)
            if step.name == MACHINE and state == "failed":  # nor would anything else run
                found = read(kit, MACHINE)["found"]
                print(found.get("failed") or found.get("log", ""), file=sys.stderr)
                left += [other.name for other in steps[number:]]
                break
        _write_page(kit, steps, whose)
    print(f"results: {kit.out / 'index.html'}")
    if left:
        print(f"not done: {', '.join(left)}. Another call goes on from here.")
    if bad:
        print(f"failed: {', '.join(bad)}. The page says how; another call tries what failed again.")
    return 1 if bad else 0


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One kit at a time writes into a folder.

    Raises:
        TesseraError: If another does.
    """
    lock = FileLock(out / "kit.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TesseraError(
            f"another call measures into {out}: wait for it, or give this one folders of its own, as "
            "ARGS='--out results/gpu/other --work .cache/gpu_other'."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _write_page(kit: Kit, steps: Sequence[Step], whose: Found) -> None:
    """Of this device and code alone: shares are shares of its peak."""
    results = ((step.name, read(kit, step.name)) for step in steps)
    page.write(kit, [(name, of if of.get("of") == whose else {}) for name, of in results])


def _run_step(kit: Kit, step: Step, seconds: float, whose: Found) -> str:
    """Runs a step in a process of its own, and writes what became of it."""
    log, draft = (kit.work / step.file.replace(".json", ending) for ending in (".log", ".found.json"))
    start = time.monotonic()
    draft.unlink(missing_ok=True)
    # Asked for by deterministic products of matrices, before CUDA begins.
    environment = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", **environment_with(ROOT, ROOT / "workflow")}
    # What a step starts leases as well: of this process's device, in a folder that knows of no other lease.
    environment[LEASE_DIR] = str(kit.work / "leases")
    inner = seconds - min(kit.margin_s, seconds / 3)  # so that the step can end by itself
    words = [sys.executable, "-m", "benchmarks.gpu", "--step", step.name, "--kit", kit.words()]
    words += ["--seconds", f"{inner:.1f}", "--write", str(draft), "--parent", str(os.getpid())]
    late = False
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            stop(process, kit.stop_s)
    try:
        found: Found = json.loads(draft.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    state = _state(found, process.returncode, late)
    if state != "done":
        found |= {"log": log.read_text(encoding="utf-8", errors="replace")[-3000:]}
    result = {
        "step": step.name,
        "state": state,
        "seconds": time.monotonic() - start,
        "of": whose,
        "git": git_state(ROOT),
        "when": time.strftime("%Y-%m-%d %H:%M:%S"),
        "found": found,
    }
    replace_text(kit.out / step.file, json.dumps(result, indent=1) + "\n")
    return state


def _state(found: Found, code: int, late: bool) -> str:
    if found.get("failed"):
        return "failed"
    if late or "cut off" in found:
        return "cut off"
    return "done" if code == 0 and found else "failed"


def run_step(kit: Kit, name: str, seconds: float, keep: Keep) -> Found:
    """What a step finds, in this process."""
    step = next(step for step in steps_of(kit) if step.name == name)
    return step.run(kit, seconds, keep)
