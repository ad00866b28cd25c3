# What the rules ask of the plan. What jobs ask of the machine: resources.smk.

import json
import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from tessera.artifacts import from_other_code, resume_folder
from tessera.environment import prefer_this_python
from tessera.errors import StudyError, TesseraError
from tessera.explain.mixed import mixed
from tessera.files import replace_text
from tessera.monitor.failures import Failures
from tessera.report import marker
from tessera.study.config import Config
from tessera.study.extending import extensions
from tessera.study.files import read_yaml
from tessera.jobs import FOLDERS, Job, SummarizeStudy
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

# A longer training waits for the shorter one whose state it goes on from, where both are to be made. Whoever asks for
# artifacts by name gets those alone, from whatever states there are.
EXTENDS = (
    {}
    if any(word.startswith("artifacts/") for word in sys.argv)
    else extensions(
        [
            job
            for job in PLAN.jobs_of(ASKED or PLAN.studies).values()
            if not Path(job.manifest).exists()
        ],
        Path(),
    )
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
    if job.folder in EXTENDS and EXTENDS[job.folder].after is not None:
        others.append(EXTENDS[job.folder].after.folder)
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


CONFIGURATION = json.dumps(config)
FINISH = "python -m tessera finish --resolved {CONFIGURATION:q} --studies {ASKED}"
