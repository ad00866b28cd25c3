"""What every stage script shares: it turns a job's specification into one published artifact.

Imports torch only when a stage asks for `compute`: a job that waits, or finds its artifact made, stays light.
"""

import importlib.util
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from tessera import artifacts, joblog, shortages
from tessera.devices import CPU, Device, lease
from tessera.errors import DivergedError, StudyError, TesseraError
from tessera.files import remove_drafts
from tessera.heap import trimmed
from tessera.jobs import STAGES, Job, StageSettings
from tessera.manifest import MANIFEST, read_manifest
from tessera.own_code import refuse_other_code
from tessera.provenance import peak_memory_mb
from tessera.states import States
from tessera.stopping import Stopped, stoppable
from tessera.tracking.live import watch
from tessera.training.checkpoint import reached

if TYPE_CHECKING:
    import numpy as np

    from tessera.training.compute import Compute

log = logging.getLogger("tessera")

S = TypeVar("S", bound=StageSettings)
M = TypeVar("M", bound=BaseModel)


class StageJob(Generic[S]):
    """What a stage's function gets.

    Attributes:
        job: The whole specification.
        run: How it runs: what is no part of its key.
        settings: Its settings, typed.
        inputs: Role to artifact folder, each of them checked.
        reads: Role to the folder in it that is read: of a source, a snapshot's where the settings say so.
        trial: The trial, 0 where nothing is drawn.
        output: The folder to write into; it becomes the artifact.
        resume: Folder for the state of an unfinished training.
        device: What was leased.
        beside: Settings of all jobs of this stage in this process, its own among them.
        kept: What the jobs of one process leave each other, by name.
        made_with: What the manifest's `hardware` is to say beside device, precision and threads.
        extends: For the manifest, of a training that went on from another's state: which, and the `seconds` that were
            spent before, which are a part of what the artifact took.
        trained_s: Seconds of its epochs, in whichever process they ran.
    """

    def __init__(
        self,
        job: Job,
        settings: S,
        device: Device,
        beside: Sequence[S] = (),
        kept: dict[str, Any] | None = None,
    ) -> None:
        self.job, self.run, self.settings, self.device = job, job.run, settings, device
        self.beside = tuple(beside) or (settings,)
        self.kept = {} if kept is None else kept
        self.made_with: dict[str, Any] = {}
        self.inputs = {role: Path(folder) for role, folder in job.inputs.items()}
        self.reads = settings.reads(self.inputs)
        self.trial = job.trial or 0
        self.output = artifacts.resume_folder(job) / "output"
        self.resume = artifacts.resume_folder(job) / "state"
        self.extends: Mapping[str, Any] | None = None
        self.trained_s = 0.0

    @cached_property
    def compute(self) -> "Compute":
        """Where and how precisely to compute: seeds, threads and determinism are set by then."""
        import torch

        from tessera.training.compute import Compute, repeat_exactly
        from tessera.training.randomness import seed_of

        torch.set_num_threads(num_threads(self.run.threads))
        torch.manual_seed(seed_of(self.trial, self.job.stage))
        device = torch.device(self.device.type)
        repeat_exactly(device)
        return Compute(device, self.run.precision, self.device.number, self.run.compile, artifacts.COMPILED)

    @property
    def states(self) -> States:
        """What shorter trainings left this one, and where it leaves its own state."""
        precision = str(self.compute.dtype).removeprefix("torch.")
        return States(self.job, self.resume, precision, lambda: _describe(self))

    def save_history(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keeps a training's figures, one line an epoch."""
        listed = list(rows)
        self.trained_s = sum(float(row.get("seconds") or 0.0) for row in listed)
        artifacts.save_history(listed, self.output / "history.csv")

    def save_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Keeps figures by name."""
        artifacts.save_metrics(metrics, self.output / "metrics.json")

    def save_arrays(self, arrays: "Mapping[str, np.ndarray]", name: str) -> None:
        """Keeps arrays by name, in one .npz file."""
        import numpy as np

        np.savez_compressed(self.output / name, allow_pickle=False, **arrays)

    def save_files(self, files: Mapping[str, bytes]) -> None:
        """Keeps files by name; a name may have folders in it."""
        for name, content in files.items():
            (self.output / name).parent.mkdir(parents=True, exist_ok=True)
            (self.output / name).write_bytes(content)


def run_stage(stage: type[S], make: Callable[[StageJob[S]], None], needs_device: bool = False) -> None:
    """Runs a stage as the job that the command line gives as JSON, and publishes what it made.

    Returns at once where the artifact is complete already. Ends the process with one line and exit code 1 on errors
    that the user can mend.

    Jobs that the command line names after the first are made here for what they share with it (`study.together`). They
    have processes of their own to come, which find them made and put their manifests there; where the first fails none
    will come, so that theirs are put there at once. What goes wrong with one of them is told in the log and left to its
    own process; it ends none of the others.

    Args:
        stage: Typed settings of the stage.
        make: Reads `inputs`, writes into `output`.
        needs_device: Lease the job's GPUs where there are any; other stages run on the processor.
    """
    with explained(), trimmed(), ExitStack() as held:
        jobs = [parse_spec(Job, [word]) for word in sys.argv[1:]] or [parse_spec(Job)]
        first, device, failure = jobs[0], None if needs_device else CPU, None
        if first.stage != stage.stage:
            raise StudyError(f"this script runs the stage `{stage.stage}`, but the job is one of `{first.stage}`")
        settings = [STAGES[job.stage].model_validate(job.settings) for job in jobs]
        kept: dict[str, Any] = {}
        for job, mine in zip(jobs, settings, strict=True):
            folder = artifacts.resume_folder(job)
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with _alone(folder, waits=job is first) as waited:
                    if artifacts.restore(job):
                        if job is first:
                            joblog.tell(job)
                        log.info(
                            "%s is complete already: nothing to do (delete the folder to make it again)", job.folder
                        )
                        continue
                    if job is not first and (missing := _missing(job)):
                        log.info("%s waits for %s, so that its own process makes it", job.name, missing)
                        continue
                    if job is not first:
                        joblog.refer(job, first)
                    else:
                        if waited or any((folder / "state").glob("*")):  # not where it begins anew
                            joblog.tell(job)
                        joblog.keep(job)
                    with watch(job), _in_words(job):
                        device = device or held.enter_context(lease(first.run.device, first.run.gpus))
                        beside = [other for other in settings if type(other) is type(mine)]
                        stage_job: StageJob[Any] = StageJob(job, mine, device, beside, kept)
                        how = make if job.stage == stage.stage else _make_of(job.stage)
                        _make(stage_job, how, job is not first and failure is None)
            except Exception as error:
                if len(jobs) == 1:
                    raise
                failure = error if job is first else failure
                log.warning("%s failed: %s", job.name, explain(error) or repr(error))
        if failure is not None:
            raise failure


@contextmanager
def _in_words(job: Job) -> Iterator[None]:
    """Adds to what ends a job what only the job knows: how far it came, and what of its settings to change."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Stopped.after(interrupt, reached(artifacts.resume_folder(job) / "state")) from None
    except DivergedError as error:
        raise TesseraError(f"{error} {_cure(job)}") from error
    except Exception as error:
        if isinstance(error, TesseraError) or (words := shortages.describe(error, job)) is None:
            raise
        raise TesseraError(words) from error


def _cure(job: Job) -> str:
    """What to change where weights diverged: of the job's own optimiser, else of what it measures."""
    from tessera.training.options import OptimizerOptions
    from tessera.training.steps import cure

    settings = job.settings
    folder = job.inputs.get("network") or job.inputs.get("source")
    if "optimizer" not in settings.get("source", settings) and folder is not None:
        settings = read_manifest(Path(folder), Path(folder)).settings
    section = "source" if "source" in settings else "target"
    options = OptimizerOptions.model_validate(settings.get("source", settings)["optimizer"])
    return cure(options, section)


def _missing(job: Job) -> str:
    """An input that is not made, or nothing."""
    missing = (folder for folder in job.inputs.values() if not Path(folder, MANIFEST).exists())
    return next(missing, "")


def _make_of(stage: str) -> Callable[[StageJob[Any]], None]:
    """What another stage does: the function of its name in its script, which lies beside the one that runs."""
    spec = importlib.util.spec_from_file_location(stage, Path(sys.argv[0]).resolve().with_name(f"{stage}.py"))
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    make: Callable[[StageJob[Any]], None] = getattr(script, stage)
    return make


def _make(stage_job: StageJob[S], make: Callable[[StageJob[S]], None], to_restore: bool) -> None:
    job = stage_job.job
    # Before torch is imported: libraries read these when they load.
    os.environ["OMP_NUM_THREADS"] = str(num_threads(job.run.threads))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    refuse_other_code(job.own_code)
    for folder in stage_job.inputs.values():
        artifacts.verify(folder)
    shutil.rmtree(stage_job.output, ignore_errors=True)
    stage_job.output.mkdir(parents=True)
    stage_job.resume.mkdir(exist_ok=True)
    remove_drafts(stage_job.resume, alone=True)
    start = time.monotonic()
    log.info("%s: %s", job.stage, job.name, extra={"device": stage_job.device.id})
    make(stage_job)
    seconds, extends = time.monotonic() - start, stage_job.extends
    before = float(extends["seconds"]) if extends else 0.0
    whole = max(seconds + before, stage_job.trained_s)  # more than this process had, where another one began
    published = artifacts.publish(job, stage_job.output, whole, _describe(stage_job), to_restore, extends)
    shutil.rmtree(stage_job.resume)
    log.info("%s: done in %.1f s", published, seconds)


@contextmanager
def _alone(folder: Path, waits: bool = True) -> Iterator[bool]:
    """No two processes run one job: a new one waits for what a killed Snakemake left behind. Yields whether it did.

    Raises:
        TesseraError: If another process is at work on the job, and this one is not to wait.
    """
    lock, holder, waited = FileLock(folder / ".lock"), folder / ".pid", False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = holder.read_text() if holder.exists() else "unknown"
        if not waits:
            raise TesseraError(f"process {pid} is at work on this job") from None
        log.info("process %s is at work on this job, perhaps left by an earlier run: waiting for it", pid)
        lock.acquire(poll_interval=0.2)
        waited = True
    try:
        holder.write_text(str(os.getpid()))
        yield waited
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def explained() -> Iterator[None]:
    """Logs to stderr with the time of day; turns errors that the user can mend into one line and exit code 1.

    So does it with a signal to end, after which shells expect 128 and its number.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
    )
    log.setLevel(logging.INFO)
    try:
        with stoppable():
            yield
    except KeyboardInterrupt as interrupt:
        stopped = interrupt if isinstance(interrupt, Stopped) else Stopped.after(interrupt)
        print(stopped, file=sys.stderr)
        raise SystemExit(stopped.exit_code) from None
    except Exception as error:
        if (message := explain(error)) is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(1) from None


def explain(error: BaseException) -> str | None:
    """One line on an error that the user can mend; None where a traceback says more."""
    return str(error) if isinstance(error, TesseraError) else shortages.describe(error)


def parse_spec(model: type[M], arguments: list[str] | None = None) -> M:
    """The specification that the command line names: a file of JSON, or the JSON itself.

    Raises:
        StudyError: If there is none, or it does not fit.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) != 1:
        raise StudyError(
            "give one argument: the job's specification, as Snakemake leaves it in resume/<stage>/<job>/job.json"
        )
    try:
        return model.model_validate_json(words[0] if words[0].startswith("{") else Path(words[0]).read_bytes())
    except OSError as error:
        raise StudyError(f"the specification {words[0]} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(word) for word in first["loc"])
        raise StudyError(f"the specification is not one of a {model.__name__}: {where} {first['msg']}") from None


def num_threads(wanted: int) -> int:
    """Threads of a job: what the configuration says, but no more than Snakemake granted."""
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return min(wanted, int(granted)) if granted.isdigit() and int(granted) > 0 else wanted


def _describe(stage_job: StageJob[Any]) -> dict[str, Any]:
    device = stage_job.device
    about: dict[str, Any] = {"device": device.type, "peak_memory_mb": peak_memory_mb()}
    if "compute" in vars(stage_job):  # whether anything was computed
        about["precision"] = str(stage_job.compute.dtype).removeprefix("torch.")
        about["threads"] = num_threads(stage_job.run.threads)
    about |= stage_job.made_with
    torch = sys.modules.get("torch")
    if device.number > 1:
        about["gpus"] = device.number
    if device.type == "cuda" and torch is not None:
        about["device_name"] = torch.cuda.get_device_name()
    if (
        device.type == "cuda" and torch is not None and device.number == 1
    ):  # of several, this process has computed on none
        about["peak_device_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return about
