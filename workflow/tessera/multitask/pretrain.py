"""Pretrains one encoder from all tasks: epoch by epoch, from where it was left, or where a shorter one left off."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tessera.data.store import Dataset
from tessera.multitask.epochs import Pretrained, Training
from tessera.multitask.snapshots import Snapshots
from tessera.multitask.source import Source
from tessera.states import CARRIED, States
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute
from tessera.training.pace import Pace


def pretrain(
    source: Source,
    dataset: Dataset,
    labels: Mapping[str, Mapping[str, Tensor]],
    compute: Compute,
    trial: int,
    resume: Path | None,
    states: States | None = None,
) -> Pretrained:
    """Trains the source's encoder; without epochs, only its batch-norm statistics are estimated.

    Source: Kim, Lee & Song 2019, section 3, as read in docs/methods.md 1.2; other methods are other choices of parts.

    Args:
        labels: What each task's `prepare` made, by task.
        trial: Seeds weights, order, batches and pretext labels, each by itself.
        resume: Folder of the training's state, saved after each epoch; a training that goes on from it ends with the
            same bytes on a CPU as one that was never interrupted: it also keeps to compiled passes, or to those as
            they are, whatever `compute` now says. None saves nothing, and takes no snapshots.
        states: What shorter trainings left, where this one goes on from the longest, to the same bytes on a CPU; and
            where it leaves its own. None: it does neither.

    Raises:
        ValueError: If snapshots are asked for and there is no such folder.
        StudyError: If schedule and fusion do not fit together.
        TesseraError: If a loss is not finite; names the task, the epoch and the learning rate.
    """
    checkpoint = Checkpoint(resume)

    def begin() -> Training:
        return checkpoint.resume(
            lambda: Training(source, dataset, labels, compute, trial, snapshots()),
            lambda fresh, state: fresh.load_state_dict(state),
        )

    def snapshots() -> Snapshots:
        return Snapshots(None if resume is None else resume / CARRIED)

    training = begin()
    for found in states.beyond(len(training.history)) if states is not None else ():
        if training.history:
            training = Training(source, dataset, labels, compute, trial, snapshots())
        if states is not None and states.gives(found, training.extend):
            break
        training = begin()
    training.choose_passes()
    progress = Pace("pretrain_source", source.epochs, done=len(training.history))
    for epoch in range(len(training.history), source.epochs):
        row = training.epoch(epoch)
        if epoch + 1 in source.snapshot_epochs:
            training.snapshots.keep(epoch + 1, training.save_snapshot)
        if states is not None:
            # Before the next state takes the place of the last: a kill leaves one to come here again.
            states.keep(epoch + 1, training.state_dict, training.seconds)
        checkpoint.save(training.state_dict(), f"epoch {epoch + 1} of {source.epochs}")
        losses = {key: value for key, value in row.items() if key.endswith(".loss") and isinstance(value, float)}
        progress.epoch(training.images[epoch], **losses)
    return training.finish()
