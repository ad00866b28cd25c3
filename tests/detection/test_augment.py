"""Views: boxes stay on what they mark, draws are the seed's alone."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.transforms import v2
from training_stand_ins import BACKGROUND, COLORS

from tessera.detection.augment import Augmentation, View, make_augmentation, seeded, ssd_steps
from tessera.errors import StudyError

MEAN = (0.8, 0.4, 0.2)
BOXES = torch.tensor([[10.0, 20.0, 50.0, 70.0], [60.0, 5.0, 110.0, 45.0]])
LABELS = torch.tensor([0, 1])


def scene() -> Tensor:
    """90 x 120 px with a red and a blue rectangle."""
    image = torch.full((3, 90, 120), BACKGROUND, dtype=torch.uint8)
    for (x1, y1, x2, y2), label in zip(BOXES.int().tolist(), LABELS, strict=True):
        image[:, y1:y2, x1:x2] = COLORS[label].view(3, 1, 1)
    return image


def view(augmentation: Augmentation, seed: int) -> View:
    with seeded(seed):
        return augmentation(scene(), BOXES, LABELS)


def painted_box(image: Tensor, label: int) -> Tensor:
    """The box around the pixels of the class's colour, resized borders left out."""
    near = (image.float() - COLORS[label].float().view(3, 1, 1)).abs().amax(dim=0) < 30
    rows, columns = near.any(dim=1).nonzero().flatten(), near.any(dim=0).nonzero().flatten()
    assert len(rows), "a box, but nothing is painted there"
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def test_no_augmentation_resizes_image_and_boxes() -> None:
    image, boxes, labels = view(make_augmentation("none", 60, MEAN), seed=0)
    assert image.shape == (3, 60, 60)
    assert image.dtype == torch.uint8
    torch.testing.assert_close(boxes, BOXES * torch.tensor([60 / 120, 60 / 90, 60 / 120, 60 / 90]))
    assert torch.equal(labels, LABELS)
    assert type(image) is type(boxes) is type(labels) is Tensor
    expected = v2.functional.resize(scene().float(), [60, 60], antialias=True)
    assert (image.float() - expected).abs().max() < 1  # two passes round each


def test_boxes_stay_on_what_they_mark() -> None:
    places = Augmentation(ssd_steps(MEAN)[1:], 96)  # without colours, by which objects are found again
    seen, whole = [], 0
    for seed in range(80):
        image, boxes, labels = view(places, seed)
        assert image.shape == (3, 96, 96)
        assert boxes.shape == (len(labels), 4)
        seen.append(len(labels))
        for box, label in zip(boxes, labels.tolist(), strict=True):
            assert (box >= 0).all()
            assert (box <= 96 + 1e-3).all()
            sides = (box[2:] - box[:2]).min()
            if sides >= 8:  # smaller ones are all border
                torch.testing.assert_close(painted_box(image, label), box, atol=2.1, rtol=0)
                whole += 1
    assert whole > 80
    assert set(seen) == {1, 2}  # a crop keeps one object at least


def test_one_object_reaches_the_least_iou_and_centres_decide() -> None:
    crop = next(step for step in ssd_steps(MEAN) if isinstance(step, v2.RandomIoUCrop))
    assert crop.options == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    for least in (0.1, 0.3):
        steps = [v2.RandomIoUCrop(sampler_options=[least]), *ssd_steps(MEAN)[3:4]]
        for seed in range(20):
            with seeded(seed):
                parameters = steps[0].make_params([torch.empty(3, 90, 120), _framed()])
            top, left, height, width = (parameters[key] for key in ("top", "left", "height", "width"))
            assert 0.5 <= width / height <= 2
            frame = torch.tensor([[left, top, left + width, top + height]]).float()
            centres = (BOXES[:, :2] + BOXES[:, 2:]) / 2
            within = ((centres > frame[:, :2]) & (centres < frame[:, 2:])).all(dim=1)
            assert box_iou(BOXES[within], frame).max() >= least
            with seeded(seed):
                kept = Augmentation(steps, 64)(scene(), BOXES, LABELS).labels
            assert torch.equal(kept, LABELS[within])


def _framed() -> Tensor:
    from torchvision import tv_tensors

    framed: Tensor = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=(90, 120))
    return framed


def test_zoomed_out_images_lie_on_the_mean_colour() -> None:
    zoom = Augmentation([ssd_steps(MEAN)[1]], 96)
    mean = torch.tensor([204, 102, 51], dtype=torch.uint8)
    framed, widths = 0, []
    for seed in range(40):
        image, boxes, _ = view(zoom, seed)
        width = (boxes[0, 2] - boxes[0, 0]).item() / (40 / 120 * 96)
        widths.append(width)
        if width < 0.9:
            corners = image[:, [0, 0, -1, -1], [0, -1, 0, -1]].T
            framed += int((corners == mean).all(dim=1).any())
    assert 0.25 - 1e-2 <= min(widths) < 0.35
    assert 10 <= sum(width < 0.999 for width in widths) <= 30  # with probability one half
    assert framed >= sum(width < 0.9 for width in widths) - 1


def test_colours_keep_within_their_bounds() -> None:
    distort = ssd_steps(MEAN)[0]
    assert isinstance(distort, v2.RandomPhotometricDistort)
    assert distort.brightness == pytest.approx((223 / 255, 287 / 255))
    assert (distort.contrast, distort.saturation) == ((0.5, 1.5), (0.5, 1.5))
    assert distort.hue == pytest.approx((-18 / 360, 18 / 360))
    assert distort.p == 0.5
    orders = set()
    for seed in range(60):
        with seeded(seed):
            image = Augmentation([distort], 32)(torch.tensor([200, 120, 40]).view(3, 1, 1).expand(3, 32, 32).byte(),
                                                BOXES / 5, LABELS).image  # fmt: skip
        orders.add(tuple(image[:, 0, 0].argsort().tolist()))
    assert len(orders) == 6  # every permutation of the channels


def test_a_view_is_its_seeds_alone_and_leaves_no_trace() -> None:
    augmentation = make_augmentation("ssd", 48, MEAN)
    torch.manual_seed(1)
    first, after = view(augmentation, 5), torch.rand(3)
    torch.manual_seed(2)
    again, other = view(augmentation, 5), view(augmentation, 6)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(3))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.image, other.image)


def test_an_image_without_objects_stays_one() -> None:
    augmentation = make_augmentation("ssd", 48, MEAN)
    for seed in range(5):
        with seeded(seed):
            image, boxes, labels = augmentation(scene(), torch.empty(0, 4), torch.empty(0, dtype=torch.int64))
        assert (image.shape, boxes.shape, labels.shape) == ((3, 48, 48), (0, 4), (0,))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 40), (40, 2), (4, 4)])
def test_an_image_of_a_few_pixels_is_no_error(height: int, width: int) -> None:
    augmentation = make_augmentation("ssd", 32, MEAN)
    for seed in range(20):
        with seeded(seed):
            image, boxes, _ = augmentation(
                torch.zeros(3, height, width, dtype=torch.uint8), torch.tensor([[0.0, 0.0, width, height]]), LABELS[:1]
            )
        assert image.shape == (3, 32, 32)
        assert ((boxes >= 0) & (boxes <= 32)).all()


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(StudyError, match=r"augmentation: detectors have no `crop_flip`. Known: none, ssd"):
        make_augmentation("crop_flip", 48, MEAN)
