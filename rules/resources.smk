# What jobs ask of the machine, or of a cluster.

from functools import cache

from snakemake.resources import Resource

from tessera.devices import num_devices
from tessera.monitor.cluster import MEMORY, TIME, keeps_no_accounts

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


def ask_slurm_that_answers():
    """Where SLURM keeps no accounts, `sacct` (the executor's own choice) never says that a job has ended."""
    settings = workflow.executor_settings
    if getattr(settings, "status_command", None) == "sacct" and keeps_no_accounts():
        print(
            "note: this SLURM keeps no accounts, so that squeue is asked how jobs stand"
        )
        settings.status_command = "squeue"
