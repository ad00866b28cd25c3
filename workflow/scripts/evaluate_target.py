"""Stage `evaluate_target`: measure a target network, or the source encoder itself."""

from tessera.stages import StageJob, run_stage
from tessera.study.jobs import EvaluateTarget


def evaluate_target(job: StageJob[EvaluateTarget]) -> None:
    """Measures, and keeps figures, predictions and what else the protocol leaves."""
    from tessera import registry
    from tessera.models.store import load_measured

    options, compute = job.settings.protocol, job.compute
    protocol = registry.load("protocol", options.name)(options)
    dataset = protocol.load(job.inputs["dataset"], compute.device)
    model, mean, std = load_measured(job.inputs.get("network") or job.inputs["source"], compute.device)
    labeled = protocol.labeled(dataset, job.settings.label_fraction, job.trial)
    found = protocol.evaluate(model, mean, std, dataset, labeled, compute, job.trial, job.resume)
    job.save_metrics(found.metrics)
    job.save_arrays(found.arrays, "predictions.npz")
    job.save_files(found.files)


run_stage(EvaluateTarget, evaluate_target, needs_device=True)
