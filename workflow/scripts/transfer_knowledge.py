"""Stage `transfer_knowledge`: train one target network under one transfer method."""

from tessera.stages import StageJob, run_stage
from tessera.study.jobs import TransferKnowledge


def transfer_knowledge(job: StageJob[TransferKnowledge]) -> None:
    """Trains, and keeps network and history."""
    from tessera.data.store import load_dataset
    from tessera.models.store import load_classifier, load_encoder, save_network
    from tessera.transfer.base import Teacher
    from tessera.transfer.train import train_network

    compute = job.compute
    teacher = None
    if (source := job.inputs.get("source")) is not None:
        classifier = load_classifier(source, compute.device) if job.settings.transfer.needs_classifier else None
        teacher = Teacher.of(load_encoder(source, compute.device), classifier)
    dataset = load_dataset(job.inputs["dataset"], compute.device)
    trained = train_network(job.settings, teacher, dataset, compute, job.trial, job.resume)
    save_network(trained.network, trained.about, job.output)
    job.save_history(trained.history)
    job.save_metrics(trained.metrics)


run_stage(TransferKnowledge, transfer_knowledge, needs_device=True)
