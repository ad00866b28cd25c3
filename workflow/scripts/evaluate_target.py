"""Stage `evaluate_target`: measure a target network, or the source encoder itself."""

from tessera.stages import StageJob, run_stage
from tessera.study.jobs import EvaluateTarget


def evaluate_target(job: StageJob[EvaluateTarget]) -> None:
    """Measures, and keeps figures and predictions."""
    from tessera import registry
    from tessera.data.store import label_subset, load_dataset
    from tessera.models.store import load_measured
    from tessera.training import generator_of

    options, compute = job.settings.protocol, job.compute
    dataset = load_dataset(job.inputs["dataset"], compute.device)
    model, mean, std = load_measured(job.inputs.get("network") or job.inputs["source"], compute.device)
    # The same images as transfer_knowledge draws in this trial.
    known = label_subset(dataset.train.labels, job.settings.label_fraction, generator_of(job.trial, "labels"))
    protocol = registry.load("protocol", options.name)(options)
    found = protocol.evaluate(model, mean, std, dataset, dataset.train.subset(known), compute, job.trial, job.resume)
    job.save_metrics(found.metrics)
    job.save_arrays(found.arrays, "predictions.npz")


run_stage(EvaluateTarget, evaluate_target, needs_device=True)
