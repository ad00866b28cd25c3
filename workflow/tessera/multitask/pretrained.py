"""A source whose encoder is trained already: its weights are those of a file."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tessera.data.normalization import Normalization
from tessera.data.store import Dataset
from tessera.errors import StudyError
from tessera.files import sha256_of
from tessera.models.encoders.base import Encoder
from tessera.models.heads.vectors import VectorHead
from tessera.models.store import normalization_in
from tessera.models.weights import IMAGENET, Weights
from tessera.models.weights_file import Taken, WeightsFile, classifier_in, read_weights, take_weights
from tessera.multitask.batch_norm import batch_norms, reestimate_statistics
from tessera.multitask.epochs import Pretrained
from tessera.multitask.learner import Learner
from tessera.multitask.source import Source
from tessera.multitask.store import CLASSIFIER
from tessera.training.compute import Compute

log = logging.getLogger("tessera")


def load_pretrained(source: Source, dataset: Dataset, compute: Compute, trial: int) -> Pretrained:
    """The source's encoder with the weights of its file.

    Batch-norm statistics are the file's; where they are not in it, they are estimated from plain source images.

    Args:
        source: One with `weights`, every option resolved.

    Raises:
        StudyError: If the file is damaged, another than planned, or does not fit the encoder.
    """
    weights = source.weights
    assert weights is not None
    path = weights.path(Path())
    if not path.is_file() or sha256_of(path) != weights.sha256:
        raise StudyError(f"{path}: the file of weights has changed since this run was planned: run snakemake again")
    file = read_weights(path)
    learner = Learner(source, dataset, {}, compute, trial)
    taken = take_weights(learner.encoder, file.tensors, weights.prefix, str(path))
    normalization = _normalization(weights, file, learner.encoder, dataset)
    heads = nn.ModuleDict(
        {CLASSIFIER: compute.place(_classifier(learner.encoder, taken, dataset.classes, str(path)))}
        if weights.classifier
        else {}
    )
    if not taken.has_statistics and batch_norms(learner.encoder):
        log.info("%s has no statistics of batch norms: they are estimated from images of the source", path)
        learner.statistics = replace(learner.statistics, mean=normalization.mean, std=normalization.std)
        reestimate_statistics(learner.encoder, learner.plain_batches(), compute)
    if taken.left_over:
        names = ", ".join(taken.left_over)
        log.info("%s: %d tensors are no part of the encoder: %s", path, len(taken.left_over), names[:500])
    return Pretrained(learner.encoder.eval(), heads.eval(), learner.sharing.eval(), [], {}, {}, normalization)


def _normalization(weights: Weights, file: WeightsFile, encoder: Encoder, dataset: Dataset) -> Normalization:
    if weights.normalization == "dataset":
        return dataset.normalization
    if weights.mean is not None and weights.std is not None:
        return Normalization(weights.mean, weights.std)
    if weights.normalization is None:
        try:
            return normalization_in(file.about)
        except (KeyError, TypeError, ValueError):
            pass  # no file of Tessera
        if encoder.usual_normalization is not None:
            return Normalization(*encoder.usual_normalization)
        log.info("images are normalised with mean and deviation of ImageNet: weights.normalization may say another")
    return Normalization(*IMAGENET)


def _classifier(encoder: Encoder, taken: Taken, classes: Sequence[str], shown: str) -> VectorHead:
    found = classifier_in(taken.left_over, encoder.num_features)
    if found is None:
        raise StudyError(
            f"{shown}: weights.classifier is set, but beside the encoder the file has not one linear layer that reads "
            f"its {encoder.num_features} features: leave classifier out"
        )
    weight, bias = found
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise StudyError(
            f"{shown}: weights.classifier is set, but the linear layer is not finite: the file is damaged, or its "
            "training diverged: leave classifier out"
        )
    if len(weight) != len(classes):
        raise StudyError(
            f"{shown}: weights.classifier is set, but the file tells {len(weight)} classes apart, and source.dataset "
            f"has {len(classes)}: set source.dataset to the one of the file, or leave classifier out"
        )
    head = VectorHead(encoder.num_features, (), len(classes))
    with torch.no_grad():
        output = head.layers[-1]
        assert isinstance(output, nn.Linear)
        output.weight.copy_(weight)
        output.bias.copy_(bias)
    return head
