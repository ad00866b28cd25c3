"""Stage `evaluate_target`: measure a target network, or the source encoder itself, by one protocol or by several."""

from tessera.jobs import EvaluateTarget
from tessera.stages import StageJob, run_stage


def evaluate_target(job: StageJob[EvaluateTarget]) -> None:
    """Measures, and keeps figures, predictions and what else the protocol leaves."""
    from tessera.protocols.session import Session

    compute = job.compute
    session: Session | None = job.kept.get("session")  # what the job before loaded, of the same model and images
    if session is None or (session.inputs, session.trial) != (job.reads, job.trial):
        session = Session(job.reads, job.trial, compute, [one.protocol for one in job.beside])
    job.kept["session"] = session
    settings = job.settings
    found = session.by(settings.protocol, settings.label_fraction, compute, job.resume, settings.labels)
    job.save_metrics(found.metrics)
    job.save_arrays(found.arrays, "predictions.npz")
    job.save_files(found.files)


if __name__ == "__main__":  # other stages' scripts load this file as well
    run_stage(EvaluateTarget, evaluate_target, needs_device=True)
