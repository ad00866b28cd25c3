"""Stage `cluster_target`: cluster the target's images in the source encoder's features, and retrieve among them."""

from tessera.jobs import ClusterTarget
from tessera.stages import StageJob, run_stage


def cluster_target(job: StageJob[ClusterTarget]) -> None:
    """Clusters, and keeps figures, assignments, the course of the refinement, and what of it can be looked at."""
    from tessera.clustering.illustrate import illustrate
    from tessera.protocols.session import protocol_of

    options, compute = job.settings.protocol, job.compute
    protocol = protocol_of(options)
    dataset = protocol.load(job.reads["dataset"], compute.device)
    if job.settings.labels is not None:
        dataset = dataset.by(job.settings.labels)
    measured = protocol.model(job.reads["source"], compute.device)
    found = protocol.evaluate(measured, dataset, dataset.train, compute, job.trial, job.resume)
    job.save_metrics(found.metrics)
    job.save_history(found.history)
    job.save_arrays(found.arrays, "assignments.npz")
    illustrate(found.arrays, dataset, job.trial, job.output)


run_stage(ClusterTarget, cluster_target, needs_device=True)
