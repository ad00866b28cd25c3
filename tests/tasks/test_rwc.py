"""Rotation with classification against a slow loop over images whose pixels say where they lie."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms.functional import gaussian_blur

from tessera.tasks.arrangements import ARRANGEMENTS
from tessera.tasks.base import ImageStatistics, TaskBatch
from tessera.tasks.color import lab_from_rgb, rgb_from_lab
from tessera.tasks.options.patches import PATCHES, RotationWithClassificationOptions
from tessera.tasks.rwc import RotationWithClassification, sample

PLAIN = ((0.0,) * 3, (1.0 / 255,) * 3)  # inputs are bytes
SIZES = sorted(PATCHES)


def make(size: int = 32, statistics: tuple[Any, Any] = PLAIN, **options: Any) -> RotationWithClassification:
    chosen = RotationWithClassificationOptions(**options)
    chosen.check_image_size(size)
    return RotationWithClassification(chosen, ImageStatistics(size, *statistics), {}, torch.device("cpu"))


def draw(task: RotationWithClassification, images: Tensor, seed: int = 0) -> TaskBatch:
    return task.make_batch(images, {}, torch.Generator().manual_seed(seed))


def coordinates(number: int, size: int = 32) -> Tensor:
    """Images that hold 7 * row and 7 * column, and a constant: interpolation keeps all three."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    scale = 255 // size
    image = torch.stack([scale * rows, scale * columns, torch.full((size, size), 200)])
    return image.to(torch.uint8).expand(number, -1, -1, -1).contiguous()


def noise(number: int, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(256, (number, 3, size, size), generator=generator, dtype=torch.uint8)


def oracle(task: RotationWithClassification, images: Tensor, seed: int) -> tuple[Tensor, list[int]]:
    """The same draws, then image by image: cut, mirror, resize, crop, mask, turn."""
    drawn = task._draw(len(images), torch.Generator().manual_seed(seed))
    crop, patch = task.geometry.crop_px, task.geometry.patch_px
    found, labels = [], []
    for n, image in enumerate(images.float()):
        label, corners, flip, turn, size, offset, whole, aperture = (part[n].tolist() for part in drawn)
        for index, (row, column) in enumerate(corners):
            cut = image[:, row : row + patch, column : column + patch]
            assert cut.shape[1:] == (patch, patch)
            cut = cut.flip(2) if flip[0] else cut
            cut = F.interpolate(cut[None], size=(size[0], size[0]), mode="bilinear", align_corners=False)[0]
            cut = cut[:, offset[0] : offset[0] + crop, offset[1] : offset[1] + crop]
            if index != whole[0]:
                top, left, side = aperture
                shown = torch.zeros(crop, crop)
                shown[top : top + side, left : left + side] = 1
                assert shown.sum() == side**2  # it fits
                cut = cut * shown
            found.append(cut.rot90(turn[0], dims=(1, 2)))
        labels.append(label[0])
    return torch.stack(found), labels


GIVEN = {"patch_px": 20, "near_px": 12, "far_px": 25, "crop_px": 15, "resize_px": 22, "aperture_px": 4}


@pytest.mark.parametrize(("size", "options"), [(32, {}), (64, {}), (96, {"overlap": False}), (48, GIVEN)])
def test_patches_are_those_of_a_loop_over_images(size: int, options: dict[str, Any]) -> None:
    task, images = make(size, blur_px=1, **options), noise(24, size)
    batch = draw(task, images, seed=3)
    patches, labels = oracle(task, images, seed=3)
    assert batch.labels.tolist() == labels
    assert_close(batch.inputs, patches, atol=5e-3, rtol=0)  # of 255


def seen_places(task: RotationWithClassification, number: int) -> tuple[Tensor, Tensor]:
    """Row and column in the image of every pixel of every patch (N, 3, 2, crop, crop), turned back; and labels."""
    size = task.statistics.image_size
    batch = draw(task, coordinates(number, size))
    patches = batch.inputs.view(number, 3, 3, *batch.inputs.shape[-2:])
    turns = batch.labels // 20
    patches = torch.stack([patch.rot90(-int(turn), dims=(2, 3)) for patch, turn in zip(patches, turns, strict=True)])
    return patches[:, :, :2] / (255 // size), batch.labels % 20


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("overlap", [True, False])
def test_the_label_tells_where_the_patches_lie(size: int, overlap: bool) -> None:
    """From the pixels alone: without the task's own draws."""
    task = make(size, overlap=overlap, blur_px=1, aperture_px=task_crop(size))
    geometry = task.geometry
    places, labels = seen_places(task, 300)
    seen = set()
    for place, label in zip(places, labels.tolist(), strict=True):
        layout, cells = ARRANGEMENTS[label]
        step = geometry.near_px if layout == 3 else geometry.far_px
        along = place[0, 1, 0, -1] - place[0, 1, 0, 0]
        assert place[0, 0, -1, 0] > place[0, 0, 0, 0]  # rows go down in every patch that is turned back
        mirrored_image = bool(along < 0)
        if mirrored_image:  # as if the image were mirrored: the label still tells how the patches lie in what is seen
            place = torch.stack([place[:, 0], size - 1 - place[:, 1]], dim=1)
        centers = place.mean(dim=(2, 3))
        for first, second in ((0, 1), (1, 2), (0, 2)):
            apart = torch.tensor(cells[second]) - torch.tensor(cells[first])
            assert_close(centers[second] - centers[first], (step * apart).float(), atol=0.05, rtol=0)
        middle = geometry.crop_px // 2
        pixel = (place[0, 1, 0, middle] - place[0, 1, 0, middle - 1]).abs().item()  # away from the patch's edge
        assert 0.98 * geometry.patch_px / geometry.resize_px < pixel < 1.02 * geometry.patch_px / geometry.crop_px
        seen.add((label, mirrored_image))
    assert {label for label, _ in seen} == set(range(20))
    assert {flip for _, flip in seen} == {True, False}


def task_crop(size: int) -> int:
    return PATCHES[size].crop_px


def test_the_crop_is_the_same_in_all_patches() -> None:
    task = make(64, blur_px=1, aperture_px=24)
    places, _ = seen_places(task, 60)
    inside = places - places[..., :1, :1]  # px from the first pixel
    assert_close(inside[:, 1], inside[:, 0], atol=0.05, rtol=0)
    assert_close(inside[:, 2], inside[:, 0], atol=0.05, rtol=0)
    pixels = (inside[:, 0, 0, -1, 0] / 23).tolist()
    assert max(pixels) > 1.1 > 0.95 > min(pixels)  # sizes vary from image to image


def test_two_patches_show_a_square_and_the_mean_color_around_it() -> None:
    mean, std = (0.3, 0.5, 0.7), (0.2, 0.25, 0.3)
    batch = draw(make(64, (mean, std)), noise(200, 64))
    hidden = (batch.inputs.view(200, 3, 3, 24, 24) == 0).all(dim=2)  # 0 is the mean colour, and noise never equals it
    sides, whole = set(), []
    for patches in hidden:
        covered = patches.any(dim=(1, 2))
        complete = [index for index in range(3) if not covered[index]]
        if len(complete) == 3:
            sides.add(24)
            continue
        assert len(complete) == 1
        whole += complete
        first, second = (patches[index] for index in range(3) if index != complete[0])
        assert torch.equal(first, second)
        rows, columns = ((~first).any(dim=axis).nonzero().flatten() for axis in (1, 0))
        assert len(rows) == len(columns)
        assert (~first).sum() == len(rows) ** 2
        sides.add(len(rows))
    assert sides == set(range(16, 25))
    assert set(whole) == {0, 1, 2}


def test_classes_come_equally_often() -> None:
    labels = make()._draw(8000, torch.Generator().manual_seed(0))[0]
    counts = labels.flatten().bincount(minlength=80).float()
    assert len(counts) == 80
    assert (counts - 100).abs().max() < 45  # four and a half standard errors


def test_colors_are_blurred_and_the_lightness_stays() -> None:
    # Dim colours of equal lightness stay within what a screen shows.
    task = make(32)
    images = (noise(3) // 8 + 100).to(torch.uint8)
    before = lab_from_rgb(images.movedim(1, -1).double() / 255)
    after = lab_from_rgb(task._blurred(images).movedim(1, -1).double())
    assert_close(after[..., 0], before[..., 0], atol=1e-3, rtol=0)
    blurred = gaussian_blur(before[..., 1:].movedim(-1, 1), [3, 3]).movedim(1, -1)
    assert_close(after[..., 1:], blurred, atol=2e-3, rtol=0)
    assert after[..., 1].std() < 0.7 * before[..., 1].std()


def test_rgb_is_the_inverse_of_lab() -> None:
    colors = torch.rand(1000, 3, dtype=torch.float64)
    assert_close(rgb_from_lab(lab_from_rgb(colors)), colors, atol=1e-9, rtol=0)
    assert ((rgb_from_lab(torch.tensor([[50.0, 120.0, -120.0], [100.0, -90.0, 90.0]])) * 2 - 1).abs() <= 1).all()


def test_sampling_at_pixels_and_between_them() -> None:
    image = noise(2, 9).float()
    points = torch.tensor([[[3.0, 3.25], [3.5, 8.0]], [[0.0, 4.0], [4.5, 8.0]]])  # rows, columns
    found = sample(image, points.expand(2, 1, -1, -1, -1))
    assert found.shape == (2, 1, 3, 2, 2)
    assert_close(found[:, 0, :, 0, 0], image[:, :, 3, 0])
    assert_close(found[:, 0, :, 0, 1], 0.75 * image[:, :, 3, 4] + 0.25 * image[:, :, 4, 4])
    between = image[:, :, 3:5, 4:6].mean(dim=(2, 3))
    assert_close(found[:, 0, :, 1, 0], between)
    assert_close(found[:, 0, :, 1, 1], image[:, :, 8, 8])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [True, False])
def test_presets_fit_and_fill_the_image(size: int, overlap: bool) -> None:
    task = make(size, overlap=overlap)
    patch, near, far, crop, resized, aperture, blur = task.geometry
    assert 0.9 * size <= 2 * near + patch <= size
    assert far + patch <= size
    assert (near < patch) == overlap
    assert far > max(near, patch)  # so that an angle of 3x3 is no block of 2x2
    assert aperture / crop == pytest.approx(64 / 96)
    assert resized / crop == pytest.approx(128 / 96)
    assert blur % 2 == 1
    assert abs(blur - 13 * size / 256) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_px": 15}, "rwc: patches of 15 px at distances of near_px 9 and far_px 17 do not fit images of 32 px"),
        ({"overlap": False, "patch_px": 12, "near_px": 10}, "near_px 10 is below patch_px 12, so patches overlap"),
        ({"aperture_px": 13}, "aperture_px 13, crop_px 12 and resize_px 16 must not fall in this order"),
        ({"crop_px": 17}, "aperture_px 8, crop_px 17 and resize_px 16 must not fall in this order"),
        ({"blur_px": 4}, "blur_px must be odd and at most the image's 32 px, but is 4"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make(**options)
    assert "\n" not in str(caught.value)


def test_other_sizes_need_every_length() -> None:
    with pytest.raises(ValueError, match="rwc has presets for images of 32, 64, 96, 224, 256 px, but these have 48 px"):
        make(48)


def test_the_head_joins_three_patches_late() -> None:
    head = make(patch_hidden=7, hidden=(6, 5), dropout=0.4).build_head(4)
    linear = [(m.in_features, m.out_features) for m in head.modules() if isinstance(m, torch.nn.Linear)]
    assert linear == [(4, 7), (21, 6), (6, 5), (5, 80)]
    assert [m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)] == [0.0, 0.4, 0.4]
    features = torch.randn(6, 4, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(make().build_head(4)(features)[0].sum(), features)
    assert gradient[:3].flatten(1).any(dim=1).all()
    assert not gradient[3:].any()


def test_loss_accuracy_and_chance() -> None:
    task = make()
    uniform, labels = torch.zeros(4, 80), torch.tensor([0, 1, 2, 0])
    assert_close(task.loss(uniform, labels).item(), math.log(80), atol=1e-6, rtol=0)
    assert task.chance() == {"loss": math.log(80), "accuracy": 1 / 80}
    assert task.metrics(uniform, labels)["accuracy"] == 0.5
