"""The kit for GPUs, on a processor: what is done once, what goes on, what is cut off; and all of it, small."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import kit as steps
from benchmarks.gpu import machine
from benchmarks.gpu.__main__ import results_folder
from benchmarks.gpu.options import Kit, environment_with
from benchmarks.gpu.stopping import stop
from processes import alive, eventually
from tessera.errors import TesseraError

ROOT = Path(__file__).parents[2]

Found = dict[str, Any]


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


def test_what_comes_before_leaves_the_others_time(kit: Kit, ran: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    named = [steps.Step("tests", lambda *_: {}, 9, 0.6), steps.Step("steps", lambda *_: {}, 9, 0.4)]
    monkeypatch.setattr(steps, "steps_of", lambda _: [*named, steps.Step("table", lambda *_: {}, 9, 0.0)])
    short = Kit(kit.device, kit.scale, 0.7, kit.out, kit.work)  # 42 s: 14.3, 22.7 and 39.5 once 2.5 are for stopping
    assert steps.run_all(short) == 0
    assert ran == ["steps", "table"]


def test_the_time_ends_with_the_last_step_even_where_that_must_be_killed(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, patience = list[float](), list[float]()

    class Late:
        """A process that never ends by itself."""

        def __init__(self, *_: Any, **__: Any) -> None:
            self.returncode = -9

        def wait(self, seconds: float) -> None:
            given.append(seconds)
            raise subprocess.TimeoutExpired("step", seconds)

    monkeypatch.setattr(steps, "steps_of", lambda _: [steps.Step("endless", lambda *_: {}, 3600, 0.0)])
    monkeypatch.setattr(steps.subprocess, "Popen", Late)
    monkeypatch.setattr(steps, "git_state", lambda _: None)  # which starts processes as well
    monkeypatch.setattr(steps, "stop", lambda _, seconds: patience.append(seconds))
    assert steps.run_all(Kit("cpu", "full", 25.0, kit.out, kit.work)) == 0
    assert given[0] + patience[0] <= 25 * 60
    assert patience == [90.0]


def test_two_kits_do_not_write_into_one_folder(kit: Kit, ran: list[str]) -> None:
    kit.out.mkdir()
    with steps._alone(kit.out), pytest.raises(TesseraError, match=r"another call measures into .*: wait for it, or"):
        steps.run_all(kit)
    assert ran == []
    steps.run_all(kit)
    assert ran == ["first", "second"]


def test_another_kind_of_gpu_or_pytorch_is_measured_anew(
    kit: Kit, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its index: on a cluster the same one is another GPU tomorrow."""
    kit.out.mkdir()
    (kit.out / "mended").touch()
    of = {"_kind_of_gpu": "A, 80 GiB", "version": "2.11"}
    for name in of:
        monkeypatch.setattr(steps, name, lambda *_, name=name: of[name])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TESSERA_PRETEND_GPUS", "1")
    cuda = Kit("cuda", kit.scale, kit.minutes, kit.out, kit.work)
    for name, other in (("", ""), ("_kind_of_gpu", "H, 80 GiB"), ("version", "2.12")):
        of |= {name: other} if name else {}
        before = len(ran)
        for _ in range(2):
            steps.run_all(cuda)
            assert ran[before:] == ["first", "second"]


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
def test_who_is_told_to_stop_while_it_stops_another_ends_that_first() -> None:
    class Told(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            if timeout is not None:
                raise KeyboardInterrupt
            return super().wait()

    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    process = Told([sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    with process.stdout as told:
        assert told.readline() == b"deaf\n"
        with pytest.raises(KeyboardInterrupt):
            stop(process, 60.0)
    assert not alive(process.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc tells what runs")
def test_what_a_process_leaves_behind_is_ended() -> None:
    left = "import subprocess; print(subprocess.Popen(['sleep', '600'], stdout=2).pid)"
    process = subprocess.Popen([sys.executable, "-c", left], stdout=subprocess.PIPE, start_new_session=True)
    told, _ = process.communicate()
    child = int(told)
    assert alive(child)
    stop(process, 1.0)
    eventually(lambda: not alive(child))


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., str]:
    """`make gpu DEVICE=cpu SCALE=smoke`, by this interpreter and with folders of its own."""
    folders = f"--out {shlex.quote(str(tmp_path / 'out'))} --work {shlex.quote(str(tmp_path / 'work'))}"
    words = [
        "make",
        "gpu",
        "DEVICE=cpu",
        "SCALE=smoke",
        "MINUTES=25",
        f"WITH={shlex.quote(sys.executable)}",
        f"ARGS={folders}",
    ]

    def run(*options: str) -> str:
        done = subprocess.run([*words, *options], cwd=ROOT, capture_output=True, text=True)
        page = tmp_path / "out" / "index.html"
        assert done.returncode == 0, done.stdout + done.stderr + (page.read_text() if page.exists() else "")
        return done.stdout

    return run


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@needs_make
def test_make_calls_the_kit(call: Callable[..., str]) -> None:
    told = call("--dry-run")
    assert "-m benchmarks.gpu --device cpu --scale smoke --minutes 25 --out " in told
    assert "-m venv" not in told, "with an interpreter that is named nothing is installed"
    assert "envs/install.py" not in told


@needs_make
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_all_of_it_runs_on_a_processor_and_says_so(call: Callable[..., str], tmp_path: Path) -> None:
    call()
    results = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    assert len(results) == len(steps.steps_of(Kit("cpu", "smoke", 1.0, tmp_path, tmp_path)))
    assert {result["state"] for result in results} == {"done"}
    told = (tmp_path / "out" / "index.html").read_text()
    assert "No GPU: this ran on a processor" in told
    assert "skipped: a processor is not leased" in told
    assert call().count("done before") == len(results)
