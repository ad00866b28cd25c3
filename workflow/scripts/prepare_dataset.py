"""Stage `prepare_dataset`: read images from their origin, once."""

from pathlib import Path

from tessera.jobs import PrepareDataset
from tessera.stages import StageJob, run_stage


def prepare(job: StageJob[PrepareDataset]) -> None:
    """The dataset as one array of images, or packed shards of them, with labels and splits."""
    from tessera.data.prepare import prepare_dataset

    job.save_metrics(prepare_dataset(job.settings.dataset, Path(job.run.data_root), job.output, job.resume))


run_stage(PrepareDataset, prepare)
