"""The linear probe: at its optimum by another optimiser, scale-free, and its messages."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from tessera.data.store import Dataset, Split, label_subset
from tessera.errors import DataError, StudyError
from tessera.models.encoders.base import Encoder
from tessera.protocols.base import Evaluation, Measured
from tessera.protocols.features import extract_features
from tessera.protocols.linear_probe import LinearProbe
from tessera.protocols.options import LinearProbeOptions
from tessera.training.compute import Compute


def evaluate(
    encoder: Encoder, dataset: Dataset, compute: Compute, labeled: Split | None = None, **options: Any
) -> Evaluation:
    probe = LinearProbe(LinearProbeOptions(**options))
    return probe.evaluate(Measured(encoder, dataset.normalization), dataset, labeled or dataset.train, compute, 0)


@pytest.mark.parametrize("l2", [1.0, 1e-2])
def test_minimises_mean_cross_entropy_with_half_the_squared_norm(
    encoder: Encoder, dataset: Dataset, compute: Compute, l2: float
) -> None:
    # Another route: torch's own L-BFGS in float64 on the objective as it is documented.
    features = extract_features(encoder, dataset.train.images, dataset.normalization, compute).double()
    tests = extract_features(encoder, dataset.test.images, dataset.normalization, compute).double()
    center, scale = features.mean(0), features.std(0, correction=0)
    features, tests = (features - center) / scale, (tests - center) / scale
    weight, bias = torch.zeros(3, 64, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(
        [weight.requires_grad_(), bias.requires_grad_()], max_iter=500, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(features @ weight.T + bias, dataset.train.labels) + l2 / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    logits = tests @ weight.T + bias
    found = evaluate(encoder, dataset, compute, l2=l2)
    assert np.array_equal(found.arrays["predictions"], logits.argmax(1).numpy())
    fitted = (
        LinearProbe(LinearProbeOptions(l2=l2)).classifier(60, 0).fit(features.numpy(), dataset.train.labels.numpy())
    )
    assert isinstance(fitted, LogisticRegression)
    np.testing.assert_allclose(fitted.coef_, weight.detach().numpy(), atol=0.01)


def test_reads_only_the_labels_it_is_given(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    index = label_subset(dataset.train.labels, 0.3, torch.Generator().manual_seed(0))
    wrong = torch.full_like(dataset.train.labels, 0).index_put((index,), dataset.train.labels[index])
    found = evaluate(encoder, dataset, compute, labeled=dataset.train.subset(index))
    lied = Dataset(
        dataset.classes, 8, *dataset.normalization,
        {"train": Split(dataset.train.images, wrong), "test": dataset.test},
    )  # fmt: skip
    assert evaluate(encoder, lied, compute, labeled=lied.train.subset(index)).metrics == found.metrics
    assert evaluate(encoder, lied, compute).metrics != found.metrics


def test_every_option_changes_something(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    plain = evaluate(encoder, dataset, compute).metrics
    for options in ({"layer": "stem"}, {"pool_px": 2}, {"l2": 100.0}):
        assert evaluate(encoder, dataset, compute, **options).metrics != plain, options


def test_no_penalty_fits_the_training_images(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    assert evaluate(encoder, dataset, compute, l2=0.0).metrics["train_accuracy"] == 100.0


def test_too_few_iterations_are_logged(
    encoder: Encoder, dataset: Dataset, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="tessera"):
        evaluate(encoder, dataset, compute, max_iterations=1)
    assert "not converged after 1 iterations: raise max_iterations" in caplog.text


def test_an_unknown_layer_is_refused(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    with pytest.raises(StudyError, match=r"no layer 'stage4'\. Did you mean .* Known: stage1, .*stem"):
        evaluate(encoder, dataset, compute, layer="stage4")


def test_labels_of_one_class_are_refused(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    one = dataset.train.subset((dataset.train.labels == 1).nonzero().flatten())
    with pytest.raises(DataError, match="all of one class: raise label_fraction"):
        evaluate(encoder, dataset, compute, labeled=one)
