# What the rules ask of the plan, and of the machine.

import json
import os
import sys
import warnings
from functools import cache
from pathlib import Path

from snakemake import io as flags
from snakemake.resources import Resource

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from tessera.artifacts import from_other_code, resume_folder
from tessera.devices import num_devices
from tessera.environment import prefer_this_python
from tessera.errors import StudyError, TesseraError
from tessera.explain.mixed import mixed
from tessera.files import replace_text
from tessera.monitor.cluster import MEMORY, TIME, keeps_no_accounts
from tessera.monitor.failures import Failures
from tessera.report import marker
from tessera.report.rst import rst
from tessera.study.config import Config
from tessera.study.files import read_yaml
from tessera.study.jobs import FOLDERS, Job, SummarizeStudy
from tessera.study.plan import Plan, make_plan
from tessera.study.requested import refuse_unknown, targets_in
from tessera.study.together import together

prefer_this_python()
# Snakemake's own, with every executor but the local one: it asks for the sizes of inputs, and drops the question.
warnings.filterwarnings("ignore", "coroutine 'InputFiles", RuntimeWarning)
FAILURES = Failures(lambda: workflow.execution_settings.retries)
if workflow.is_main_process and not workflow.dryrun:
    FAILURES.install()

WRITTEN = (".", ".snakemake", "resume", "logs", "results")
if fixed := [
    one for one in WRITTEN if os.path.exists(one) and not os.access(one, os.W_OK)
]:
    sys.exit(
        f"error: {os.path.abspath(fixed[0])} cannot be written to, and runs, also dry ones, write there. "
        "Mend its permissions, or work in a copy of the project."
    )

DEFAULT = "config/config.yaml"
try:
    # Says more of a mistake than Snakemake does, which has read those of --configfile by now.
    read_yaml(Path(workflow.basedir) / DEFAULT, DEFAULT)
    for path in workflow.configfiles:
        if Path(path).suffix != ".json":
            read_yaml(Path(path), os.path.relpath(path))
except TesseraError as error:
    sys.exit(f"error: {error}")


configfile: DEFAULT


try:
    PLAN = make_plan(
        config,
        Path(workflow.basedir),
        os.path.relpath(workflow.configfiles[0]),
        sys.argv[1:],
        # A job's own process is not told what was asked for, and the main process has checked that.
        checked=not workflow.is_main_process,
    )
    if failed := [PLAN.failed[word] for word in sys.argv[1:] if word in PLAN.failed]:
        raise StudyError("\n".join(failed))  # asked for by name
except TesseraError as error:
    if workflow.is_main_process:
        sys.exit(f"error: {error}")  # a WorkflowError would add places in this file
    PLAN = Plan(Config.model_validate(config), Path(workflow.basedir))


class Jobs(dict):
    """Jobs by name.

    A cluster's job may start days after it was sent, when the study has been edited: it does what was written down.
    """

    def __missing__(self, name):
        written = next(Path("resume").glob(f"*/{name}/job.json"), None)
        if workflow.is_main_process or written is None:
            raise KeyError(name)
        return Job.model_validate_json(written.read_bytes())


JOBS = Jobs({job.name: job for job in PLAN.jobs.values()})
SUMMARIES = {**PLAN.studies, **PLAN.others}
GPUS_A_JOB = 0 if PLAN.config.device == "cpu" else 1


class GPUsHere(Resource):
    """Limit of `gpu`: the GPUs of this machine where it runs the jobs itself, none where a cluster does.

    Without a limit Snakemake takes `gpu` for unlimited. Where there is no GPU, 0 leaves the limit to --cores. A limit cuts
    what a job asks for, and Snakemake knows its executor only after it has read this file: so the value is found when
    jobs are made of the rules.
    """

    def __init__(self):
        super().__init__("gpu", None)

    @property
    def value(self):
        return None if workflow.non_local_exec else self.found()

    def __repr__(self):
        return "unlimited" if self.value is None else str(self.value)

    found = staticmethod(cache(num_devices))


# A cluster's job runs this file once more, where it was sent: what it asked for is left as it is.
if workflow.is_main_process and "gpu" not in workflow.global_resources:
    workflow.global_resources["gpu"] = GPUsHere()

ASKED = [study for study in SUMMARIES if study in sys.argv]
if workflow.is_main_process:
    for note in PLAN.notes(ASKED):
        print(f"left out: {note}", file=sys.stderr)

OTHER = from_other_code(PLAN.jobs_of(PLAN.studies).values())
if OTHER and workflow.is_main_process:
    print(
        f"note: {len(OTHER)} cached artifacts were made by other code than the present. Their stages' versions are "
        "the same, so their results should be; delete an artifact to make it again.",
        file=sys.stderr,
    )

if workflow.is_main_process:
    for note in mixed(PLAN, ASKED or PLAN.studies):
        print(f"note: {note}", file=sys.stderr)


# Whoever asks for artifacts by name, or for a stage, gets those alone.
STAGES_ASKED = [stage for stage in FOLDERS if f"all_{stage}" in sys.argv]
TOGETHER = together(
    job
    for job in PLAN.jobs_of(ASKED or PLAN.studies).values()
    if not Path(job.manifest).exists()
    and not any(word.startswith("artifacts/") for word in sys.argv)
    and (not STAGES_ASKED or job.stage in STAGES_ASKED)
)


# Asked for a picture or a report, Snakemake runs nothing: it is shown the whole graph.
SHOWS = {"--dag", "--rulegraph", "--filegraph", "--d3dag", "--report"} & {
    word.partition("=")[0] for word in sys.argv[1:]
}

# Snakemake's own records of a run, which a clone does not have, make nothing run again: it need not miss them.
workflow.log_missing_metadata_info = lambda: None


def manifests_for(output, folders):
    """Manifests of the artifacts that are read: every one ancient(), for the key in the path decides.

    What is made already needs nothing: Snakemake would make it again whenever something before it is gone.
    """
    if Path(output).exists() and not SHOWS:
        return []
    return [ancient(f"{folder}/artifact.json") for folder in folders]


def inputs_of_job(wildcards):
    job = JOBS[wildcards.job]
    # Another's process makes it: it waits for that one, and finds itself made.
    others = [one.folder for one in first_of(job) if one.folder != job.folder]
    return manifests_for(job.manifest, dict.fromkeys([*job.inputs.values(), *others]))


def spec_file(spec, path):
    """Where a script reads what to do: written before the job starts, so that no later edit of a study is mixed in."""
    if not workflow.dryrun:
        replace_text(Path(path), spec.model_dump_json(indent=1))
    return path


def spec_of_job(wildcards):
    job = JOBS[wildcards.job]
    return spec_file(job, resume_folder(job) / "job.json")


def specs_of_jobs(wildcards):
    """Of a job, and of those that its process makes with it."""
    return [
        spec_file(job, resume_folder(job) / "job.json")
        for job in made_by(JOBS[wildcards.job])
    ]


def first_of(job):
    """The job in whose process a job is made, where there is one that makes several."""
    return [TOGETHER[job.folder].first] if job.folder in TOGETHER else []


def made_by(job):
    """The jobs that the process of a job makes: itself, and what is made with it."""
    others = (
        TOGETHER[job.folder].others
        if any(first.folder == job.folder for first in first_of(job))
        else ()
    )
    return [job, *others]


def mem_mb_of_job(wildcards, attempt):
    """More only where memory was short."""
    return 8_000 * FAILURES.times(log_of(JOBS[wildcards.job]), MEMORY, attempt)


def threads_of_job(wildcards):
    return JOBS[wildcards.job].run.threads


def gpus_of_job(wildcards):
    return GPUS_A_JOB * JOBS[wildcards.job].run.gpus


def log_of(job):
    return f"logs/{FOLDERS[job.stage]}/{job.name}.log"


def gpus_to_see(wildcards, resources):
    """What a cluster was asked for; the job itself sees whether it is there."""
    return 0 if workflow.is_main_process else resources.get("gpu", 0)


def minutes_of_job(wildcards, attempt):
    """A generous guess: an hour, a minute for every hundred steps, and ten for each measurement in its process.

    More only where time was short.
    """
    first, *others = made_by(JOBS[wildcards.job])
    minutes = minutes_of(first) + 10 * len(others)
    return minutes * FAILURES.times(log_of(first), TIME, attempt)


def minutes_of(job):
    """Of a job alone; half a day to pack a large dataset."""
    settings = job.settings
    if job.stage == "prepare_dataset" and job.run.threads > PLAN.config.threads:
        return 12 * 60
    training = settings.get("source", settings)
    epochs = training.get("epochs", 0) + training.get("first_stage_epochs", 0)
    return 60 + epochs * training.get("iterations", 0) // 100


def summary_of(wildcards):
    """As with jobs: of a cluster's job, what was written down when it was sent."""
    summary = SUMMARIES.get(wildcards.study)
    if workflow.is_main_process or (summary and summary.key == wildcards.key):
        return summary
    written = Path(summary_spec(wildcards.study, wildcards.key))
    return SummarizeStudy.model_validate_json(written.read_bytes())


def summary_spec(name, key):
    return f"resume/summaries/{name}-{key}.json"


def inputs_of_study(wildcards):
    summary = summary_of(wildcards)
    changed = renewed(summary)  # before anyone asks whether its marker is there
    return changed + manifests_for(summary.marker, summary.artifacts)


def renewed(summary):
    """Sees to it that a study's results are made again where they are not as its marker says.

    A run takes the marker away. A dry run, which changes nothing, plans it for what is younger than the marker.
    """
    differing = marker.differing(summary, Path())
    if not differing or workflow.executor_plugin is None or workflow.touch:
        return []
    name, what = next(iter(differing.items()))
    others = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
    folder = os.path.dirname(summary.marker)
    note = f"note: {os.path.normpath(f'{folder}/{name}')} {what}{others}: the results of `{summary.name}` are made again"
    if workflow.dryrun:
        print(note, file=sys.stderr)
        changed = [
            f"{folder}/{name}" for name, what in differing.items() if "changed" in what
        ]
        return [folder, *changed]
    kept = marker.set_aside(summary, Path(), differing)
    print(
        f"{note}{f'; what was there is kept in {kept}' if kept else ''}",
        file=sys.stderr,
    )
    return []


def spec_of_study(wildcards):
    summary = summary_of(wildcards)
    return spec_file(summary, summary_spec(summary.name, summary.key))


def results_of(studies):
    """Every artifact and the tables: asked for by name, so that one that was deleted is made again."""
    manifests = [job.manifest for job in PLAN.jobs_of(studies).values()]
    return manifests + [SUMMARIES[name].marker for name in studies]


def pictures_of(study):
    """What figures/index.json tells of a study's pictures, by stem; nothing before it is summarized."""
    index = Path("results", study, "figures", "index.json")
    try:
        return {Path(one["file"]).stem: one for one in json.loads(index.read_text())}
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # a damaged one is made again with the study's results


def reported(study):
    """The files that `snakemake --report` shows, where they are there already.

    They are inputs of targets and no rule's output: a study's marker alone says whether its files are made.
    """
    if not Path(SUMMARIES[study].marker).exists():
        return []
    found, pictures = [], pictures_of(study)
    for file, kind in (("report.html", "page"), ("table.csv", "table")):
        path = f"results/{study}/{file}"
        about = {
            "category": study,
            "subcategory": "Results",
            "labels": {"result": kind},
        }
        if Path(path).exists():
            found.append(flags.report(path, caption=caption(kind), **about))
    if pictures:
        about = {
            "patterns": [f"{{study,{study}}}/figures/{{picture}}.png"],
            "category": study,
            "subcategory": "Pictures",
            "labels": lambda wildcards: {
                "result": pictures[wildcards.picture]["title"],
                "kind": pictures[wildcards.picture]["category"],
            },
        }
        found.append(flags.report("results", caption=caption("picture"), **about))
    return found


def caption(kind):
    return str(Path(workflow.basedir) / "workflow" / "report" / f"{kind}.rst")


def captions_of(studies):
    """What workflow/report/picture.rst says of each picture."""
    return {
        study: {stem: rst(one["caption"]) for stem, one in pictures_of(study).items()}
        for study in studies
    }


def manifests_of_stage(stage):
    return [
        job.manifest
        for job in PLAN.jobs_of(PLAN.studies).values()
        if job.stage == stage
    ]


def refuse_unknown_targets():
    """Says what Snakemake would call a missing rule; called when all rules are known."""
    if not workflow.is_main_process:
        return
    try:
        refuse_unknown(
            targets_in(sys.argv[1:]), PLAN, [rule.name for rule in workflow.rules]
        )
    except TesseraError as error:
        sys.exit(f"error: {error}")


def write_specifications():
    """What a cluster's jobs are to do, whatever becomes of the studies until they start."""
    if not workflow.non_local_exec:
        return
    for job in PLAN.jobs_of(ASKED or PLAN.studies).values():
        if not Path(job.manifest).exists():
            spec_file(job, resume_folder(job) / "job.json")
    for name in ASKED or PLAN.studies:
        spec_file(SUMMARIES[name], summary_spec(name, SUMMARIES[name].key))


def ask_slurm_that_answers():
    """Where SLURM keeps no accounts, `sacct` (the executor's own choice) never says that a job has ended."""
    settings = workflow.executor_settings
    if getattr(settings, "status_command", None) == "sacct" and keeps_no_accounts():
        print(
            "note: this SLURM keeps no accounts, so that squeue is asked how jobs stand"
        )
        settings.status_command = "squeue"


CONFIGURATION = json.dumps(config)
FINISH = "python -m tessera finish --resolved {CONFIGURATION:q} --studies {ASKED}"
