from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.data.store import Dataset
from tessera.errors import StudyError
from tessera.models.networks.classifier import EncoderClassifier
from tessera.models.networks.options import ClassifierOptions, ReducedAlexNetOptions
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.training.compute import Compute
from tessera.transfer.alignment import Alignment, Scale
from tessera.transfer.fsp import Fsp, fsp_loss, gram, pool_to
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.options.features import FspOptions
from tessera.transfer.teacher import Teacher


def slow_gram(first: Tensor, second: Tensor) -> Tensor:
    images, m, height, width = first.shape
    n = second.shape[1]
    found = torch.zeros(images, m, n, dtype=first.dtype)
    for image in range(images):
        for i in range(m):
            for j in range(n):
                terms = [
                    first[image, i, s, t].item() * second[image, j, s, t].item()
                    for s in range(height)
                    for t in range(width)
                ]
                found[image, i, j] = sum(terms) / (height * width)
    return found


def pair(*channels: int) -> list[Tensor]:
    return [torch.randn(2, c, 3, 2, dtype=torch.float64) for c in channels]


def test_gram_matches_plain_loops() -> None:
    first, second = pair(3, 4)
    assert_close(gram(first, second), slow_gram(first, second))


def test_loss_matches_plain_loops() -> None:
    teacher, student = [pair(3, 4), pair(4, 2)], [pair(3, 4), pair(4, 2)]
    expected = 0.0
    for a, b in zip(teacher, student, strict=True):
        difference = slow_gram(a[0], a[1]) - slow_gram(b[0], b[1])
        expected += sum(value**2 for value in difference.flatten().tolist()) / difference.numel()
    loss = fsp_loss([(a, b) for a, b in teacher], [(a, b) for a, b in student])
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_gradient_is_that_of_finite_differences() -> None:
    teacher, student = pair(2, 3), pair(2, 3)
    first, second = (tensor.requires_grad_() for tensor in student)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        return fsp_loss([(teacher[0], teacher[1])], [(a, b)])

    assert torch.autograd.gradcheck(loss, (first, second))


def test_positions_may_be_permuted_alike_in_both_layers() -> None:
    first, second = pair(3, 4)
    order = torch.randperm(6)

    def permuted(maps: Tensor) -> Tensor:
        return maps.flatten(2)[..., order].view_as(maps)

    assert_close(gram(permuted(first), permuted(second)), gram(first, second))
    assert not torch.allclose(gram(permuted(first), second), gram(first, second))


@pytest.mark.parametrize(("before", "after"), [((8, 8), (4, 4)), ((9, 6), (3, 2)), ((5, 7), (2, 3)), ((4, 4), (4, 4))])
def test_pooling_takes_maxima_whether_sizes_divide_or_not(before: tuple[int, int], after: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *before)
    assert_close(pool_to(maps, after), nn.functional.adaptive_max_pool2d(maps, after))


@pytest.fixture
def images(dataset: Dataset) -> TargetImages:
    return TargetImages(dataset, torch.arange(0, 60, 6), None, lambda p: (p - 0.5) / 0.25)


@pytest.fixture
def network() -> ReducedAlexNet:
    return ReducedAlexNet(ReducedAlexNetOptions(width="quarter", hidden=16), num_classes=3, image_size=16)


def views_of(images: TargetImages) -> Views:
    pixels = images.dataset.test.images[:].float() / 255
    return Views(pixels, images.normalize(pixels))


def fitted(
    options: FspOptions, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> Fsp:
    torch.manual_seed(3)
    method = Fsp(options)
    method.fit_teacher(network, teacher, images, compute, trial=0)
    return method


@pytest.mark.parametrize("pairs", ["across_stage", "within_stage"])
@pytest.mark.parametrize("align", ["common", "channel_group", "student_conv1x1"])
def test_the_whole_loss_follows_the_definition(
    pairs: str, align: str, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    options = FspOptions.model_validate({"pairs": pairs, "align": align, "weight": 2.0, "width": 8})
    method = fitted(options, network, teacher, images, compute)
    views = views_of(images)
    network.eval()

    def matrices(names: Sequence[tuple[str, str]], side: str) -> list[Tensor]:
        found = []
        for (a, b), (c, d) in zip(teacher.encoder.stage_pairs[pairs], network.stage_pairs[pairs], strict=True):
            every = [
                *teacher.encoder.maps(teacher.normalize(views.pixels), (a, b)).values(),
                *network.maps(views.inputs, (c, d)).values(),
            ]
            size = min(maps.shape[-1] for maps in every)
            pooled = [nn.functional.adaptive_max_pool2d(maps, size) for maps in every]
            chosen = pooled[:2] if side == "teacher" else pooled[2:]
            points = [method.alignments[f"{t}:{s}".replace(".", "_")] for t, s in ((a, c), (b, d))]
            first, second = (getattr(point, side)(maps) for point, maps in zip(points, chosen, strict=True))
            found.append(torch.einsum("nihw,njhw->nij", first, second) / size**2)
        return found

    names = teacher.encoder.stage_pairs[pairs]
    expected = sum(
        2.0 * ((a - b) ** 2).mean().item()
        for a, b in zip(matrices(names, "teacher"), matrices(names, "student"), strict=True)
    )
    assert method.first_stage_loss(views, network).item() == pytest.approx(expected, rel=1e-4)


def test_equal_networks_have_zero_loss(teacher: Teacher, images: TargetImages, compute: Compute) -> None:
    student = EncoderClassifier(ClassifierOptions(), teacher.encoder, num_classes=3)
    method = Fsp(FspOptions(align="student_conv1x1"))
    method.fit_teacher(student, teacher, images, compute, trial=0)
    for point in method.alignments.values():  # the adapter that undoes the teacher's scale
        assert isinstance(point, Alignment)
        assert isinstance(point.student, nn.Conv2d)
        assert isinstance(point.teacher, Scale)
        identity = torch.eye(point.student.out_channels)
        point.student.weight.data = (identity * point.teacher.factor)[:, :, None, None]
    pixels = images.dataset.test.images[:].float() / 255
    loss = method.first_stage_loss(Views(pixels, teacher.normalize(pixels)), student.eval())
    assert loss.item() == pytest.approx(0.0, abs=1e-9)


def test_fitting_leaves_the_student_as_it_was(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fitted(FspOptions(align="channel_group"), network, teacher, images, compute)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_first_stage_trains_maps_and_adapters_but_no_classifier(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    method = fitted(FspOptions(), network, teacher, images, compute)
    method.first_stage_loss(views_of(images), network).backward()  # type: ignore[no-untyped-call]
    touched = {name for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {name for name, _ in network.named_parameters() if name.startswith("conv")}
    assert all(p.grad is not None for p in method.parameters())
    assert [modules for modules, _ in method.parameter_groups(network)] == [[network]]


def test_options_are_honoured(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    assert len(fitted(FspOptions(images="labeled"), network, teacher, images, compute).first_stage_images(images)) == 10
    assert len(fitted(FspOptions(images="all"), network, teacher, images, compute).first_stage_images(images)) == 60
    narrow = fitted(FspOptions(width=3), network, teacher, images, compute)
    assert {p.shape[0] for p in narrow.parameters()} == {3}
    axes = [
        fitted(FspOptions(calibration_images=n), network, teacher, images, compute).state_dict() for n in (5, 60, 99)
    ]
    key = "stem:pool1".replace(".", "_")
    name = f"alignments.{key}.teacher.weight"
    assert not torch.equal(axes[0][name], axes[1][name])
    assert_close(axes[1][name], axes[2][name])  # no more images than there are


def test_unequal_numbers_of_pairs_are_refused(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReducedAlexNet, "stage_pairs", {"across_stage": (("pool1", "pool2"),)})
    with pytest.raises(StudyError, match="the encoder has 3 pairs of layers, the target network 1"):
        fitted(FspOptions(), network, teacher, images, compute)
    with pytest.raises(StudyError, match="ReducedAlexNet has no pairs `within_stage`"):
        fitted(FspOptions(pairs="within_stage"), network, teacher, images, compute)


@pytest.mark.parametrize("align", ["common", "channel_group", "student_conv1x1"])
def test_the_teachers_maps_have_unit_size_as_the_loss_pools_them(
    align: str, network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    options = FspOptions.model_validate({"align": align})
    method = fitted(options, network, teacher, images, compute)
    pixels = images.dataset.train.images[:].float() / 255
    sizes = []
    for (a, b), (c, d) in method.pairs:
        theirs = teacher.maps(pixels, (a, b))
        for layer, other in ((a, c), (b, d)):
            alignment = method.alignments[f"{layer}:{other}"]
            assert isinstance(alignment, Alignment)
            sizes.append(alignment.teacher(pool_to(theirs[layer], (4, 4))).square().mean().item())
    assert sizes == pytest.approx([1.0] * 6, rel=1e-3)
