"""Stage `pretrain_source`: learn one encoder from all tasks, or take it over from a file."""

from tessera.jobs import PretrainSource
from tessera.stages import StageJob, run_stage


def pretrain_source(job: StageJob[PretrainSource]) -> None:
    """Trains, and keeps encoder, heads, history and previews of the tasks."""
    from safetensors.torch import load_file

    from tessera.data.store import load_dataset, refuse_without
    from tessera.multitask.pretrain import pretrain
    from tessera.multitask.pretrained import load_pretrained
    from tessera.multitask.previews import save_previews
    from tessera.multitask.store import save_trained

    source, compute = job.settings.source, job.compute
    dataset = load_dataset(job.inputs["dataset"], compute.device)
    refuse_without(dataset, [task.column for task in source.tasks if task.column is not None], job.inputs["dataset"])
    prepared = {role: folder for role, folder in job.inputs.items() if role.startswith("labels.")}
    labels = {role.removeprefix("labels."): load_file(path / "labels.safetensors") for role, path in prepared.items()}
    if source.weights is not None:
        pretrained = load_pretrained(source, dataset, compute, job.trial)
    else:
        pretrained = pretrain(source, dataset, labels, compute, job.trial, job.resume, job.states)
    job.extends = pretrained.extends
    if pretrained.compiled:
        job.made_with["compiled"] = True
    encoder, heads, sharing = pretrained.encoder, pretrained.heads, pretrained.sharing
    save_trained(source, dataset, encoder, heads, sharing, job.output, pretrained.normalization)
    if pretrained.snapshots is not None:
        pretrained.snapshots.hand_over(job.output, pretrained.views)
    job.save_history(pretrained.history)
    job.save_metrics(pretrained.metrics)
    save_previews(pretrained.previews, job.output)


run_stage(PretrainSource, pretrain_source, needs_device=True)
