"""From configuration to jobs: reads the studies, resolves every cell, and finds the jobs that fill them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tessera.data.datasets.options.base import DatasetOptions
from tessera.errors import StudyError, brief, in_short
from tessera.jobs import Cell, Job, Moment, PrepareDataset, SummarizeStudy
from tessera.registry import label
from tessera.states import states_needed
from tessera.study.asked import refuse_dropped
from tessera.study.chain import jobs_of_cell
from tessera.study.config import Config
from tessera.study.files import MOST_ERRORS, parse
from tessera.study.grid import GridCell
from tessera.study.layers import refuse_missing_layers
from tessera.study.left_out import LeftOut, Place, group
from tessera.study.outline import Outline, read_outline
from tessera.study.part import WHOLE, Part
from tessera.study.prepared import refuse_older_datasets
from tessera.study.resolve import NoStandInError, Presets, Resolver
from tessera.study.schema import Experiment, Settings
from tessera.study.study_files import STUDIES, check_name, shown_path, study_files
from tessera.study.summary import summarize
from tessera.study.weights import with_checksums

MOST_CHAINS = 50_000  # cells times trials: each is planned by itself


class Asked(NamedTuple):
    """What a cell asks for.

    Attributes:
        settings: Its own, as its row and column give them.
        method: Name of the source's method, where one is named.
        experiment: All of them, resolved.
    """

    settings: Settings
    method: str | None
    experiment: Experiment


@dataclass
class Plan:
    """Every job of the chosen studies, each once.

    Attributes:
        jobs: Artifact folder to job; a job stands after its inputs.
        studies: The chosen studies.
        others: Studies under config/studies that were not chosen, so that they can be asked for by name.
        failed: Why a study cannot be planned at all: one of the others, or a chosen one whose images are all missing.
        left_out: Cells whose images are missing, by study.
        spared: Artifact folders of those cells: not planned, and not to be thrown away.
        looked_for: What is wrong with the images of a dataset, by its artifact's folder: looked for once.
        own_code: The version of the code of each part from outside of Tessera: looked at once.
        asked: What each planned cell asks for: by study, then by row and column.
    """

    config: Config
    root: Path
    jobs: dict[str, Job] = field(default_factory=dict)
    studies: dict[str, SummarizeStudy] = field(default_factory=dict)
    others: dict[str, SummarizeStudy] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, tuple[LeftOut, ...]] = field(default_factory=dict)
    spared: set[str] = field(default_factory=set)
    looked_for: dict[str, str | None] = field(default_factory=dict)
    own_code: dict[str, str] = field(default_factory=dict)
    asked: dict[str, dict[Place, Asked]] = field(default_factory=dict)

    def jobs_of(self, names: Iterable[str]) -> dict[str, Job]:
        """The jobs that these studies need, in the plan's order."""
        summaries = {**self.studies, **self.others}
        needed = {folder for name in names for folder in summaries[name].artifacts}
        return {folder: job for folder, job in self.jobs.items() if folder in needed}

    def notes(self, names: Iterable[str] = ()) -> list[str]:
        """What is left out of these studies, or else of the chosen ones: one line a reason, whatever it leaves out."""
        by_reason: dict[str, list[str]] = {}
        for name in list(names) or [name for name in self.left_out if name not in self.others]:
            for left in self.left_out.get(name, ()):
                by_reason.setdefault(left.reason, []).append(f"{name}: {left.where}")
        return [f"{'; '.join(where)}: {reason}" for reason, where in by_reason.items()]


def make_plan(
    raw_config: Mapping[str, Any],
    root: Path,
    shown: str = "config/config.yaml",
    asked: Collection[str] = (),
    *,
    checked: bool = False,
) -> Plan:
    """Plans every study of a configuration; validates all of it first.

    Cells whose images are missing are left out, and told in `Plan.left_out`; `strict` refuses them, and plans datasets
    that refuse what is damaged.

    Args:
        raw_config: The merged configuration, as Snakemake gives it.
        root: The project's folder.
        shown: Name of the configuration, for messages.
        asked: Studies that are wanted by name: what `strict` refuses is about these alone then.
        checked: Another process has made sure that nothing is missing: the same jobs are planned, nothing is refused.

    Raises:
        StudyError: With one line for each thing that is wrong, or if no cell of any wanted study is left.
    """
    try:
        return _make_plan(parse(Config, raw_config, f"{shown} (or --config)"), root, shown, asked, checked)
    except StudyError as error:
        raise StudyError(in_short(str(error))) from error


def _make_plan(config: Config, root: Path, shown: str, asked: Collection[str], checked: bool) -> Plan:
    plan, presets = Plan(config, root), Presets(root)
    chosen = study_files(config.studies, root, shown)
    for name, path in chosen.items():
        summary = _plan_study(plan, presets, name, path, Part(config.rows, config.columns), shown)
        if summary is None:
            plan.failed[name] = "\n".join(plan.notes([name]))
        else:
            plan.studies[name] = summary
    for path in sorted((root / STUDIES).glob("*.yaml")):
        if path.stem in chosen:
            continue
        trial_plan = Plan(config, root, dict(plan.jobs), looked_for=plan.looked_for, own_code=plan.own_code)
        try:
            check_name(path.stem, f"{STUDIES}/{path.name}")
            summary = _plan_study(trial_plan, presets, path.stem, path)
            if summary is None:
                raise StudyError("\n".join(trial_plan.notes([path.stem])))
        except StudyError as error:
            plan.failed[path.stem] = in_short(str(error))
        else:
            plan.jobs, plan.others[path.stem] = trial_plan.jobs, summary
            plan.left_out |= trial_plan.left_out
            plan.asked |= trial_plan.asked
    wanted = set(asked) & {*chosen, *plan.others}
    gaps = [name for name in plan.left_out if name in (wanted or chosen)]
    if config.strict and gaps and not checked:
        raise StudyError(
            "\n".join([*plan.notes(gaps), f"{shown} (or --config): `strict` is set, so nothing is left out."])
        )
    if not plan.studies and not wanted & plan.others.keys():
        raise StudyError("\n".join(plan.notes()))
    return plan


def needed_by_studies(config: Config, root: Path) -> tuple[set[str], dict[str, str]]:
    """Artifact folders that any study could need, and why the others cannot be planned, by study.

    Args:
        config: How big the studies are; all under config/studies count, and those that it names by their paths.
    """
    plan, presets, failed = Plan(config, root), Presets(root), {}
    named = [root / name for name in config.studies if name.endswith((".yaml", ".yml"))]
    for path in dict.fromkeys([*sorted((root / STUDIES).glob("*.yaml")), *named]):
        try:
            _plan_study(plan, presets, path.stem, path)
        except StudyError as error:
            failed[shown_path(path, root)] = str(error)
    return {*plan.jobs, *states_needed(plan.jobs.values(), root), *plan.spared}, failed


def _plan_study(
    plan: Plan, presets: Presets, name: str, path: Path, part: Part = WHOLE, configured: str = ""
) -> SummarizeStudy | None:
    """Adds a study's jobs to the plan. None where the images of all its cells are missing.

    Args:
        part: The rows and columns that are wanted.
        configured: Name of the configuration that says so, for messages.
    """
    outline = read_outline(name, path, plan.root)
    scale = plan.config.scale or outline.study.scale or "paper"
    trials = plan.config.trials or outline.study.trials
    resolver = _resolver(plan, presets, outline, scale)
    asked = part.of(outline.cells, name, configured)
    if len(asked) * trials > MOST_CHAINS:
        raise StudyError(
            f"{outline.shown}: `trials`: {trials:,} of {len(asked):,} cells each are {trials * len(asked):,}, but at "
            f"most {MOST_CHAINS:,} are taken: lower it, or make several studies"
        )
    planned = _plan_cells(plan, resolver, outline, asked, trials)
    _refuse_twin_tasks(planned.needed.values(), outline.shown)
    every = [(cell.row, cell.column) for cell in asked]
    # In the study's order: the summary's key depends on what it says of them, and a set's order on the process.
    gone, reasons = [place for place, _ in planned.left_out], {reason for _, reason in planned.left_out}
    of_grid = [place for place, cell in zip(every, asked, strict=True) if not cell.extra] or every
    if gone and all(place in gone for place in of_grid):
        # What is left, if anything, are baselines, which make no table.
        why = reasons.pop() if len(reasons) == 1 else "nothing is left to compare with"
        plan.left_out[name] = group([*planned.left_out, *((place, why) for place in every if place not in gone)], every)
        plan.spared |= set(planned.needed)
        return None
    if gone:
        plan.left_out[name] = group(planned.left_out, every)
    for job in planned.needed.values():
        _add(plan, job, name)
    return summarize(
        outline,
        part,
        every,
        planned.cells,
        gone,
        told=[left.where for left in plan.left_out.get(name, ())],
        scale=scale,
        trials=trials,
        stand_ins=resolver.stood_in,
        artifacts=list(planned.needed),
        run=plan.config.run(name),
    )


def _resolver(plan: Plan, presets: Presets, outline: Outline, scale: str) -> Resolver:
    try:
        return Resolver(presets, scale, outline.study.base, outline.shown, outline.study.at_scale)
    except StudyError as error:
        if "Unknown scale" not in str(error):
            raise
        where = "config/config.yaml (or --config)" if plan.config.scale else outline.shown
        raise StudyError(f"{where}: `scale`: {error}") from error


class _Planned(NamedTuple):
    """What was planned of a study's cells.

    Attributes:
        cells: Those that can be filled.
        needed: Artifact folder to job, of all that fill them.
        left_out: Row and column of those whose images are missing, and why.
    """

    cells: list[Cell]
    needed: dict[str, Job]
    left_out: list[tuple[Place, str]]


def _plan_cells(plan: Plan, resolver: Resolver, outline: Outline, asked: Iterable[GridCell], trials: int) -> _Planned:
    """Plans each cell by itself.

    Raises:
        StudyError: With one line for each thing that is wrong, whichever cells it is wrong in.
    """
    shown, run = outline.shown, plan.config.run(outline.name)
    planned, errors, num_chains = _Planned([], {}, []), dict[str, str](), 0
    told = plan.asked.setdefault(outline.name, {})
    for grid_cell in asked:
        if len(errors) > MOST_ERRORS:
            break
        place, where = (grid_cell.row, grid_cell.column), f"{shown} ({grid_cell.where()})"
        try:
            experiment = _experiment(plan, resolver, grid_cell, where)
            with resolver.own_parts_explained(where):
                moments = {
                    at: [jobs_of_cell(experiment, trial, run, plan.own_code, where, at) for trial in range(trials)]
                    for at in experiment.target.moments(experiment.source)
                }
            chains = [chain for of_moment in moments.values() for chain in of_moment]
            refuse_older_datasets(experiment, chains[0], plan.root)
        except NoStandInError as reason:
            planned.left_out.append((place, str(reason)))
            continue
        except StudyError as error:
            for line in str(error).splitlines():
                # The same mistake in many cells is told once, be it of a row or of what all rows share.
                errors.setdefault(line.removeprefix(f"{where}: ").removeprefix(f"{shown}: "), line)
            continue
        if (missing := _missing_images(plan, chains[0])) is not None:
            planned.left_out.append((place, missing))
            spared = [job for chain in chains for job in chain]
            plan.spared |= {*(job.folder for job in spared), *states_needed(spared, plan.root)}
            continue
        planned.needed.update({job.folder: job for chain in chains for job in chain})
        measured = {at: tuple(chain[-1].folder for chain in of_moment) for at, of_moment in moments.items()}
        cell = _cell(grid_cell, experiment, measured, outline.published.get(place))
        planned.cells.append(cell)
        num_chains += len(chains)
        if num_chains > MOST_CHAINS:
            raise StudyError(
                f"{shown}: `target.at`: {num_chains:,} measurements and more, with those of snapshots, but at most "
                f"{MOST_CHAINS:,} are taken: keep fewer snapshots, lower `trials`, or make several studies"
            )
        told[cell.row, cell.column] = Asked(grid_cell.settings, resolver.method_of(grid_cell.settings), experiment)
    if not errors:
        with resolver.own_parts_explained(shown):
            errors = {line: line for line in resolver.mistakes_of_base()}
    if errors:
        raise StudyError("\n".join(errors.values()))
    return planned


def _experiment(plan: Plan, resolver: Resolver, cell: GridCell, where: str) -> Experiment:
    """What a cell asks for, once nothing of it is refused."""
    with resolver.own_parts_explained(where):
        experiment = resolver.resolve(cell.settings, cell.where())
        refuse_dropped(cell, experiment, resolver.untrains(cell.settings), where)
        refuse_missing_layers(experiment, where)
        experiment = with_checksums(experiment, plan.root, where)
        return experiment.strict() if plan.config.strict else experiment


def _refuse_twin_tasks(jobs: Iterable[Job], shown: str) -> None:
    """Refuses two tasks of a study that tables and curves could not tell apart."""
    known: dict[str, str] = {}
    for job in jobs:
        for task in job.settings.get("source", {}).get("tasks", ()):
            other = known.setdefault(label(task["name"]), task["name"])
            if other != task["name"]:
                raise StudyError(
                    f"{shown}: the tasks `{other}` and `{task['name']}` are both called '{label(other)}' in tables and "
                    "curves: rename one of the classes"
                )


def _cell(
    place: GridCell,
    experiment: Experiment,
    measured: Mapping[int | None, tuple[str, ...]],
    published: float | None,
) -> Cell:
    """A cell of what is measured at each moment of the training, the last of them its own; None is its end."""
    *_, artifacts = measured.values()
    points = [Moment(epoch=at or experiment.source.epochs, artifacts=folders) for at, folders in measured.items()]
    protocol, metric = experiment.target.protocol, experiment.target.metric
    figures = protocol.figures(experiment.source)
    figure = next(figure for figure in figures if metric in (None, figure.name))
    return Cell(
        row=place.row,
        column=place.column or label(protocol.name),
        protocol=protocol.name,
        figure=figure,
        artifacts=artifacts,
        published=published,
        along=tuple(points) if len(points) > 1 else (),
    )


def _add(plan: Plan, job: Job, study: str) -> None:
    """Takes a job in, and notes that this study needs it."""
    known = plan.jobs.setdefault(job.folder, job)
    if study not in known.run.studies:
        keeps = known.run.keep_state or job.run.keep_state
        merged = known.run.model_copy(update={"studies": (*known.run.studies, study), "keep_state": keeps})
        plan.jobs[job.folder] = known.model_copy(update={"run": merged})


def _missing_images(plan: Plan, jobs: Iterable[Job]) -> str | None:
    """Which images are missing that a job would have to read, and what to do; None where all are there."""
    for job in jobs:
        if job.stage != PrepareDataset.stage or (plan.root / job.manifest).is_file():
            continue
        if job.folder not in plan.looked_for:
            dataset: DatasetOptions = PrepareDataset.model_validate(job.settings).dataset
            try:
                plan.looked_for[job.folder] = dataset.missing(plan.root / plan.config.data_folder())
            except OSError as error:  # a folder that may not be read, a name that no file can have
                what = f"{brief(str(error.filename))}: {error.strerror}"
                plan.looked_for[job.folder] = f"dataset `{dataset.name}`: cannot be looked for: {what}"
        if message := plan.looked_for[job.folder]:
            return message
    return None
