"""The jobs that fill one cell: from the images to the figure."""

import re

from tessera.data.datasets.options.base import DatasetOptions
from tessera.jobs import (
    ClusterTarget,
    EvaluateTarget,
    GeneratePretextLabels,
    Job,
    PrepareDataset,
    PretrainSource,
    RecordTeacher,
    Run,
    StageSettings,
    TransferKnowledge,
)
from tessera.multitask.snapshots import SnapshotOptions
from tessera.multitask.source import Source
from tessera.own_code import own_code
from tessera.registry import label
from tessera.study.schema import Experiment
from tessera.transfer.options.base import RANDOM

PACKING_THREADS = 8
MOST_LETTERS = 200  # of the words of a name, since file systems take 255 with its key and what is put behind it


def jobs_of_cell(
    experiment: Experiment, trial: int, run: Run, known_code: dict[str, str], shown: str, at: int | None = None
) -> list[Job]:
    """The jobs that fill one cell in one trial, the measuring one last.

    Args:
        at: Epoch at whose end the source's encoder is read; None: the training's end.
        known_code: Own parts whose code was looked at already; those of this cell are added (`tessera.own_code`).
        shown: File, row and column, for messages.

    Raises:
        StudyError: If the code of an own part cannot be read.
    """
    source, target, transfer = experiment.source, experiment.target, experiment.transfer
    column = f".{target.labels}" if target.labels is not None else ""
    moment = f".epoch-{at}" if at is not None else ""
    jobs: list[Job] = []
    run = run.model_copy(update={"keep_state": source.keep_state is not False})
    alone = run.model_copy(update={"gpus": 1})

    def add(settings: StageSettings, words: str, trial: int | None, **inputs: Job) -> Job:
        dumped = settings.model_dump(mode="json")
        job = Job(
            stage=settings.stage,
            words=re.sub(r"[^A-Za-z0-9_.-]", "_", words)[:MOST_LETTERS],
            version=settings.version,
            trial=trial,
            settings=dumped,
            inputs={role.replace("__", "."): item.folder for role, item in inputs.items()},
            own_code=own_code(dumped, known_code, shown),
            run=alone,
        )
        jobs.append(job)
        return job

    def add_dataset(options: DatasetOptions) -> Job:
        job = add(PrepareDataset(dataset=options), options.word(), None)
        if not options.packs():
            return job
        # Millions of files are decoded once: Snakemake grants no more threads than there are cores.
        more = {"threads": max(run.threads, PACKING_THREADS)}
        jobs[-1] = job.model_copy(update={"run": alone.model_copy(update=more)})
        return jobs[-1]

    def add_source() -> Job:
        resolved = determining(source)
        dataset = add_dataset(source.dataset)
        labels = {}
        for task in resolved.tasks:
            settings = task.label_settings(source.dataset.pixels())
            if settings is None:
                continue
            inputs = {"dataset": dataset} if task.labels_from_images else {}
            if task.labels_from_images:
                settings = {**settings, "image_size": source.dataset.pixels()}
            of = f"{label(task.name)}.{source.dataset.word()}" if inputs else label(task.name)
            labels[f"labels__{task.name}"] = add(GeneratePretextLabels(task=settings), of, None, **inputs)
        words = f"{source.dataset.word()}.{label(source.encoder.name)}.{how_trained(resolved)}"
        if source.weights is not None:  # the same in every trial
            return add(PretrainSource(source=resolved), words, None, dataset=dataset)
        return add(PretrainSource(source=resolved), f"{words}.t{trial}", trial, dataset=dataset, **labels)

    def add_record(learned: TransferKnowledge, **inputs: Job) -> Job:
        settings = RecordTeacher(
            views=learned.views,
            augmentation=learned.augmentation,
            label_fraction=learned.label_fraction,
            labels=learned.labels,
            at=at,
        )
        words = f"{target.dataset.word()}{column}.{learned.views}.{label(source.encoder.name)}.{how_trained(source)}"
        return add(settings, f"{words}{moment}.t{trial}", trial, **inputs)

    def add_network(dataset: Job) -> Job:
        first, second = experiment.stage_epochs
        settings = TransferKnowledge(
            transfer=transfer,
            network=transfer.network_of(target.network, source.encoder),
            label_fraction=target.label_fraction if transfer.trains else 1.0,
            epochs=second,
            first_stage_epochs=first,
            iterations=target.iterations,
            batch_size=target.batch_size,
            augmentation=target.augmentation or target.network.augmentation,
            optimizer=target.optimizer,
            labels=target.labels,
            views=target.views if transfer.trains else RANDOM,
            at=at if transfer.needs_source else None,
        )
        words = f"{target.dataset.word()}{column}.{label(target.network.name)}.{transfer.word()}"
        inputs = {"dataset": dataset}
        if transfer.needs_source:
            inputs["source"] = add_source()
            words += f".from-{how_trained(source)}{moment}"
            if settings.views != RANDOM and transfer.reads_features:
                inputs["teacher"] = add_record(settings, **inputs)
        job = add(settings, f"{words}.t{trial}", trial, **inputs)
        if target.network.several_gpus:
            jobs[-1] = job.model_copy(update={"run": run})  # with all its GPUs
        return jobs[-1]

    dataset = add_dataset(target.dataset)
    protocol, labels = target.reader(source), target.labels
    words = f"{target.dataset.word()}.{label(protocol.name)}"
    if protocol.measures == "network":
        network = add_network(dataset)
        settings: StageSettings = EvaluateTarget(protocol=protocol, label_fraction=1.0, labels=labels)
        model, words = {"network": network}, f"{words}.{network.words.partition('.')[2]}"
    else:
        encoder = add_source()
        model, words = {"source": encoder}, f"{words}{column}{moment}.{encoder.words}"
        if encoder.trial is None:  # its name says no trial, and that of what is measured does
            words += f".t{trial}"
        if protocol.stage == ClusterTarget.stage:
            settings = ClusterTarget(protocol=protocol, labels=labels, at=at)
        else:
            fraction = target.label_fraction if protocol.measures == "encoder" and protocol.reads_labels else 1.0
            settings = EvaluateTarget(protocol=protocol, label_fraction=fraction, labels=labels, at=at)
    add(settings, words, trial, dataset=dataset, **model)
    return jobs


def how_trained(source: Source) -> str:
    """In a few words, how a source was trained: sharing if not hard, the fusion or schedule, and the tasks."""
    if source.weights is not None:
        return "pretrained"
    if source.epochs == 0:
        return "untrained"
    how = label(source.fusion.name if source.fusion.name != "none" else source.schedule.name)
    if source.sharing.name != Source.model_fields["sharing"].default.name:
        how = f"{label(source.sharing.name)}.{how}"
    tasks = "-".join(task.word for task in source.tasks)
    return f"{how}.{tasks}" if len(source.tasks) > 1 else tasks


def determining(source: Source) -> Source:
    """The settings that determine the result: an untrained encoder, or a file's, has no tasks and no optimiser."""
    if source.epochs > 0:
        tasks = tuple(task.at(source.dataset.pixels()) for task in source.tasks)
        kept = source.snapshot_epochs  # however they are asked for; the last needs no snapshot
        snapshots = SnapshotOptions(epochs=kept) if kept else None
        return source.model_copy(update={"tasks": tasks, "snapshots": snapshots, "keep_state": None})
    return Source(
        dataset=source.dataset,
        encoder=source.encoder,
        epochs=0,
        batch_size=source.batch_size,
        statistics_batches=source.statistics_batches,
        weights=source.weights,
    )
