"""Stage `transfer_knowledge`: train one target network under one transfer method."""

from tessera.jobs import TransferKnowledge
from tessera.stages import StageJob, run_stage


def transfer_knowledge(job: StageJob[TransferKnowledge]) -> None:
    """Trains, as networks of this kind are trained, and keeps network and history."""
    from tessera.models.store import save_network
    from tessera.registry import import_target

    train = import_target(job.settings.trainer)
    trained = train(job.settings, job.reads, job.compute, job.trial, job.resume)
    save_network(trained.network, trained.about, job.output)
    job.save_history(trained.history)
    job.save_metrics(trained.metrics)


if __name__ == "__main__":  # processes that share a training load this file as well
    run_stage(TransferKnowledge, transfer_knowledge, needs_device=True)
