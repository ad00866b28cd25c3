"""Tasks that learn maps, and their meters, against loops over pixels, torchmetrics and scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional import mean_absolute_error, mean_absolute_percentage_error
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from label_maps import MAP_COLUMNS, label_maps
from tessera import registry
from tessera.data.store import Split
from tessera.models.heads.dense import HEADS
from tessera.tasks import PARTS
from tessera.tasks.base import ImageStatistics
from tessera.tasks.dense import DenseTask
from tessera.tasks.meters.maps import angles_between

DENSE = ["semantic_segmentation", "depth", "disparity", "normals"]
OUTPUTS = {"semantic_segmentation": 4, "normals": 3}
NUMBER, SIZE = 3, 8


def make(name: str, **options: Any) -> DenseTask:
    statistics = ImageStatistics(SIZE, (0.5,) * 3, (0.2,) * 3, MAP_COLUMNS)
    task = registry.load("task", name)(PARTS[name].options(**options), statistics, {}, torch.device("cpu"))
    assert isinstance(task, DenseTask)
    return task


def drawn(name: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A prediction, float64, that needs a gradient, and labels of the same size."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (NUMBER, 3, SIZE, SIZE), generator=generator).to(torch.uint8)
    labels = label_maps(images)[PARTS[name].options().labels]  # type: ignore[attr-defined]
    prediction = torch.randn(NUMBER, OUTPUTS.get(name, 1), SIZE, SIZE, generator=generator).double()
    return prediction.requires_grad_(), labels


def slow_loss(name: str, prediction: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """Pixel by pixel."""
    terms = []
    for n in range(NUMBER):
        for i in range(SIZE):
            for j in range(SIZE):
                answer, right = prediction[n, :, i, j], labels[n, ..., i, j].double()
                if name == "semantic_segmentation":
                    if int(right) != 255:
                        terms.append(answer.logsumexp(0) - answer[int(right)])
                elif name == "normals":
                    if bool(right.any()):
                        unit, right = answer / answer.norm(), right / right.norm()
                        cosine = 1 - unit @ right
                        terms.append((unit - right).abs().mean() if options.get("loss") == "l1" else cosine)
                elif float(right) > 0:
                    wanted = 2 / (right + 2) if options.get("target") == "reciprocal" else right
                    terms.append((answer[0] - wanted).abs())
    found = torch.stack(terms)
    if options.get("loss") == "berhu":
        bound = 0.2 * found.max().detach()
        found = torch.stack([e if e <= bound else (e * e + bound * bound) / (2 * bound) for e in found])
    return found.mean()


CASES = [(name, {}) for name in DENSE] + [("normals", {"loss": "l1"}), ("depth", {"loss": "berhu"})]
CASES += [("depth", {"target": "reciprocal"}), ("disparity", {"target": "reciprocal", "loss": "berhu"})]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_loss_and_gradient_are_those_of_a_loop_over_pixels(name: str, options: dict[str, Any]) -> None:
    prediction, labels = drawn(name)
    loss = make(name, **options).loss(prediction, labels)
    expected = slow_loss(name, prediction, labels, **options)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    (ours,) = torch.autograd.grad(loss, prediction)
    (theirs,) = torch.autograd.grad(expected, prediction)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_batch_without_a_label_has_loss_nothing_and_teaches_nothing(name: str, options: dict[str, Any]) -> None:
    prediction, labels = drawn(name)
    none = torch.full_like(labels, 255) if name == "semantic_segmentation" else torch.zeros_like(labels)
    task = make(name, **options)
    loss = task.loss(prediction, none)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert not gradient.any()
    assert all(value.item() == 0 for value in task.metrics(prediction, none).values())
    meter = task.meter()
    meter.add(prediction.detach(), none)
    assert meter.count() == 0


def test_segmentation_is_what_torchmetrics_and_scikit_learn_say() -> None:
    task, (prediction, labels) = make("semantic_segmentation"), drawn("semantic_segmentation")
    labels = torch.where(labels == 2, 255, labels).to(torch.uint8)  # a class that no label has
    prediction = prediction.detach().index_fill(1, torch.tensor(2), -9.0)  # nor any prediction
    meter = task.meter()
    meter.add(prediction, labels)
    found, known, best = meter.figures(), labels != 255, prediction.argmax(1)
    options: dict[str, Any] = {"num_classes": 4, "ignore_index": 255}
    wanted = labels.long()
    assert found["mean_iou"] == pytest.approx(100 * multiclass_jaccard_index(best, wanted, **options).item(), rel=1e-6)
    accuracy = multiclass_accuracy(best, wanted, average="micro", **options).item()
    assert found["pixel_accuracy"] == pytest.approx(100 * accuracy, rel=1e-6)
    scored = sklearn.metrics.jaccard_score(labels[known], best[known], average="macro", labels=[0, 1, 3])
    assert found["mean_iou"] == pytest.approx(100 * scored)
    arrays = meter.arrays()
    assert np.array_equal(
        arrays["confusion"], sklearn.metrics.confusion_matrix(wanted[known], best[known], labels=range(4))
    )
    assert np.array_equal(arrays["predictions"], best)
    assert meter.count() == known.sum()


@pytest.mark.parametrize("name", ["depth", "disparity"])
def test_distances_are_what_torchmetrics_says(name: str) -> None:
    task, (prediction, labels) = make(name), drawn(name)
    meter = task.meter()
    meter.add(prediction.detach(), labels)
    known = labels > 0
    answer, right = prediction.detach()[:, 0][known].float(), labels[known].float()
    assert meter.figures() == {
        "absolute_error": pytest.approx(mean_absolute_error(answer, right).item(), rel=1e-5),
        "relative_error": pytest.approx(100 * mean_absolute_percentage_error(answer, right).item(), rel=1e-5),
    }


def test_what_is_predicted_as_a_reciprocal_is_turned_back() -> None:
    labels = torch.tensor([[[0.5, 2.0, 6.0, 0.0]]])
    prediction = torch.tensor([[[[0.8, 0.5, 0.25, 0.1]]]])  # 2 / (D + 2) of these, and of 18
    meter = make("depth", target="reciprocal").meter()
    meter.add(prediction, labels)
    assert meter.figures() == {
        "absolute_error": pytest.approx(0, abs=1e-6),
        "relative_error": pytest.approx(0, abs=1e-5),
    }
    assert make("depth", target="reciprocal").loss(prediction, labels).item() == pytest.approx(0, abs=1e-7)


def test_angles_are_those_of_their_cosines() -> None:
    task, (prediction, labels) = make("normals"), drawn("normals")
    meter = task.meter()
    meter.add(prediction.detach(), labels)
    known = labels.any(dim=1)
    answer, right = (each.movedim(1, -1)[known].double() for each in (prediction.detach(), labels))
    angles = np.degrees(np.arccos(F.cosine_similarity(answer, right, dim=1).numpy()))
    found = meter.figures()
    assert found["mean_angle"] == pytest.approx(angles.mean(), rel=1e-6)
    assert found["median_angle"] == pytest.approx(np.median(angles), abs=0.5)  # few pixels lie far apart
    for name, bound in (("within_11_25", 11.25), ("within_22_5", 22.5), ("within_30", 30)):
        assert found[name] == pytest.approx(100 * (angles < bound).mean())


def test_the_median_is_good_to_a_hundredth_of_a_degree() -> None:
    angles = torch.linspace(3, 17, 40_001).double().deg2rad().view(1, 1, -1)
    prediction = torch.stack([angles.sin(), 0 * angles, angles.cos()], dim=1)
    labels = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(prediction)
    meter = make("normals").meter()
    meter.add(prediction, labels)
    assert meter.figures()["median_angle"] == pytest.approx(10, abs=0.0101)
    assert meter.figures()["mean_angle"] == pytest.approx(10, abs=1e-4)


def test_small_angles_are_not_lost() -> None:
    angle = 1e-4
    one, other = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([math.sin(angle), 0.0, math.cos(angle)])
    found = angles_between(one.view(1, 3, 1, 1), other.view(1, 3, 1, 1)).item()
    assert found == pytest.approx(math.degrees(angle), rel=1e-3)


@pytest.mark.parametrize("name", DENSE)
def test_one_batch_is_two_halves(name: str) -> None:
    task, (prediction, labels) = make(name), drawn(name)
    whole, halves = task.meter(), task.meter()
    whole.add(prediction.detach(), labels)
    for part in (slice(0, 1), slice(1, NUMBER)):
        halves.add(prediction.detach()[part], labels[part])
    assert halves.figures() == pytest.approx(whole.figures(), rel=1e-12)
    for key, array in whole.arrays().items():
        assert np.array_equal(array, halves.arrays()[key])


@pytest.mark.parametrize("name", DENSE)
def test_figures_can_be_computed_again_from_what_is_kept(name: str) -> None:
    task, (prediction, labels) = make(name), drawn(name)
    meter, again = task.meter(), task.meter()
    meter.add(prediction.detach(), labels)
    kept = torch.from_numpy(meter.arrays()["predictions"])
    shown = F.one_hot(kept.long(), 4).movedim(-1, 1) if name == "semantic_segmentation" else kept
    again.add(shown if shown.ndim == 4 else shown[:, None], labels)
    assert again.figures() == pytest.approx(meter.figures(), rel=2e-3)


def test_no_more_is_kept_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tessera.tasks.meters.maps.KEPT_BYTES", 2 * SIZE * SIZE + 1)
    task, (prediction, labels) = make("semantic_segmentation"), drawn("semantic_segmentation")
    meter = task.meter()
    for _ in range(2):
        meter.add(prediction.detach(), labels)
    assert len(meter.arrays()["predictions"]) == 2
    assert meter.count() == 2 * (labels != 255).sum()


@pytest.mark.parametrize("name", DENSE)
def test_a_coarser_prediction_is_brought_to_the_labels_size(name: str) -> None:
    _, labels = drawn(name)
    coarse = torch.randn(NUMBER, OUTPUTS.get(name, 1), 4, 4, generator=torch.Generator().manual_seed(1))
    task = make(name)
    enlarged = F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    assert torch.equal(task.loss(coarse, labels), task.loss(enlarged, labels))


def test_aspp_is_the_head_of_torchvision() -> None:
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead

    torch.manual_seed(0)
    ours, theirs = HEADS["aspp"](6, None, 4).eval(), DeepLabHead(6, 4).eval()
    theirs.load_state_dict(ours.state_dict())
    features = torch.randn(2, 6, 9, 7)
    assert torch.equal(ours(features), theirs(features))
    narrow = HEADS["aspp"](6, 256, 4).eval()
    narrow.load_state_dict(dict(zip(narrow.state_dict(), ours.state_dict().values(), strict=True)))
    assert torch.equal(narrow(features), ours(features))


@pytest.mark.parametrize(("head", "factor"), [("conv", 1), ("aspp", 1), ("expansion", 4)])
def test_heads_give_a_map(head: str, factor: int) -> None:
    module = HEADS[head](6, 8, 5)
    assert module(torch.randn(2, 6, 3, 5)).shape == (2, 5, 3 * factor, 5 * factor)
    assert any(isinstance(layer, nn.Conv2d) and layer.out_channels == 8 for layer in module.modules())


def test_pixels_and_labels_of_a_batch_are_moved_alike() -> None:
    """Labels that are the image's own red channel stay so, whatever the view."""
    images = torch.arange(1, 1 + NUMBER * 3 * 12 * 16).view(NUMBER, 3, 12, 16).remainder(251).to(torch.uint8)
    split = Split(images, torch.zeros(NUMBER, dtype=torch.int64), {"depth": images[:, 0].half()})
    task = make("depth", crop=(8, 10))
    batch = task.make_batch(images, task.labels_of(split), torch.Generator().manual_seed(0))
    assert batch.labels.shape == (NUMBER, 8, 10)
    red = task.denormalize(batch.inputs)[:, 0]
    assert torch.equal(red.float(), batch.labels)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_predictions_of_half_precision_have_a_finite_loss(name: str, options: dict[str, Any]) -> None:
    prediction, labels = drawn(name)
    coarse = (30 * prediction.detach()).bfloat16().requires_grad_()
    loss = make(name, **options).loss(coarse, labels)
    assert loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss, coarse)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient.any()
    meter = make(name, **options).meter()
    meter.add(coarse.detach(), labels)
    assert all(math.isfinite(value) for value in meter.figures().values())
