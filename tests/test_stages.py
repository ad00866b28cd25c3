"""Stages: one writer a job, one line an error, and nothing done twice."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tessera import artifacts, stages
from tessera.errors import DataError, DivergedError, StudyError
from tessera.jobs import EvaluateTarget, Job, PrepareDataset
from tessera.stages import StageJob, explain, parse_spec, run_stage
from tessera.stopping import SIGNALS, Stopped, stoppable
from tessera.tracking.live import Live, watch

Make = Callable[[StageJob[PrepareDataset]], None]
Process = subprocess.Popen[str]

SLOW_STAGE = """
import os, sys, time
from tessera.stages import run_stage
from tessera.jobs import PrepareDataset

def make(job):
    with open("journal", "a") as journal:
        journal.write(f"{os.getpid()} starts\\n")
    print("started", flush=True)
    sys.stdin.readline()
    (job.output / "images.bin").write_text("done")
    with open("journal", "a") as journal:
        journal.write(f"{os.getpid()} ends\\n")

run_stage(PrepareDataset, make)
assert "torch" not in sys.modules
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings = {"dataset": {"name": "digits_m"}}
    return Job(stage="prepare_dataset", words="digits", version=1, trial=None, settings=settings, inputs={})


@pytest.fixture
def start(job: Job) -> Iterator[Callable[[], Process]]:
    """Starts a process that runs a stage until it reads a line."""
    package = str(Path(stages.__file__).parent.parent)
    with ExitStack() as stack:

        def run(log: Any = subprocess.PIPE) -> Process:
            process = subprocess.Popen(
                [sys.executable, "-c", SLOW_STAGE, job.model_dump_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": package},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


def line_of(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def log_line_of(process: Process) -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip()


def run(job: Job, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script", job.model_dump_json()])
    run_stage(PrepareDataset, make)


def write(stage_job: StageJob[PrepareDataset]) -> None:
    (stage_job.output / "images.bin").write_text("images")
    stage_job.save_metrics({"num_train": 3.0})


def test_a_stage_publishes_what_it_wrote_and_drops_its_state(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        assert stage_job.settings.dataset.name == "digits_m"
        assert stage_job.trial == 0
        (stage_job.resume / "state.pt").write_text("half")
        write(stage_job)

    run(job, make, monkeypatch)
    assert {path.name for path in Path(job.folder).iterdir()} == {"artifact.json", "images.bin", "metrics.json"}
    assert {path.name for path in Path("resume/datasets", job.name).iterdir()} == {".lock", "artifact.json"}


def test_a_stage_whose_artifact_is_there_does_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job, write, monkeypatch)
    Path(job.manifest).unlink()  # what Snakemake does with what it takes for incomplete
    run(job, lambda _: pytest.fail("made again"), monkeypatch)
    assert Path(job.manifest).exists()


def test_a_damaged_artifact_is_made_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job, write, monkeypatch)
    Path(job.folder, "images.bin").write_text("IMAGES")
    run(job, write, monkeypatch)
    assert Path(job.folder, "images.bin").read_text() == "images"


def test_a_failed_stage_leaves_its_state_and_no_artifact(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(stage_job: StageJob[PrepareDataset]) -> None:
        (stage_job.resume / "state.pt").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(job, fail, monkeypatch)
    assert not Path(job.folder).exists()
    assert Path("resume/datasets", job.name, "state", "state.pt").exists()


def test_an_error_that_the_user_can_mend_is_one_line(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: StageJob[PrepareDataset]) -> None:
        raise DataError("class `cat` has no images")

    with pytest.raises(SystemExit, match="1"):
        run(job, fail, monkeypatch)
    assert capsys.readouterr().err == "error: class `cat` has no images\n"


def test_a_damaged_input_stops_the_job_and_names_the_file(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, write, monkeypatch)
    Path(job.folder, "images.bin").write_text("x")
    second = job.model_copy(update={"words": "second", "inputs": {"dataset": job.folder}})
    with pytest.raises(SystemExit, match="1"):
        run(second, write, monkeypatch)
    message = capsys.readouterr().err
    assert f"{job.folder}: images.bin has 1 bytes, but should have 6. Moved to resume/damaged/" in message
    assert not Path(job.folder).exists()


@pytest.fixture
def jobs(job: Job) -> list[Job]:
    """Three that one process makes."""
    return [job.model_copy(update={"words": word}) for word in ("one", "two", "three")]


def run_all(jobs: list[Job], make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *(job.model_dump_json() for job in jobs)])
    run_stage(PrepareDataset, make)


def failing(*words: str) -> Make:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        if stage_job.job.words in words:
            raise DataError(f"no images for {stage_job.job.words}")
        (stage_job.resume / "state.pt").write_text("half")
        write(stage_job)

    return make


def complete(jobs: list[Job]) -> list[str]:
    return [job.words for job in jobs if Path(job.manifest).exists()]


def test_jobs_beside_the_first_wait_for_their_own_processes_to_find_them_made(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def make(stage_job: StageJob[PrepareDataset]) -> None:
        seen.append((stage_job.job.words, len(stage_job.beside)))
        write(stage_job)

    run_all(jobs, make, monkeypatch)
    assert seen == [("one", 3), ("two", 3), ("three", 3)]
    assert complete(jobs) == ["one"]
    assert all({path.name for path in Path(job.folder).iterdir()} >= {"images.bin", "metrics.json"} for job in jobs)
    for job in jobs[1:]:
        run(job, lambda _: pytest.fail("made again"), monkeypatch)
        assert {path.name for path in Path("resume/datasets", job.name).iterdir()} == {".lock", "artifact.json", "log"}
        told = capsys.readouterr().err
        assert f"| made in the process of {jobs[0].name}: see logs/datasets/{jobs[0].name}.log\n" in told
    assert complete(jobs) == ["one", "two", "three"]
    manifests = [json.loads(Path(job.manifest).read_text()) for job in jobs]
    assert [manifest["name"] for manifest in manifests] == [job.name for job in jobs]
    assert manifests[0]["files"] == manifests[2]["files"]


def test_what_is_made_already_is_not_made_beside_another(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    run(jobs[1], write, monkeypatch)
    made = Path(jobs[1].manifest).read_text()
    run_all(jobs, failing("two"), monkeypatch)
    assert Path(jobs[1].manifest).read_text() == made


def test_a_job_beside_the_first_fails_alone_and_is_told_by_its_own_process(
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_all(jobs, failing("two"), monkeypatch)
    assert f"{jobs[1].name} failed: no images for two" in caplog.text
    assert "error: " not in capsys.readouterr().err
    run(jobs[2], lambda _: pytest.fail("made again"), monkeypatch)
    assert complete(jobs) == ["one", "three"]
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        run(jobs[1], failing("two"), monkeypatch)
    assert capsys.readouterr().err == "error: no images for two\n"


def test_where_the_first_fails_the_others_are_complete(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Snakemake starts none of those that wait for it."""
    with pytest.raises(SystemExit, match="1"):
        run_all(jobs, failing("one", "three"), monkeypatch)
    assert capsys.readouterr().err == "error: no images for one\n"
    assert complete(jobs) == ["two"]


def test_a_job_that_another_process_makes_is_left_to_it(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, start: Callable[[], Process], job: Job
) -> None:
    other = start()
    assert line_of(other) == "started"
    run_all([jobs[0], job, jobs[1]], write, monkeypatch)
    assert complete([jobs[0], job]) == ["one"]
    other.communicate("\n")
    assert complete([job]) == [job.words]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "resume/x"), "the disk is full while writing resume/x"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried"), "Lower `batch_size`"),
        (MemoryError(), "Run fewer jobs at once"),
    ],
)
def test_what_runs_out_is_explained(error: Exception, words: str) -> None:
    assert words in str(explain(error))
    assert "\n" not in str(explain(error))


def test_a_defect_keeps_its_traceback() -> None:
    assert explain(KeyError("x")) is None
    assert explain(OSError(errno.EIO, "I/O error")) is None


def test_a_job_of_another_stage_is_refused(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(job.model_copy(update={"stage": "pretrain_source"}), write, monkeypatch)
    assert "runs the stage `prepare_dataset`, but the job is one of `pretrain_source`" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["{"], ['{"stage": 3}'], ["no/such/file.json"]])
def test_a_wrong_specification_is_refused(words: list[str]) -> None:
    with pytest.raises(StudyError, match="specification"):
        parse_spec(Job, words)


def test_a_specification_is_a_file_or_the_json_itself(job: Job, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(job.model_dump_json(indent=1))
    assert parse_spec(Job, ["job.json"]) == parse_spec(Job, [job.model_dump_json()]) == job


def test_threads_are_no_more_than_snakemake_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [stages.num_threads(wanted) for wanted in (1, 2, 8)] == [1, 2, 2]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert stages.num_threads(8) == 8


def test_a_new_job_waits_for_the_orphan_and_takes_what_it_made(job: Job, start: Callable[[], Process]) -> None:
    orphan = start()
    assert line_of(orphan) == "started"
    new = start()
    assert f"process {orphan.pid} is at work on this job" in log_line_of(new)
    orphan.communicate("\n")
    output, log = new.communicate("\n")
    assert (orphan.returncode, new.returncode) == (0, 0)
    assert output == ""
    assert "is complete already" in log
    assert Path("journal").read_text() == f"{orphan.pid} starts\n{orphan.pid} ends\n"


@pytest.mark.parametrize("killed", [False, True])
def test_the_log_of_whoever_is_at_work_outlives_the_job_that_waits(
    job: Job, start: Callable[..., Process], killed: bool
) -> None:
    path = Path("logs/datasets", f"{job.name}.log")
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        orphan = start(file)
        assert line_of(orphan) == "started"
    path.unlink()  # as Snakemake does before it starts a job
    with path.open("w") as file:
        new = start(file)
        while "is at work on this job" not in path.read_text():
            assert new.poll() is None
            time.sleep(0.02)
    if killed:
        orphan.send_signal(signal.SIGKILL)
        orphan.wait()
    else:
        orphan.communicate("\n")
    new.communicate("\n")
    assert (bool(orphan.returncode), new.returncode) == (killed, 0)
    waits, *earlier, last = path.read_text().splitlines()
    assert "is at work on this job" in waits
    assert earlier[0].startswith("| ")
    assert f"prepare_dataset: {job.name}" in earlier[0]
    assert ("done in" if killed else "is complete already") in last
    assert ("done in" in earlier[-1]) != killed
    if killed:  # a third process finds the words of both
        path.unlink()
        with path.open("w") as file:
            start(file).communicate("\n")
        assert [line.count("| ") for line in path.read_text().splitlines()] == [1, 1, 1, 1, 0]


def test_a_new_job_goes_on_when_the_orphan_is_killed(job: Job, start: Callable[[], Process]) -> None:
    orphan = start()
    assert line_of(orphan) == "started"
    new = start()
    assert "is at work" in log_line_of(new)
    orphan.send_signal(signal.SIGKILL)
    orphan.wait()
    assert line_of(new) == "started"
    new.communicate("\n")
    assert new.returncode == 0
    assert json.loads(Path(job.manifest).read_text())["files"].keys() == {"images.bin"}


OTHER_STAGE = """
from tessera.jobs import EvaluateTarget

def evaluate_target(job):
    assert isinstance(job.settings, EvaluateTarget)
    assert job.beside == (job.settings,)  # those of its own stage
    (job.output / "seen").write_text(" ".join(job.kept))
"""


@pytest.fixture
def measuring(job: Job) -> Job:
    """Measures what `job` made, as far as this file is concerned."""
    settings = {"protocol": {"name": "knn"}, "label_fraction": 1.0}
    return Job(
        stage="evaluate_target", words="knn", version=1, trial=0, settings=settings, inputs={"source": job.folder}
    )


def run_both(job: Job, measuring: Job, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("evaluate_target.py").write_text(OTHER_STAGE)
    words = [one.model_dump_json() for one in (job, measuring)]
    monkeypatch.setattr(sys, "argv", [str(Path("prepare_dataset.py").resolve()), *words])
    run_stage(PrepareDataset, make)


def test_a_job_of_another_stage_is_made_by_the_function_of_its_script(
    job: Job, measuring: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(stage_job: StageJob[PrepareDataset]) -> None:
        stage_job.kept["left"] = 1
        write(stage_job)

    run_both(job, measuring, make, monkeypatch)
    assert Path(measuring.folder, "seen").read_text() == "left"
    assert complete([job, measuring]) == [job.words]


def test_a_job_whose_inputs_are_not_made_is_left_to_its_own_process(
    job: Job, measuring: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measuring = measuring.model_copy(update={"inputs": {**measuring.inputs, "dataset": "artifacts/datasets/none-0"}})
    caplog.set_level("INFO", "tessera")
    run_both(job, measuring, write, monkeypatch)
    assert not Path(measuring.folder).exists()
    assert f"{measuring.name} waits for artifacts/datasets/none-0" in caplog.text
    assert complete([job]) == [job.words]


STOPPED_STAGE = """
import json, sys, time
from tessera.stages import run_stage
from tessera.jobs import PrepareDataset

def make(job):
    if sys.stdin.readline() == "state\\n":
        about = json.dumps({"job": "any", "reached": "epoch 3 of 10"})
        (job.resume / "state.pt").write_text(f"x\\n{about}\\n{'0' * 64}\\n")
        (job.resume / ".state.pt.1.draft").write_text("half")
    try:
        print("started", flush=True)
        time.sleep(60)
    finally:
        print("tidied", flush=True)
        if sys.stdin.readline() == "hang\\n":
            print("hangs", flush=True)
            time.sleep(60)

run_stage(PrepareDataset, make)
"""


@pytest.fixture
def begin(job: Job) -> Iterator[Callable[[str], Process]]:
    """Starts a process that is at work on the job, with a state of three epochs or without."""
    with ExitStack() as stack:

        def run(state: str) -> Process:
            process = subprocess.Popen(
                [sys.executable, "-c", STOPPED_STAGE, job.model_dump_json()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "PYTHONPATH": str(Path(stages.__file__).parent.parent)},
                # A test may run where they are ignored, as under nohup.
                preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in SIGNALS],
            )  # fmt: skip
            stack.enter_context(process)
            stack.callback(process.kill)
            tell(process, state)
            assert line_of(process) == "started"
            return process

        yield run


def tell(process: Process, word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


@pytest.mark.parametrize(
    ("number", "state", "code", "words"),
    [
        (signal.SIGINT, "state", 130, "stopped: the next run goes on after epoch 3 of 10"),
        (signal.SIGTERM, "state", 143, "stopped: the next run goes on after epoch 3 of 10"),
        (signal.SIGHUP, "none", 129, "stopped: what was finished is kept"),
    ],
)
def test_a_stopped_job_says_so_in_one_line(
    begin: Callable[[str], Process], job: Job, number: signal.Signals, state: str, code: int, words: str
) -> None:
    process = begin(state)
    process.send_signal(number)
    output, log = process.communicate("\n")
    assert output == "tidied\n"
    assert process.returncode == code
    assert log.splitlines()[-1] == words
    assert "Traceback" not in log
    folder = Path("resume/datasets", job.name)
    assert json.loads((folder / "progress.json").read_text())["error"] == words
    assert not (folder / ".pid").exists()
    assert (folder / "state" / "state.pt").exists() == (state == "state")
    assert not Path(job.folder).exists()


def test_a_second_signal_ends_the_job_at_once(begin: Callable[[str], Process]) -> None:
    process = begin("none")
    process.send_signal(signal.SIGTERM)
    assert line_of(process) == "tidied"
    tell(process, "hang")
    assert line_of(process) == "hangs"
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert process.returncode == -signal.SIGTERM


def test_what_dead_processes_left_of_a_state_is_removed_when_the_job_starts(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Path("resume/datasets", job.name, "state")
    state.mkdir(parents=True)
    (state / ".state.pt.1.draft").write_text("half")
    (state / "state.pt").write_text("whole")

    def make(stage_job: StageJob[PrepareDataset]) -> None:
        assert [path.name for path in stage_job.resume.iterdir()] == ["state.pt"]
        write(stage_job)

    run(job, make, monkeypatch)


def test_a_stop_is_told_to_the_tracking_store_as_one(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """`KILLED`, where an error is `FAILED`; the signal ends the block as Ctrl-C does."""
    ended = []
    monkeypatch.setattr(Live, "stop", lambda self, status: (self.stopping.set(), ended.append(status)))
    watched = job.model_copy(update={"run": job.run.model_copy(update={"mlflow_uri": "sqlite:///none.db"})})
    for error in (Stopped(signal.SIGTERM), KeyboardInterrupt(), SystemExit(1), DataError("x")):
        with pytest.raises(type(error)), watch(watched):
            raise error
    assert ended == ["KILLED", "KILLED", "KILLED", "FAILED"]


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[object] = []
    before = signal.getsignal(signal.SIGTERM)

    def listen() -> None:
        with stoppable():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Stopped), stoppable():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def diverges(_: StageJob[Any]) -> None:
    raise DivergedError("network: `a` is not finite: the training diverged.")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": {"optimizer": {"learning_rate": 3.0}}}, "Lower source.optimizer.learning_rate (now 3) or source."),
        ({"optimizer": {"learning_rate": 3.0, "clip_norm": None}}, "Lower target.optimizer.learning_rate (now 3), or"),
    ],
)
def test_who_measures_names_the_training_that_diverged(
    job: Job, measuring: Job, settings: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    trained = job.model_copy(update={"settings": settings})
    draft = Path("draft")
    draft.mkdir()
    (draft / "weights.bin").write_text("weights")
    artifacts.publish(trained, draft, 1.0, {})
    measuring = measuring.model_copy(update={"inputs": dict.fromkeys(measuring.inputs, trained.folder)})
    monkeypatch.setattr(sys, "argv", ["script", measuring.model_dump_json()])
    with pytest.raises(SystemExit, match="1"):
        run_stage(EvaluateTarget, diverges)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: network: `a` is not finite: the training diverged. {words}")


def test_a_shortage_names_the_jobs_own_settings(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    large = job.model_copy(update={"settings": {"dataset": {"name": "digits_m", "copies": 32}}})

    def fail(_: StageJob[PrepareDataset]) -> None:
        raise MemoryError

    with pytest.raises(SystemExit, match="1"):
        run(large, fail, monkeypatch)
    assert "or lower dataset.copies (now 32) or the image size." in capsys.readouterr().err
