"""The kit for GPUs, on a processor: what is done once, what goes on, what its page says; and all of it, small."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # lets tests import `benchmarks`

from benchmarks.gpu import checks, machine, page, table  # noqa: E402
from benchmarks.gpu import kit as steps  # noqa: E402
from benchmarks.gpu.__main__ import results_folder  # noqa: E402
from benchmarks.gpu.options import SIZES, Kit, environment_with  # noqa: E402
from benchmarks.gpu.stopping import stop  # noqa: E402
from tessera.errors import TesseraError  # noqa: E402
from tessera.study.plan import make_plan  # noqa: E402

Found = dict[str, Any]


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    for name in ("CUDA_VISIBLE_DEVICES", "TESSERA_LEASE_DIR"):
        monkeypatch.setenv(name, "")  # so that what a lease sets is undone as well
    return Kit("cpu", "smoke", 1.0, tmp_path / "out", tmp_path / "work")


@pytest.fixture
def ran(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that are run: two make-believe ones, without processes; `second` fails until a file says otherwise."""
    names: list[str] = []

    def run(kit: Kit, step: steps.Step, seconds: float, whose: Found) -> str:
        names.append(step.name)
        state = "failed" if step.name == "second" and not (kit.out / "mended").exists() else "done"
        kit.out.joinpath(step.file).write_text(
            json.dumps({"state": state, "of": whose, "found": {}, "seconds": 1.0, "when": "", "git": None})
        )
        return state

    two = [steps.Step("first", lambda *_: {}, 9), steps.Step("second", lambda *_: {}, 9)]
    monkeypatch.setattr(steps, "steps_of", lambda _: two)
    monkeypatch.setattr(steps, "_run_step", run)
    return names


def test_another_call_runs_what_failed_and_nothing_else(kit: Kit, ran: list[str]) -> None:
    assert steps.run_all(kit) == 1
    assert steps.run_all(kit) == 1
    (kit.out / "mended").touch()
    assert steps.run_all(kit) == 0
    assert steps.run_all(kit) == 0
    assert ran == ["first", "second", "second", "second"]


def test_results_of_other_code_are_made_again(kit: Kit, ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kit.out.mkdir()
    (kit.out / "mended").touch()
    steps.run_all(kit)
    (work,) = kit.work.iterdir()
    (work / "test_parts.jsonl").write_text("what has passed")
    monkeypatch.setattr(steps, "code_hash", lambda: "other")
    steps.run_all(kit)
    assert ran == ["first", "second"] * 2
    (other,) = set(kit.work.iterdir()) - {work}
    assert not [path for path in other.iterdir() if path.is_file()], "what was on the way there is no part of it"


def test_from_the_beginning_is_this_devices_beginning(
    kit: Kit, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.out.mkdir()
    (kit.out / "mended").touch()
    steps.run_all(kit)
    (work,) = kit.work.iterdir()
    (work / "trained").touch()
    with monkeypatch.context() as patch:
        patch.setattr(steps, "code_hash", lambda: "other")
        steps.run_all(kit, again=True)
    assert (work / "trained").exists(), "another code's artifacts are no part of it"
    steps.run_all(kit, again=True)
    steps.run_all(kit, again=True)
    assert ran == ["first", "second"] * 4
    assert not (work / "trained").exists()


def test_a_try_takes_nothing_from_what_a_gpu_measured() -> None:
    folders = {results_folder(device, scale) for device in ("cuda", "cpu") for scale in ("full", "smoke")}
    assert len(folders) == 4
    assert results_folder("cuda", "full") == ROOT / "results" / "gpu"


def test_what_comes_before_the_table_leaves_it_time(kit: Kit, ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    named = [steps.Step(name, lambda *_: {}, 9) for name in ("first", steps.FIRST)]
    monkeypatch.setattr(steps, "steps_of", lambda _: named)
    short = Kit(kit.device, kit.scale, 0.4, kit.out, kit.work)  # 24 s, of which 9.6 are the table's
    assert steps.run_all(short) == 0
    assert ran == [steps.FIRST]


def test_where_the_machine_s_device_cannot_be_used_nothing_else_is_tried(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(kit: Kit, step: steps.Step, seconds: float, whose: Found) -> str:
        ran.append(step.name)
        result = {"state": "failed", "of": whose, "found": {"failed": "a build for processors"}, "seconds": 1.0}
        kit.out.joinpath(step.file).write_text(json.dumps({**result, "when": "", "git": None}))
        return "failed"

    monkeypatch.setattr(steps, "_run_step", run)
    assert steps.run_all(kit) == 1
    assert ran == [steps.MACHINE]
    told = capsys.readouterr()
    assert "a build for processors" in told.err
    assert "not done: tests test_parts, " in told.out
    assert "a build for processors" in (kit.out / "index.html").read_text()


def test_a_build_for_processors_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: False)
    with pytest.raises(TesseraError, match=r"reaches no GPU, though there is one .* `make environment TORCH=default`"):
        machine.measure(Kit("cuda", "smoke", 1.0, tmp_path, tmp_path))


def test_nothing_is_begun_when_the_time_is_over(kit: Kit, ran: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    late = Kit(kit.device, kit.scale, 0.1, kit.out, kit.work)
    assert steps.run_all(late) == 0
    assert ran == []
    assert "not done: first, second. Another call goes on from here." in capsys.readouterr().out
    assert "not begun" in (kit.out / "index.html").read_text()


PROCESS = """
import sys, time
from benchmarks.gpu.__main__ import main
from benchmarks.gpu import kit
def slow(*_):
    print("begins", flush=True)
    time.sleep(600)
def broken(*_):
    raise RuntimeError("no such kernel")
kit.steps_of = lambda _: [kit.Step("slow", slow, 300), kit.Step("broken", broken, 300)]
sys.exit(main())
"""


@pytest.mark.parametrize(("name", "state"), [("slow", "cut off"), ("broken", "failed")])
def test_a_step_that_is_late_is_cut_off_and_one_that_breaks_tells_its_log(
    name: str, state: str, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen: Any = subprocess.Popen
    monkeypatch.setattr(
        steps.subprocess, "Popen", lambda words, **more: popen([words[0], "-c", PROCESS, *words[3:]], **more)
    )
    kit.out.mkdir()
    kit.work.mkdir()
    step = steps.Step(name, lambda *_: {}, 9)
    assert steps._run_step(kit, step, 60.0 if name == "broken" else 3.0, {}) == state
    result = json.loads((kit.out / step.file).read_text())
    if name == "broken":
        assert "no such kernel" in result["found"]["log"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc tells what runs")
def test_whoever_ends_the_kit_ends_its_step(kit: Kit, tmp_path: Path) -> None:
    """By a signal that no shell sends, as `timeout` and batch systems do; and by one that cannot be heard."""
    held = PROCESS.replace('print("begins", flush=True)', f'open(r"{tmp_path}/pid", "w").write(str(os.getpid()))')
    held = held.replace("import sys, time", "import os, sys, time")
    words = ["--device", "cpu", "--scale", "smoke", "--out", str(kit.out), "--work", str(kit.work)]
    script = tmp_path / "script.py"  # which the step's process runs as well
    script.write_text(held)
    started = held.replace("sys.exit(main())", "") + (
        "import subprocess\nstart = subprocess.Popen\n"
        f"mine = lambda words: [words[0], r'{script}', *words[3:]] if '--step' in words else words\n"
        "kit.subprocess.Popen = lambda words, **more: start(mine(words), **more)\n"
        "sys.exit(main())\n"
    )
    for number in (signal.SIGTERM, signal.SIGKILL):
        (tmp_path / "pid").unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", started, *words], env=environment_with(ROOT, ROOT / "workflow"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        step = int((tmp_path / "pid").read_text())
        process.send_signal(number)
        told, _ = process.communicate(timeout=60)
        if number == signal.SIGTERM:
            assert process.returncode == 143
            assert "stopped: what was done is kept" in told
        eventually(lambda: not alive(step))  # noqa: B023  called at once


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc tells what runs")
def test_what_a_process_leaves_behind_is_ended() -> None:
    left = "import subprocess; print(subprocess.Popen(['sleep', '600'], stdout=2).pid)"
    process = subprocess.Popen([sys.executable, "-c", left], stdout=subprocess.PIPE, start_new_session=True)
    told, _ = process.communicate()
    child = int(told)
    assert alive(child)
    stop(process, 1.0)
    eventually(lambda: not alive(child))


def alive(pid: int) -> bool:
    """Whether a process runs, and is not one that has ended and waits to be asked."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(holds: Callable[[], Any], patience_s: float = 60) -> None:
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--device")
def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs one")
"""
TESTS = """
import os, time, pytest
pytestmark = pytest.mark.gpu
@pytest.fixture
def torn():
    yield
    os._exit(3)
def test_before(): pass
def test_crashes(): os._exit(7)
def test_crashes_afterwards(torn): pass
def test_fails(): assert 1 == 2
def test_sleeps(): time.sleep(float(os.environ["SLEEPS"]))
def test_after(): pass
"""


@pytest.fixture
def suite(kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of tests, one of which ends its process."""
    folder = tmp_path / "project" / "tests" / "gpu"
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(TESTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "workflow")]))
    monkeypatch.setenv("SLEEPS", "0")
    monkeypatch.setattr(checks, "ROOT", tmp_path / "project")
    kit.work.mkdir()
    return "test_some"


def test_a_test_that_ends_its_process_has_failed_and_the_others_run(suite: str, kit: Kit) -> None:
    found = checks.run_tests(Kit(kit.device, "full", 1.0, kit.out, kit.work), suite, 60.0)
    assert found["counts"] == {"passed": 3, "failed": 3}
    names = ("crashes", "crashes_afterwards", "fails")
    crashed, torn, failed = (found["failed"][f"tests/gpu/test_some.py::test_{name}"] for name in names)
    assert crashed.startswith("it ended pytest (code 7)")
    assert torn.startswith("it ended pytest (code 3)")
    assert "assert 1 == 2" in failed
    assert "cut off" not in found


def test_tests_that_are_late_keep_what_has_ended(suite: str, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPS", "600")
    full = Kit(kit.device, "full", 1.0, kit.out, kit.work)
    record = kit.work / f"{suite}.jsonl"

    def sleeps() -> bool:
        return record.exists() and "test_sleeps" in record.read_text()

    class Watched(subprocess.Popen[bytes]):
        """The time of its tests ends when one of them sleeps, however slow the machine is."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None or timeout < 50:
                return super().wait(timeout)
            eventually(lambda: sleeps() or self.poll() is not None)
            if (code := self.poll()) is None:
                raise subprocess.TimeoutExpired("pytest", timeout)
            return code

    with monkeypatch.context() as patch:
        patch.setattr(checks.subprocess, "Popen", Watched)
        found = checks.run_tests(full, suite, 100.0)
    assert found["cut off"]
    assert found["counts"] == {"passed": 1, "failed": 3}
    monkeypatch.setenv("SLEEPS", "0")
    assert checks.run_tests(full, suite, 60.0)["counts"] == {"passed": 3, "failed": 3}  # what failed is tried again
    begun = [json.loads(line)["test"].rpartition("::")[2] for line in record.read_text().splitlines()]
    assert begun.index("test_sleeps") < begun.index("test_after"), "in the order of the file"
    assert begun[begun.index("test_after") :].count("test_fails") == 2, "what had failed came last"


@pytest.mark.parametrize("scale", SIZES)
@pytest.mark.parametrize("share", [0.002, 0.07, 1.0])
def test_the_table_s_study_can_be_planned(
    scale: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    folder, size = tmp_path / "table4", SIZES[scale]
    dataset, told = table.choose_dataset(Kit("cpu", scale, 1.0, tmp_path, tmp_path))
    assert dataset == {"name": "digits_m"}
    assert "made here" in told
    table.lay_out(folder, "tried", size, dataset, share, "cpu")
    plan = make_plan(yaml.safe_load((folder / "config" / "config.yaml").read_text()), folder)
    assert not plan.failed
    study = plan.studies["tried"]
    assert study.columns == ("CIFAR-10",)
    assert len(study.rows) == (9 if scale == "full" else 1)
    assert all(cell.published for cell in study.cells)
    sources = [job for job in plan.jobs.values() if job.stage == "pretrain_source"]
    assert sources
    if scale == "full":
        steps_of = [job.settings["source"]["epochs"] * job.settings["source"]["iterations"] for job in sources]
        assert all(number == pytest.approx(100_000 * share, rel=0.1) for number in steps_of)
        assert {job.settings["source"]["batch_size"] for job in sources} == {64}


def test_a_table_that_is_cut_off_costs_what_all_its_calls_cost(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = iter([{"tte": 30.0}, {"msvl": 20.0}])

    class Run:
        """Leaves the history of one training a call."""

        def __init__(self, *_: Any, cwd: Path, **__: Any) -> None:
            self.folder = cwd

        def wait(self, _: float) -> None:
            ((name, seconds),) = next(trained).items()
            (self.folder / "artifacts" / "source" / name).mkdir(parents=True)
            (self.folder / "artifacts" / "source" / name / "history.csv").write_text(f"seconds\n{seconds}\n")

    def stop(*_: Any) -> None:
        if len(list(kit.work.glob("table4/artifacts/source/*"))) == 1:
            raise KeyboardInterrupt  # in the first call

    clock = iter([0.0, 100.0, 500.0, 560.0])
    monkeypatch.setattr(table.subprocess, "Popen", Run)
    monkeypatch.setattr(table, "stop", stop)
    monkeypatch.setattr(table.time, "monotonic", lambda: next(clock))
    kit.work.mkdir()
    with pytest.raises(KeyboardInterrupt):
        table.measure(kit, 0.002, 9.0)
    found = table.measure(kit, 0.002, 9.0)
    assert found["training"] == {"source/msvl": 20.0, "source/tte": 30.0}
    assert found["seconds_of_run"] == 160.0


def test_an_archive_of_cifar10_goes_before_made_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    full = Kit("cpu", "full", 1.0, tmp_path, tmp_path)
    (tmp_path / table.ARCHIVE).touch()
    assert table.choose_dataset(full)[0]["path"] == table.ARCHIVE
    (tmp_path / table.ORIGINAL[0]).mkdir()
    assert table.choose_dataset(full) == ({"name": "cifar10"}, "CIFAR-10")


def test_the_page_tells_shares_failures_and_what_is_not_there() -> None:
    about = {"state": "done", "seconds": 1.0, "when": "today", "git": None}
    ways = {"eager": {"seconds": 2.0, "first_s": 3.0}, "CUDA graph": {"failed": "RuntimeError: <not> captured"}}
    found = {"precision": "bfloat16", "methods": {"joint": {"images": 100, "operations": 4e12, "ways": ways}}}
    cells = [{"row": "TTE, FSP", "mean": 50.0, "published": 90.43}]
    results: list[tuple[str, Found]] = [
        ("machine", {**about, "found": {"gpu": "A", "peak_bfloat16": 8e12}}),
        ("tests test_parts", {**about, "found": {"counts": {"failed": 1}, "failed": {"a::b": "it <broke>"}}}),
        ("steps small", {**about, "found": found}),
        ("table 4", {**about, "found": {
            "share": 0.01, "dataset": "CIFAR-10", "seconds_of_run": 9.0, "training": {"a": 4.0}, "cells": cells,
        }}),
        ("later", {}),
    ]  # fmt: skip
    told = page.render("cuda", "full", results)
    for words in ("25.0 %", ">50<", "RuntimeError: &lt;not&gt; captured", "it &lt;broke&gt;", "90.43", "not begun"):
        assert words in told
    assert "No GPU" not in told
    assert "No GPU" in page.render("cpu", "smoke", results)


@pytest.fixture
def call(tmp_path: Path) -> Callable[[], str]:
    """The kit as `make gpu DEVICE=cpu SCALE=smoke` calls it, with folders of its own."""
    words = ["--device", "cpu", "--scale", "smoke", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu", *words],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "out" / "index.html").read_text()
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_all_of_it_runs_on_a_processor_and_says_so(call: Callable[[], str], tmp_path: Path) -> None:
    call()
    results = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    assert len(results) == len(steps.steps_of(Kit("cpu", "smoke", 1.0, tmp_path, tmp_path)))
    assert {result["state"] for result in results} == {"done"}
    told = (tmp_path / "out" / "index.html").read_text()
    assert "No GPU: this ran on a processor" in told
    assert "skipped: a processor is not leased" in told
    assert call().count("done before") == len(results)
