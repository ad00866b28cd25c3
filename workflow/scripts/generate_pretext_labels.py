"""Stage `generate_pretext_labels`: make what a task needs beforehand."""

from tessera.jobs import GeneratePretextLabels
from tessera.stages import StageJob, run_stage


def generate(job: StageJob[GeneratePretextLabels]) -> None:
    """Permutation sets, colour priors: tensors by name."""
    from safetensors.torch import save_file

    from tessera import registry
    from tessera.data.store import load_dataset
    from tessera.training.randomness import generator_of

    settings = dict(job.settings.task)
    image_size = settings.pop("image_size", 0)  # only where labels are made from images
    options = registry.find("task", settings["name"]).options.model_validate(settings)
    dataset = load_dataset(job.inputs["dataset"], job.compute.device) if "dataset" in job.inputs else None
    task = registry.load("task", options.name)
    prepared = task.prepare(options, image_size, dataset, generator_of(job.trial, "labels", options.name))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in prepared.items()}
    save_file(tensors, job.output / "labels.safetensors")


run_stage(GeneratePretextLabels, generate)
