"""States of trainings as artifacts: a longer training goes on from the one that a shorter one left.

Where the learning rate does not depend on a training's end, all trainings of the same settings have the same beginning,
whatever their epochs. So each keeps its state where its end begins (`Source.unmoved_epochs`), under the key of all that
the beginning depends on. No artifact needs a state: without one a training starts anew, and ends with the same bytes.

Never imports torch, save where a state is read or written.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tessera import artifacts, shortages
from tessera.errors import ArtifactError
from tessera.jobs import Job, PretrainSource, TrainingState
from tessera.manifest import MANIFEST
from tessera.training.options import OptimizerOptions

log = logging.getLogger("tessera")

STATE = "state.pt"
CARRIED = "carried"  # folder of what a training writes epoch by epoch, which a longer one would write as well
# Settings of the end: the encoder's export and, of the optimiser, the course of the learning rate save its warm-up.
_END = {"epochs", "statistics_batches"}
_COURSE = {"schedule", "milestones", "factor", "warmup", "decay_epochs", "decay"}


def unmoved_epochs(job: Job) -> int:
    """Epochs at a job's beginning that are the same in a longer training; 0 where there are none, or it trains not."""
    source = job.settings.get("source", {}) if job.stage == PretrainSource.stage else {}
    if not source.get("epochs"):
        return 0
    return OptimizerOptions.model_validate(source.get("optimizer", {})).unmoved_epochs(source["epochs"])


def state_of(job: Job, epochs: int) -> Job:
    """The state of a pretraining after so many of its unmoved epochs, as a job: its key and folder are the state's."""
    source = {name: value for name, value in job.settings["source"].items() if name not in _END}
    source["optimizer"] = {name: value for name, value in source["optimizer"].items() if name not in _COURSE}
    # Those that the state carries, with what they were exported by; one of its own last epoch can be taken from it.
    snapshots = [epoch for epoch in (source.pop("snapshots", None) or {}).get("epochs", ()) if epoch < epochs]
    if snapshots:
        source |= {"snapshots": snapshots, "statistics_batches": job.settings["source"]["statistics_batches"]}
    settings = TrainingState(source=source, epochs=epochs).model_dump(mode="json")
    words = f"{job.words}.e{epochs}"
    return job.model_copy(update={"stage": TrainingState.stage, "words": words, "settings": settings})


def kept(root: Path, job: Job, unmoved: int, beyond: int = 0) -> Iterator[Job]:
    """The states on disk that a pretraining can go on from, the longest first.

    Args:
        unmoved: `unmoved_epochs` of the job.
        beyond: Epochs that it has done already.
    """
    for number in sorted({number for number, _ in _of_its_words(root, job)}, reverse=True):
        if beyond < number <= unmoved:
            state = state_of(job, number)
            if (root / state.manifest).exists():  # else that of other settings
                yield state


class Unlike(NamedTuple):
    """A state that a training could go on from, had it the same snapshots until there.

    Attributes:
        epochs: How many are done.
        snapshots: Epochs of those that the state carries.
        statistics_batches: By which they were exported; None where there are none.
    """

    epochs: int
    snapshots: tuple[int, ...]
    statistics_batches: int | None


def unlike(root: Path, job: Job, unmoved: int, beyond: int = 0) -> Unlike | None:
    """The longest state on disk that a pretraining cannot go on from for its snapshots alone.

    Args:
        unmoved: `unmoved_epochs` of the job.
        beyond: Epochs that it need not go on to: those of a state that serves.
    """
    for number, folder in sorted(_of_its_words(root, job), reverse=True):
        if not beyond < number <= unmoved:
            continue
        try:
            of = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["settings"]["source"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found = Unlike(number, tuple(of.get("snapshots", ())), of.get("statistics_batches"))
        source = {**job.settings["source"], "snapshots": {"epochs": list(found.snapshots)}}
        if found.statistics_batches is not None:
            source["statistics_batches"] = found.statistics_batches
        alike = job.model_copy(update={"settings": {**job.settings, "source": source}})
        if folder.name == state_of(alike, number).name != state_of(job, number).name:
            return found
    return None


def _of_its_words(root: Path, job: Job) -> Iterator[tuple[int, Path]]:
    """States on disk by the words of a pretraining, of whatever settings: how many epochs are done, and the folder."""
    pattern = re.compile(rf"{re.escape(job.words)}\.e(\d+)-[0-9a-f]+")
    for path in (root / "artifacts" / TrainingState.folder).glob(f"*/{MANIFEST}"):
        if found := pattern.fullmatch(path.parent.name):
            yield int(found[1]), path.parent


def states_needed(jobs: Iterable[Job], root: Path) -> set[str]:
    """Folders of the states that these jobs leave, so as to extend them, and of those that they are to go on from.

    They are needed while the studies are.
    """
    found = set[str]()
    for job in jobs:
        if unmoved := unmoved_epochs(job):
            found.add(state_of(job, unmoved).folder)
            if not (root / job.manifest).exists():
                found.update(state.folder for state in kept(root, job, unmoved))
    return found


class Found(NamedTuple):
    """A state on disk.

    Attributes:
        folder: Where it lies.
        epochs: How many are done.
        content: What a training is to go on from, on the CPU.
    """

    folder: str
    epochs: int
    content: dict[str, Any]


class States:
    """The states of one pretraining: those that it may go on from, and the one that it keeps.

    Args:
        job: The pretraining.
        resume: Its folder of what it needs to go on; what it writes into `CARRIED` there goes with its states.
        precision: That it computes with: a state of another precision is another training's.
        describe: What it runs on, as manifests say it.
    """

    def __init__(self, job: Job, resume: Path, precision: str, describe: Callable[[], Mapping[str, Any]]) -> None:
        self.job, self.resume, self.precision, self.describe = job, resume, precision, describe
        self.unmoved = unmoved_epochs(job)

    def beyond(self, epochs: int) -> Iterator[Found]:
        """States of more epochs than these, the longest first; what cannot be used is passed over with a word."""
        for state in kept(Path(), self.job, self.unmoved, epochs):
            folder = Path(state.folder)
            try:
                artifacts.verify(folder, whole=True)
                made_with = _precision_of(folder)
                content = _read(folder / STATE)
            except (ArtifactError, OSError, ValueError) as error:  # OSError: it was removed meanwhile
                if shortages.describe(error) is not None:
                    raise
                log.warning(
                    "%s; the training does without it", str(error).removesuffix("; the next run makes it again.")
                )
                continue
            if made_with != self.precision:
                log.warning("%s: it is of precision %s, not %s: not used", folder, made_with, self.precision)
                continue
            yield Found(state.folder, state.settings["epochs"], content)

    def gives(self, found: Found, to: Callable[[Found], None]) -> bool:
        """Whether a training could take a state over, with what it carries; it is to be thrown away where not.

        Args:
            to: Puts the state into the training, and raises whatever it likes where it does not fit.
        """
        try:
            with self._carrying(Path(found.folder, CARRIED)):
                to(found)
        except Exception as error:
            if shortages.describe(error) is not None:
                raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            log.warning("%s: does not fit this training (%s): not used", found.folder, reason)
            return False
        log.info("goes on from %s, the state after epoch %d of a shorter training", found.folder, found.epochs)
        return True

    @contextmanager
    def _carrying(self, carried: Path) -> Iterator[None]:
        """What a state carries takes the place of the training's own, which comes back where the block fails.

        A kill in between costs at most what the training had done by itself, which is less than the state.
        """
        place, own, draft = (self.resume / name for name in (CARRIED, "own", "given"))
        for left in (own, draft):
            shutil.rmtree(left, ignore_errors=True)
        if carried.is_dir():
            shutil.copytree(carried, draft)
        else:
            draft.mkdir(parents=True)
        if place.exists():
            place.rename(own)
        draft.rename(place)
        try:
            yield
        except BaseException:
            shutil.rmtree(place)
            if own.exists():
                own.rename(place)
            raise
        shutil.rmtree(own, ignore_errors=True)

    def keep(self, epochs: int, state: Callable[[], Mapping[str, Any]], seconds: float) -> None:
        """Keeps the training's state, where its end begins now, and none is there.

        Args:
            epochs: How many are done.
            state: Gives what `Found.content` is to be.
            seconds: What they took, in all.
        """
        if epochs != self.unmoved or not self.job.run.keep_state:
            return
        mine = state_of(self.job, epochs)
        folder = Path(mine.folder)
        if folder.exists():
            try:
                artifacts.verify(folder, whole=True)
            except ArtifactError as error:
                log.warning("%s", error)
            else:
                return
        import torch

        draft = self.resume / "kept"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        torch.save(dict(state()), draft / STATE)
        if (self.resume / CARRIED).is_dir():
            shutil.copytree(self.resume / CARRIED, draft / CARRIED)
        published = artifacts.publish(mine, draft, seconds, self.describe())
        log.info("%s: the state after epoch %d is kept, for a longer training", published, epochs)


def _precision_of(folder: Path) -> str:
    hardware = json.loads((folder / MANIFEST).read_text()).get("hardware")
    return str(hardware.get("precision", "")) if isinstance(hardware, dict) else ""


def _read(path: Path) -> dict[str, Any]:
    """What a state file holds.

    Raises:
        ValueError: If it is none.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
    except Exception as error:  # whatever torch raises of a file that it cannot read
        if shortages.describe(error) is not None:
            raise
        raise ValueError(f"{path} cannot be read ({' '.join(str(error).split())[:200]})") from error
    return content
