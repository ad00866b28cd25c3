"""CETL's terms and weights against plain loops."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.data.store import Dataset
from tessera.models.networks.options import ReducedAlexNetOptions
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of, index_batches
from tessera.transfer.cetl import Cetl, Coupling, Decoder, fisher_weights, gradient_energies
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.options.features import CetlOptions
from tessera.transfer.teacher import Teacher
from transfer_losses import loss_of


@pytest.fixture
def images(dataset: Dataset) -> TargetImages:
    return TargetImages(dataset, torch.arange(0, 60, 3), None, lambda p: (p - 0.5) / 0.25)


@pytest.fixture
def network() -> ReducedAlexNet:
    return ReducedAlexNet(ReducedAlexNetOptions(width="quarter", hidden=16), num_classes=3, image_size=16)


def fitted(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute, **options: object
) -> Cetl:
    torch.manual_seed(3)
    method = Cetl(CetlOptions.model_validate({"width": 8, "fisher_batches": 2, **options}))
    method.fit_teacher(network, teacher, images, compute, trial=0)
    return method


def views_of(images: TargetImages) -> tuple[Views, Tensor]:
    split = images.dataset.test
    return images.views(split.images[:], torch.arange(len(split)), torch.Generator()), split.labels


def test_weights_are_inverse_to_the_information_and_of_mean_one() -> None:
    found = fisher_weights(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    assert found.tolist() == pytest.approx([3 * 4 / 7, 3 * 2 / 7, 3 * 1 / 7])  # 1 : 1/2 : 1/4
    assert fisher_weights(torch.zeros(3, dtype=torch.float64)).tolist() == [1, 1, 1]
    vanished = fisher_weights(torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))
    assert vanished.isfinite().all()
    assert vanished.mean().item() == pytest.approx(1)


def test_energies_are_squares_of_gradients_summed_over_what_a_term_reads() -> None:
    a, b = nn.Parameter(torch.tensor([2.0, 3.0])), nn.Parameter(torch.tensor(5.0))
    terms = [a.square().sum(), a[0] * b, 3 * b]
    # gradients: (4, 6); (5, 0) and 2; 3
    assert gradient_energies(terms, [a, b]).tolist() == pytest.approx([52, 29, 9])


def test_terms_match_plain_loops() -> None:
    torch.manual_seed(1)
    coupling = Coupling((2, 2), (3, 1), width=8, largest=4).eval()
    assert (coupling.grid, coupling.size) == (1, 4)
    student, teacher, pixels = torch.randn(2, 2, 2, 2), torch.randn(2, 3, 1, 1), torch.rand(2, 3, 8, 8)
    found = coupling(student, teacher, pixels)

    def aligned(weights: nn.Conv2d, vector: list[float]) -> list[float]:
        return [sum(w * v for w, v in zip(row, vector, strict=True)) for row in weights.weight.flatten(1).tolist()]

    def rebuilt(vector: list[float]) -> list[float]:
        image: Tensor = coupling.decoder(torch.tensor(vector).view(1, -1, 1, 1))
        return image.flatten().tolist()

    expected = [0.0, 0.0, 0.0]
    for n in range(2):
        ours = [student[n, c].flatten().tolist() for c in range(2)]
        pooled = [sum(values) / 4 for values in ours]
        theirs = teacher[n].flatten().tolist()
        small = [
            pixels[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum().item() / 4
            for c in range(3) for i in range(4) for j in range(4)
        ]  # fmt: skip
        pairs = [
            (rebuilt(aligned(coupling.align_student, pooled)), small),
            (rebuilt(aligned(coupling.align_teacher, theirs)), small),
            (aligned(coupling.across, pooled), theirs),
        ]
        for term, (a, b) in enumerate(pairs):
            expected[term] += sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a) / 2
    assert [term.item() for term in found] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "largest", "grid", "size"),
    [
        (8, 8, 32, 8, 32), (28, 7, 64, 7, 56), (4, 1, 32, 1, 16),
        (24, 24, 64, 24, 48), (28, 56, 16, 16, 16), (4, 6, 9, 4, 8),
    ],
)  # fmt: skip
def test_images_are_rebuilt_at_a_size_that_the_maps_lead_to(
    student: int, teacher: int, largest: int, grid: int, size: int
) -> None:
    coupling = Coupling((2, student), (3, teacher), 8, largest)
    assert (coupling.grid, coupling.size) == (grid, size)
    maps = torch.randn(2, 2, student, student), torch.randn(2, 3, teacher, teacher)
    assert all(term.isfinite() for term in coupling(*maps, torch.rand(2, 3, 64, 64)))


def test_the_decoder_doubles_the_size_in_each_block() -> None:
    image = Decoder(16, blocks=2)(torch.randn(2, 16, 3, 3))
    assert image.shape == (2, 3, 12, 12)
    assert 0 < image.min() < image.max() < 1


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_loss_adds_the_weighted_terms_to_the_cross_entropy(
    weight: float, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = fitted(network, teacher, images, compute, weight=weight).eval()
    method.weights.copy_(torch.tensor([0.5, 1.0, 1.5]))
    views, labels = views_of(images)
    network.eval()
    loss, logits = loss_of(method, views, labels, network, teacher)
    z = network.maps(views.inputs, ("conv5",))["conv5"]
    terms = method.coupling(z, teacher.encoder(teacher.normalize(views.pixels)), views.pixels)
    assert_close(logits, network(views.inputs))
    hard = -logits.log_softmax(1)[range(len(labels)), labels].mean().item()
    assert loss.item() == pytest.approx(hard + weight * ((0.5 * terms[0] + terms[1] + 1.5 * terms[2]).item()), rel=1e-5)


def test_fisher_weights_match_a_slow_loop(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = fitted(network, teacher, images, compute)
    figures = method.begin_epoch(network, images, compute, trial=5, epoch=2)
    generator = generator_of(5, "cetl", 2)
    energies = [0.0, 0.0, 0.0]
    network.train()
    for rows in index_batches(20, 64, 2, generator):
        views = images.views(images.labeled.images[rows], images.index[rows], generator)
        for term in range(3):
            network.zero_grad()
            method.zero_grad()
            z = network.maps(views.inputs, ("conv5",))["conv5"]
            theirs = teacher.encoder(teacher.normalize(views.pixels))
            method.coupling(z, theirs, views.pixels)[term].backward()
            for parameter in [*network.parameters(), *method.parameters()]:
                if parameter.grad is not None:
                    energies[term] += sum(value**2 for value in parameter.grad.flatten().tolist()) / 2
    inverse = [1 / energy for energy in energies]
    expected = [3 * value / sum(inverse) for value in inverse]
    assert method.weights.tolist() == pytest.approx(expected, rel=1e-3)
    assert list(figures) == ["weight_student", "weight_teacher", "weight_coupling"]
    assert list(figures.values()) == method.weights.tolist()


def test_estimating_leaves_student_and_decoder_as_they_were(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = fitted(network, teacher, images, compute)
    before = [{name: t.clone() for name, t in m.state_dict().items()} for m in (network, method.coupling)]
    method.begin_epoch(network, images, compute, trial=0, epoch=0)
    for module, kept in zip((network, method.coupling), before, strict=True):
        assert all(torch.equal(tensor, kept[name]) for name, tensor in module.state_dict().items())
        assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize(("refresh", "changes"), [("epoch", True), ("start", False)])
def test_weights_are_refreshed_when_asked(
    refresh: str, changes: bool, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = fitted(network, teacher, images, compute, refresh=refresh)
    first, second = (method.begin_epoch(network, images, compute, trial=0, epoch=epoch) for epoch in (0, 1))
    assert (first != second) is changes
    assert math.fsum(second.values()) == pytest.approx(3, rel=1e-5)


def test_gradients_reach_student_and_decoder_and_never_the_teacher(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = fitted(network, teacher, images, compute)
    views, labels = views_of(images)

    def touched(which: Callable[[tuple[Tensor, Tensor, Tensor]], Tensor]) -> set[str]:
        for module in (network, method):
            module.zero_grad(set_to_none=True)
        z = network.maps(views.inputs, ("conv5",))["conv5"]
        which(method.coupling(z, teacher.encoder(teacher.normalize(views.pixels)), views.pixels)).backward()  # type: ignore[no-untyped-call]
        every = [*network.named_parameters(), *method.coupling.named_parameters()]
        return {name.partition(".")[0] for name, p in every if p.grad is not None}

    student = {"conv1", "conv2", "conv3", "conv4", "conv5"}
    assert touched(lambda terms: terms[0]) == {*student, "align_student", "decoder"}
    assert touched(lambda terms: terms[1]) == {"align_teacher", "decoder"}
    assert touched(lambda terms: terms[2]) == {*student, "across"}
    loss_of(method, views, labels, network, teacher)[0].backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for module in (network, method) for p in module.parameters())
    assert all(p.grad is None for p in teacher.encoder.parameters())
