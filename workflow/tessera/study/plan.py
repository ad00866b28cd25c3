"""From configuration to jobs: reads the studies, resolves every cell, and finds the jobs that fill them."""

import os
import re
from collections.abc import Iterable, Mapping
from csv import DictReader
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tessera.data.datasets.options import DatasetOptions
from tessera.errors import StudyError
from tessera.registry import suggest
from tessera.study.files import parse, read_yaml
from tessera.study.grid import expand
from tessera.study.jobs import (
    STAGES,
    Cell,
    ClusterTarget,
    EvaluateTarget,
    GeneratePretextLabels,
    Job,
    PrepareDataset,
    PretrainSource,
    Run,
    StageSettings,
    SummarizeStudy,
    TransferKnowledge,
)
from tessera.study.resolve import Presets, Resolver
from tessera.study.schema import Config, Experiment, Source, Study

STUDIES = "config/studies"
RESERVED = {"all", "plots", *STAGES, *(f"all_{stage}" for stage in STAGES), "summarize_study"}


@dataclass
class Plan:
    """Every job of the chosen studies, each once.

    Attributes:
        jobs: Artifact folder to job; a job stands after its inputs.
        studies: The chosen studies.
        others: Studies under config/studies that were not chosen, so that they can be asked for by name.
        failed: Why one of the others cannot be planned.
    """

    config: Config
    root: Path
    jobs: dict[str, Job] = field(default_factory=dict)
    studies: dict[str, SummarizeStudy] = field(default_factory=dict)
    others: dict[str, SummarizeStudy] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def jobs_of(self, names: Iterable[str]) -> dict[str, Job]:
        """The jobs that these studies need, in the plan's order."""
        summaries = {**self.studies, **self.others}
        needed = {folder for name in names for folder in summaries[name].artifacts}
        return {folder: job for folder, job in self.jobs.items() if folder in needed}


def make_plan(raw_config: Mapping[str, Any], root: Path, shown: str = "config/config.yaml") -> Plan:
    """Plans every study of a configuration; validates all of it first.

    Args:
        raw_config: The merged configuration, as Snakemake gives it.
        root: The project's folder.
        shown: Name of the configuration, for messages.

    Raises:
        StudyError: With one line for each thing that is wrong.
    """
    config = parse(Config, raw_config, f"{shown} (or --config)")
    plan = Plan(config, root)
    chosen = _study_files(config.studies, root, shown)
    for name, path in chosen.items():
        plan.studies[name] = _plan_study(plan, name, path)
    _refuse_missing_data(plan, plan.jobs)
    for path in sorted((root / STUDIES).glob("*.yaml")):
        if path.stem in chosen:
            continue
        trial_plan = Plan(config, root, dict(plan.jobs))
        try:
            _check_name(path.stem, f"{STUDIES}/{path.name}")
            summary = _plan_study(trial_plan, path.stem, path)
            _refuse_missing_data(trial_plan, summary.artifacts)
        except StudyError as error:
            plan.failed[path.stem] = str(error)
        else:
            plan.jobs, plan.others[path.stem] = trial_plan.jobs, summary
    return plan


def data_root_of(config: Config) -> Path:
    """Where datasets lie: the variable TESSERA_DATA, else the configuration's `data_root`."""
    return Path(os.environ.get("TESSERA_DATA") or config.data_root).expanduser()


def _study_files(names: Iterable[str], root: Path, shown: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in names:
        is_path = name.endswith((".yaml", ".yml"))
        path = root / name if is_path else root / STUDIES / f"{name}.yaml"
        if not path.is_file():
            known = [item.stem for item in (root / STUDIES).glob("*.yaml")]
            raise StudyError(f"{shown}: `studies`: no study '{name}' ({_shown(path, root)}). {suggest(name, known)}")
        _check_name(path.stem, _shown(path, root))
        if path.stem in found:
            raise StudyError(
                f"{shown}: `studies`: the name '{path.stem}' is taken by {_shown(found[path.stem], root)}: "
                "name a study once, and rename one of two files of that name"
            )
        found[path.stem] = path
    return found


def _check_name(name: str, shown: str) -> None:
    if name in RESERVED:
        raise StudyError(f"{shown}: the name '{name}' is taken by the workflow itself: rename the file")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise StudyError(
            f"{shown}: a study's name is typed as a target, so it takes letters, digits and `_` only, "
            f"starting with a letter, but is '{name}': rename the file"
        )


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _plan_study(plan: Plan, name: str, path: Path) -> SummarizeStudy:
    shown = _shown(path, plan.root)
    study = parse(Study, read_yaml(path, shown), shown)
    scale = plan.config.scale or study.scale or "paper"
    trials = plan.config.trials or study.trials
    try:
        resolver = Resolver(Presets(plan.root), scale, study.base, shown)
    except StudyError as error:
        if "Unknown scale" not in str(error):
            raise
        where = "config/config.yaml (or --config)" if plan.config.scale else shown
        raise StudyError(f"{where}: `scale`: {error}") from error
    rows, columns, grid_cells = expand(study, shown)
    published = _published(study, path, plan.root, rows, columns)
    run = _run_of(plan.config, name)
    cells, errors, needed = [], dict[str, str](), dict[str, None]()
    for grid_cell in grid_cells:
        where = ", ".join(f"{k} '{v}'" for k, v in (("row", grid_cell.row), ("column", grid_cell.column)) if v)
        try:
            experiment = resolver.resolve(grid_cell.settings, where)
        except StudyError as error:
            for line in str(error).splitlines():
                errors.setdefault(line.partition(": `")[2], line)  # the same mistake in many cells is told once
            continue
        artifacts = []
        for trial in range(trials):
            chain = _jobs_of(experiment, trial, run)
            for job in chain:
                known = plan.jobs.setdefault(job.folder, job)
                if name not in known.run.studies:
                    merged = known.run.model_copy(update={"studies": (*known.run.studies, name)})
                    plan.jobs[job.folder] = known.model_copy(update={"run": merged})
                needed[job.folder] = None
            artifacts.append(chain[-1].folder)
        protocol = experiment.target.protocol
        column = grid_cell.column or protocol.name
        cells.append(
            Cell(
                row=grid_cell.row,
                column=column,
                protocol=protocol.name,
                metric=experiment.target.metric or protocol.metrics[0],
                artifacts=tuple(artifacts),
                published=published.get((grid_cell.row, grid_cell.column)),
            )
        )
    if errors:
        raise StudyError("\n".join(errors.values()))
    for comparison in study.compare:
        for row in (comparison.row, comparison.against):
            if row not in rows:
                raise StudyError(f"{shown}: `compare`: no row is named '{row}'. {suggest(row, rows)}")
    return SummarizeStudy(
        name=name,
        title=study.title,
        description=study.description,
        scale=scale,
        trials=trials,
        rows=tuple(rows),
        columns=tuple(dict.fromkeys(cell.column for cell in cells)),
        cells=tuple(cells),
        compare=tuple(study.compare),
        stand_ins=resolver.stood_in,
        artifacts=tuple(needed),
        run=run,
    )


def _run_of(config: Config, study: str) -> Run:
    mlflow = config.tracking.mlflow
    return Run(
        data_root=str(data_root_of(config)),
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        mlflow_uri=mlflow.uri if mlflow.enabled else None,
        mlflow_experiment=mlflow.experiment,
        studies=(study,),
    )


def _published(
    study: Study, path: Path, root: Path, rows: list[str], columns: list[str]
) -> dict[tuple[str, str], float]:
    if study.published is None:
        return {}
    file = path.parent / study.published
    shown = _shown(file, root)
    if not file.is_file():
        raise StudyError(f"{_shown(path, root)}: `published`: no file {shown}")
    values: dict[tuple[str, str], float] = {}
    with file.open(newline="", encoding="utf-8") as lines:
        reader = DictReader(lines)
        if not {"row", "column", "value"} <= set(reader.fieldnames or ()):
            raise StudyError(f"{shown}: needs the columns row, column, value, but has {reader.fieldnames}")
        for number, line in enumerate(reader, start=2):
            for what, known in (("row", rows), ("column", columns)):
                if line[what] not in known:
                    raise StudyError(f"{shown}, line {number}: no {what} '{line[what]}'. {suggest(line[what], known)}")
            try:
                values[line["row"], line["column"]] = float(line["value"])
            except (TypeError, ValueError):
                raise StudyError(
                    f"{shown}, line {number}: `value` should be a number, but is {line['value']!r}"
                ) from None
    return values


def _refuse_missing_data(plan: Plan, folders: Iterable[str]) -> None:
    data_root = data_root_of(plan.config)
    for folder in folders:
        job = plan.jobs[folder]
        if job.stage != PrepareDataset.stage or (plan.root / job.manifest).is_file():
            continue
        dataset: DatasetOptions = PrepareDataset.model_validate(job.settings).dataset
        if message := dataset.missing(plan.root / data_root):
            raise StudyError(f"studies {', '.join(job.run.studies)}: {message}")


def _jobs_of(experiment: Experiment, trial: int, run: Run) -> list[Job]:
    """The jobs that fill one cell in one trial, the measuring one last."""
    source, target, transfer = experiment.source, experiment.target, experiment.transfer
    jobs: list[Job] = []

    def add(settings: StageSettings, words: str, trial: int | None, **inputs: Job) -> Job:
        job = Job(
            stage=settings.stage,
            words=re.sub(r"[^A-Za-z0-9_.-]", "_", words),
            version=settings.version,
            trial=trial,
            settings=settings.model_dump(mode="json"),
            inputs={role.replace("__", "."): item.folder for role, item in inputs.items()},
            run=run,
        )
        jobs.append(job)
        return job

    def add_source() -> Job:
        resolved = _determining(source)
        dataset = add(PrepareDataset(dataset=source.dataset), source.dataset.word(), None)
        labels = {}
        for task in resolved.tasks:
            settings = task.label_settings(source.dataset.pixels())
            if settings is None:
                continue
            inputs = {"dataset": dataset} if task.labels_from_images else {}
            if task.labels_from_images:
                settings = {**settings, "image_size": source.dataset.pixels()}
            of = f"{task.name}.{source.dataset.word()}" if inputs else task.name
            labels[f"labels__{task.name}"] = add(GeneratePretextLabels(task=settings), of, None, **inputs)
        words = f"{source.dataset.word()}.{source.encoder.name}.{how_trained(resolved)}.t{trial}"
        return add(PretrainSource(source=resolved), words, trial, dataset=dataset, **labels)

    def add_network(dataset: Job) -> Job:
        settings = TransferKnowledge(
            transfer=transfer,
            network=None if transfer.builds_network else target.network,
            label_fraction=target.label_fraction,
            epochs=target.epochs + (0 if transfer.two_stage or target.budget != "total" else target.first_stage_epochs),
            first_stage_epochs=target.first_stage_epochs if transfer.two_stage else 0,
            iterations=target.iterations,
            batch_size=target.batch_size,
            augmentation=target.augmentation,
            optimizer=target.optimizer,
        )
        words = f"{target.dataset.word()}.{target.network.name}.{transfer.name}"
        inputs = {"dataset": dataset}
        if transfer.needs_source:
            inputs["source"] = add_source()
            words += f".from-{how_trained(source)}"
        return add(settings, f"{words}.t{trial}", trial, **inputs)

    dataset = add(PrepareDataset(dataset=target.dataset), target.dataset.word(), None)
    protocol = target.protocol
    words = f"{target.dataset.word()}.{protocol.name}"
    if protocol.measures == "network":
        network = add_network(dataset)
        settings: StageSettings = EvaluateTarget(protocol=protocol, label_fraction=1.0)
        model, words = {"network": network}, f"{words}.{network.words.partition('.')[2]}"
    else:
        encoder = add_source()
        model, words = {"source": encoder}, f"{words}.{encoder.words}"
        if protocol.stage == ClusterTarget.stage:
            settings = ClusterTarget(protocol=protocol)
        else:
            settings = EvaluateTarget(protocol=protocol, label_fraction=target.label_fraction)
    add(settings, words, trial, dataset=dataset, **model)
    return jobs


def how_trained(source: Source) -> str:
    """In a word or two, how a source was trained: the fusion or schedule, and the tasks."""
    if source.epochs == 0:
        return "untrained"
    how = source.fusion.name if source.fusion.name != "none" else source.schedule.name
    tasks = "-".join(getattr(task, "short", task.name) for task in source.tasks)
    return f"{how}.{tasks}" if len(source.tasks) > 1 else tasks


def _determining(source: Source) -> Source:
    """The settings that determine the result: an untrained encoder has no tasks and no optimiser."""
    if source.epochs > 0:
        tasks = tuple(task.at(source.dataset.pixels()) for task in source.tasks)
        return source.model_copy(update={"tasks": tasks})
    return Source(
        dataset=source.dataset,
        encoder=source.encoder,
        epochs=0,
        batch_size=source.batch_size,
        statistics_batches=source.statistics_batches,
    )
