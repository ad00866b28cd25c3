"""Stage `evaluate_target`: measure a target network, or the source encoder itself, by one protocol or by several."""

from functools import partial
from typing import TYPE_CHECKING

from tessera.stages import StageJob, run_stage
from tessera.study.jobs import EvaluateTarget

if TYPE_CHECKING:
    from tessera.targets.measured import Measured


def evaluate_target(job: StageJob[EvaluateTarget], kept: "list[Measured]") -> None:
    """Measures, and keeps figures, predictions and what else the protocol leaves.

    Args:
        kept: What the job before loaded.
    """
    from tessera.targets.measured import Measured

    compute = job.compute
    if not (kept and kept[0].inputs == job.inputs and kept[0].trial == job.trial):
        kept[:] = [Measured(job.inputs, job.trial, compute, [one.protocol for one in job.beside])]
    found = kept[0].by(job.settings.protocol, job.settings.label_fraction, compute, job.resume)
    job.save_metrics(found.metrics)
    job.save_arrays(found.arrays, "predictions.npz")
    job.save_files(found.files)


run_stage(EvaluateTarget, partial(evaluate_target, kept=[]), needs_device=True)
