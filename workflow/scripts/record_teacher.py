"""Stage `record_teacher`: what a teacher says of views that are drawn once."""

from tessera.jobs import RecordTeacher
from tessera.stages import StageJob, run_stage


def record_teacher(job: StageJob[RecordTeacher]) -> None:
    """Features of all views, and how many there are."""
    from tessera.transfer.record import record

    features = record(job.settings, job.reads, job.compute, job.trial, job.output)
    job.save_metrics({"views": features.shape[0], "images": features.shape[1]})


run_stage(RecordTeacher, record_teacher, needs_device=True)
