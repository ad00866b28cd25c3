"""Methods whose term is a loss of maps or embeddings: what they read, what they train, and with which weight."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from tessera import registry
from tessera.data.store import Dataset
from tessera.errors import StudyError
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.training.compute import Compute
from tessera.training.optimizer import make_optimizer
from tessera.training.options import OptimizerOptions
from tessera.transfer.attention import attention_loss
from tessera.transfer.correlation import correlation_loss
from tessera.transfer.fitnet import FitNet
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.jacobian import jacobian_loss
from tessera.transfer.method import TransferMethod
from tessera.transfer.nst import nst_loss
from tessera.transfer.pkt import pkt_loss
from tessera.transfer.rkd import angle_loss, differences, distance_loss
from tessera.transfer.seen import Seen, see
from tessera.transfer.similarity import similarity_loss
from tessera.transfer.teacher import Teacher
from tessera.transfer.vectors import unit
from tessera.transfer.vid import Vid

STAGES = [("pool2", "stage1"), ("conv4", "stage2"), ("conv5", "stage3")]


def method_of(
    options: dict[str, Any], network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> Any:
    asked = registry.find("transfer", options["name"]).options.model_validate(options)
    torch.manual_seed(3)
    method: TransferMethod = registry.load("transfer", asked.name)(asked)
    method.fit_teacher(network, teacher, images, compute, trial=0)
    return method


def seen_by(method: TransferMethod, network: ReducedAlexNet, teacher: Teacher, images: TargetImages) -> Seen:
    pixels = images.dataset.test.images[:].float() / 255
    if method.options.differentiates_input:
        pixels.requires_grad_()
    labels = images.dataset.test.labels
    return see(
        Views(pixels, images.normalize(pixels)), labels, torch.arange(len(labels)), network, teacher, method.reads
    )


def test_features_that_a_method_does_not_say_it_reads_are_not_there(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    seen = seen_by(method_of({"name": "attention"}, network, teacher, images, compute), network, teacher, images)
    with pytest.raises(RuntimeError, match=r"reads = Reads\(features=True\)"):
        _ = seen.features


def stages(network: ReducedAlexNet, teacher: Teacher, images: TargetImages) -> list[tuple[Tensor, Tensor]]:
    """Maps of the stages' ends, the larger averaged to the smaller, by another way."""
    pixels = images.dataset.test.images[:].float() / 255
    ours, theirs = (
        network.maps(images.normalize(pixels), [s for s, _ in STAGES]),
        teacher.encoder.layers(teacher.normalize(pixels)),
    )
    sizes = {"pool2": (4, 4), "conv4": (4, 4), "conv5": (4, 4)}
    return [tuple(F.adaptive_avg_pool2d(m, sizes[s]) for m in (ours[s], theirs[t])) for s, t in STAGES]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "loss", "weight"),
    [
        ({"name": "attention", "power": 3.0}, lambda s, t: attention_loss(s, t, 3.0), 500),
        ({"name": "nst"}, nst_loss, 50),
        ({"name": "nst", "weight": 2.0}, nst_loss, 2),
    ],
    ids=lambda given: str(given) if isinstance(given, dict) else "",
)
def test_maps_of_all_stages_are_compared_at_one_size(
    options: dict[str, Any],
    loss: Any,
    weight: float,
    network: ReducedAlexNet,
    teacher: Teacher,
    images: TargetImages,
    compute: Compute,
) -> None:
    method = method_of(options, network, teacher, images, compute)
    assert [tuple(pair) for pair in method.pairs] == STAGES
    expected = weight * sum(loss(*maps).item() for maps in stages(network, teacher, images))
    assert method.term(seen_by(method, network, teacher, images), network).item() == pytest.approx(expected, rel=1e-5)
    assert not list(method.parameters())


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({"name": "similarity"}, None),
        ({"name": "correlation", "gamma": 0.3, "order": 3}, lambda s, t: 100 * correlation_loss(s, t, 0.3, 3)),
        ({"name": "pkt"}, lambda s, t: 30_000 * pkt_loss(s, t)),
        (
            {"name": "rkd", "distance": 2.0},
            lambda s, t: (
                2 * distance_loss(differences(s), differences(t)) + 50 * angle_loss(differences(s), differences(t))
            ),
        ),
        ({"name": "rkd", "angle": 0.0}, lambda s, t: 25 * distance_loss(differences(s), differences(t))),
    ],
    ids=lambda given: str(given) if isinstance(given, dict) else "",
)
def test_embeddings_are_the_last_layers_input_and_z_averaged(
    options: dict[str, Any],
    loss: Any,
    network: ReducedAlexNet,
    teacher: Teacher,
    images: TargetImages,
    compute: Compute,
) -> None:
    method = method_of(options, network, teacher, images, compute)
    pixels = images.dataset.test.images[:].float() / 255
    z = network(images.normalize(pixels)), network.maps(images.normalize(pixels), ("conv5",))["conv5"]
    theirs = teacher.encoder(teacher.normalize(pixels))
    assert_close(network.logits(network.embedding(z[1])), z[0])
    if loss is None:
        expected = 3000 * similarity_loss(z[1], theirs)
    else:
        expected = loss(network.embedding(z[1]), theirs.mean(dim=(2, 3)))
    found = method.term(seen_by(method, network, teacher, images), network)
    assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("places", "number"), [("intermediate", 3), ("penultimate", 1), ("both", 4)])
def test_vid_adds_the_likelihoods_of_its_places(
    places: str, number: int, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = method_of({"name": "vid", "places": places, "weight": 2.0}, network, teacher, images, compute)
    assert isinstance(method, Vid)
    seen = seen_by(method, network, teacher, images)
    losses = method.losses(seen)
    assert len(losses) == number
    expected = []
    for variational, maps in zip(method.intermediate, stages(network, teacher, images), strict=False):
        expected.append((math.log(5) + (variational.mean(maps[0]) - maps[1]).square().mean().item() / 5) / 2)
    if places != "intermediate":
        (linear,) = method.penultimate[0].mean
        gap = seen.embedding @ linear.weight[:, :, 0, 0].T - seen.features
        expected.append((math.log(5) + gap.square().mean().item() / 5) / 2)
    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-4)
    term = method.term(seen, network)
    assert term is not None
    assert term.item() == pytest.approx(2 * sum(expected), rel=1e-4)


def test_vids_variances_have_no_weight_decay(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = method_of({"name": "vid", "places": "both"}, network, teacher, images, compute)
    optimizer = make_optimizer(OptimizerOptions(weight_decay=0.1), *method.parameter_groups(network))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: decay[id(p)] for name, p in method.named_parameters()}
    assert len(found) == 3 * 4 + 2
    assert {name.rpartition(".")[2]: value for name, value in found.items()} == {"rho": 0.0, "weight": 0.1}


def test_a_hint_is_a_regression_of_the_middle_stage(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = method_of({"name": "fitnet"}, network, teacher, images, compute)
    ours, theirs = stages(network, teacher, images)[1]
    (regressor,) = method.regressors
    expected = 100 * F.mse_loss(torch.einsum("oi,nihw->nohw", regressor.weight[:, :, 0, 0], ours), theirs - 0)
    regressor.bias.data.zero_()
    assert_close(method.term(seen_by(method, network, teacher, images), network), expected, rtol=1e-4, atol=1e-6)
    assert method.own_modules() == [method]


def test_the_first_stage_of_hints_trains_the_layers_up_to_the_led_one(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    joint = method_of({"name": "fitnet"}, network, teacher, images, compute)
    method = method_of({"name": "fitnet", "mode": "two_stage"}, network, teacher, images, compute)
    assert isinstance(method, FitNet)
    seen = seen_by(joint, network, teacher, images)
    loss = method.first_stage_loss(seen.views, network)
    assert_close(100 * loss, joint.term(seen, network))  # the same regressor, by the same seed
    loss.backward()  # type: ignore[no-untyped-call]
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"conv1", "conv2", "conv3", "conv4"}
    assert all(p.grad is not None for p in method.parameters())
    assert method.term(seen, network) is None
    assert [modules for modules, _ in method.parameter_groups(network)] == [[network]]  # the regressors are dropped
    assert not any(method.reads)  # the second stage does not run the teacher


@pytest.mark.parametrize("of", ["attention", "logit"])
def test_jacobians_are_of_both_networks_own_answers(
    of: str, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = method_of({"name": "jacobian", "of": of, "weight": 3.0}, network, teacher, images, compute)
    assert method.options.needs_classifier is method.options.needs_same_classes is (of == "logit")
    seen = seen_by(method, network, teacher, images)
    pixels, rows = seen.views.pixels.detach(), []
    for side in range(2):
        found = []
        for image, label in zip(pixels, seen.labels, strict=True):  # in eval mode images are apart
            image = image.clone().requires_grad_()
            if side == 0:
                z = network.maps(images.normalize(image)[None], ("conv5",))["conv5"]
                logits = network.classify(z)
            else:
                z = teacher.encoder(teacher.normalize(image[None]))
                assert teacher.classifier is not None
                logits = teacher.classifier.head(z)
            answer = (z**2).sum(dim=1).max() if of == "attention" else logits[0, label]
            (gradient,) = torch.autograd.grad(answer, image)
            found.append(unit(gradient.flatten()))
        rows.append(torch.stack(found))
    expected = 3 * jacobian_loss(rows[0], rows[1])
    term = method.term(seen, network)
    assert_close(term, expected, rtol=1e-4, atol=1e-6)
    term.backward()
    assert all(p.grad is None for p in teacher.encoder.parameters())
    assert any(p.grad is not None for p in network.parameters())
    assert not any(p.requires_grad for p in method.parameters())


def test_a_logits_jacobian_asks_for_a_classifier_of_the_same_classes(
    settings: Any, dataset: Dataset, teacher: Teacher, network: ReducedAlexNet, images: TargetImages, compute: Compute
) -> None:
    other = TargetImages(
        Dataset(("a", "b", "x"), 16, *dataset.normalization, {"train": dataset.train, "test": dataset.test}),
        images.index, None, images.normalize,
    )  # fmt: skip
    with pytest.raises(StudyError, match="transfer `jacobian`: class 2 is `c` in the source, but `x` in the target"):
        method_of({"name": "jacobian", "of": "logit"}, network, teacher, other, compute)


def test_a_layer_that_is_lacking_ends_the_job_before_its_first_epoch(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    with pytest.raises(StudyError, match=r"`vid`, layers: the target network \(ReducedAlexNet\) has no layer `conv6`"):
        method_of({"name": "vid", "layers": [["conv6", "stage3"]]}, network, teacher, images, compute)
