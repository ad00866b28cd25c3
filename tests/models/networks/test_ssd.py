"""SSD against torchvision's: the same weights, the same losses, gradients and detections; and the pieces by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models.detection import _utils as detection
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, ssd300_vgg16
from torchvision.ops import box_iou

from tessera import registry
from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.models.networks.base import Detections
from tessera.models.networks.options import SSD300Options
from tessera.models.networks.ssd import SSD300, default_box_generator
from tessera.models.networks.ssd_maps import Grid


@dataclass(frozen=True)
class Objects:
    boxes: Tensor
    labels: Tensor


def network_of(
    name: str = "resnet8",
    image_size: int = 64,
    num_classes: int = 3,
    options: dict[str, object] | None = None,
    **own: object,
) -> SSD300:
    encoder: Encoder = registry.load("encoder", name)(
        registry.find("encoder", name).options.model_validate({"name": name, **(options or {})})
    )
    return SSD300(SSD300Options.model_validate({"image_size": image_size, **own}), encoder, num_classes)


def random_objects(count: int, image_size: int, num_classes: int) -> Objects:
    corner, size = torch.rand(count, 2) * 0.7 * image_size, (0.05 + 0.5 * torch.rand(count, 2)) * image_size
    boxes = torch.cat([corner, (corner + size).clamp(max=image_size)], dim=1)
    return Objects(boxes, torch.randint(num_classes, (count,)))


def no_objects() -> Objects:
    return Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def torchvision_of(network: SSD300) -> SSD:
    """torchvision's detector around our default boxes, for its losses and what it makes of predictions."""
    options, size = network.options, (network.image_size, network.image_size)
    return SSD(
        nn.Identity(),
        default_box_generator(network.pyramid.grids, network.image_size),
        size,
        network.num_classes + 1,
        head=nn.Identity(),
        score_thresh=options.score_threshold,
        nms_thresh=options.nms_iou,
        detections_per_img=options.detections_per_image,
        topk_candidates=options.topk_candidates,
    )


def torchvision_losses(network: SSD300, images: Tensor, objects: list[Objects]) -> dict[str, Tensor]:
    theirs = torchvision_of(network)
    logits, codes = network.predict(images)
    targets = [{"boxes": o.boxes, "labels": o.labels + 1} for o in objects]
    priors = network.default_boxes
    matched = [
        theirs.proposal_matcher(box_iou(o.boxes, priors)) if len(o.boxes) else torch.full((len(priors),), -1)
        for o in objects
    ]
    head = {"bbox_regression": codes, "cls_logits": logits}
    losses: dict[str, Tensor] = theirs.compute_loss(targets, head, [priors] * len(images), matched)
    return losses | {"positives": torch.stack([(m >= 0).sum() for m in matched]).sum()}


def assert_same(ours: Detections, theirs: dict[str, Tensor]) -> None:
    assert_close(ours.boxes, theirs["boxes"])
    assert_close(ours.scores, theirs["scores"])
    assert torch.equal(ours.labels, theirs["labels"] - 1)


@pytest.fixture(scope="module")
def vgg() -> tuple[SSD300, SSD]:
    """Ours on VGG-16 at 300 px, and torchvision's network with our weights, by their order in the network."""
    torch.manual_seed(0)
    ours = network_of("vgg16", 300, num_classes=4).eval()
    with torch.device("meta"):  # the classifier that it makes and drops is most of its time
        theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=5).eval()
    with torch.no_grad():
        ours.pyramid.scale.uniform_(10, 30)
    names = [name for name in theirs.backbone.state_dict() if name != "scale_weight"]
    own = [*ours.encoder.state_dict().values(), *(v for k, v in ours.pyramid.state_dict().items() if k != "scale")]
    weights = dict(zip(names, own, strict=True)) | {"scale_weight": ours.pyramid.scale}
    theirs.backbone.load_state_dict(weights, assign=True)
    theirs.head = ours.head
    return ours, theirs


@torch.no_grad()
def test_on_vgg16_at_300_px_it_is_the_network_of_torchvision(vgg: tuple[SSD300, SSD]) -> None:
    ours, theirs = vgg
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    images = torch.randn(1, 3, 300, 300)
    expected = theirs.head(list(theirs.backbone(images).values()))
    logits, codes = ours.predict(images)
    assert logits.shape == (1, 8732, 5)
    assert_close(logits, expected["cls_logits"], rtol=0, atol=0)
    assert_close(codes, expected["bbox_regression"], rtol=0, atol=0)


def test_default_boxes_are_those_of_torchvision_with_the_sizes_of_voc(vgg: tuple[SSD300, SSD]) -> None:
    ours, theirs = vgg
    own = default_box_generator(ours.pyramid.grids, 300)
    assert [round(300 * scale) for scale in own.scales] == [30, 60, 111, 162, 213, 264, 315]
    assert own.aspect_ratios == theirs.anchor_generator.aspect_ratios
    assert own.steps == theirs.anchor_generator.steps
    assert own.clip
    assert [grid.side for grid in ours.pyramid.grids] == [38, 19, 10, 5, 3, 1]
    images = ImageList(torch.empty(1, 3, 300, 300), [(300, 300)])
    theirs.anchor_generator.scales, theirs.anchor_generator._wh_pairs = own.scales, own._wh_pairs
    expected = theirs.anchor_generator(images, [torch.empty(1, 1, g.side, g.side) for g in ours.pyramid.grids])[0]
    assert_close(ours.default_boxes, expected, rtol=0, atol=0)


def test_default_boxes_of_one_cell_by_hand(vgg: tuple[SSD300, SSD]) -> None:
    # The third map's cell in row 2 and column 7, after the 38 x 38 x 4 and the 19 x 19 x 6 boxes of the maps before.
    first = 38 * 38 * 4 + 19 * 19 * 6 + (2 * 10 + 7) * 6
    x, y, between = 7.5 * 32, 2.5 * 32, math.sqrt(111 * 162)
    two, three = math.sqrt(2), math.sqrt(3)
    sizes = [(111, 111), (between, between), (111 * two, 111 / two), (111 / two, 111 * two)]
    sizes += [(111 * three, 111 / three), (111 / three, 111 * three)]
    by_hand = torch.tensor([[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for w, h in sizes])
    assert_close(vgg[0].default_boxes[first : first + 6], by_hand, rtol=1e-5, atol=1e-4)
    # The last map's one cell: boxes of 264 px, those that are longer than the image cut to its side.
    long, short = 300.0, 264 / two
    ends = [(264, 264), (math.sqrt(264 * 315), math.sqrt(264 * 315)), (long, short), (short, long)]
    by_hand = torch.tensor([[150 - w / 2, 150 - h / 2, 150 + w / 2, 150 + h / 2] for w, h in ends])
    assert_close(vgg[0].default_boxes[-4:], by_hand, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "image_size", "channels", "sides", "steps"),
    [
        ("vgg16", {}, 128, [512, 1024, 512, 256, 256], [16, 8, 4, 2, 1], [8, 16, 32, 64, 128]),
        ("vgg16", {"width": "half"}, 96, [256, 512, 256, 128], [12, 6, 3, 1], [8, 16, 32, 96]),
        # Ceil mode of every pooling layer: 100, 50, 25, 13, 7 cells.
        ("vgg16", {"batch_norm": True}, 100, [512, 1024, 512, 256, 256], [13, 7, 4, 2, 1], [8, 16, 32, 64, 100]),
        # Its maps do not cover the image from border to border, and are spread over it.
        ("alexnet", {}, 200, [192, 512, 256, 128, 128], [24, 12, 6, 3, 1], [200 / 24, 200 / 12, 200 / 6, 200 / 3, 200]),
        ("resnet8", {}, 300, [128, 512, 256, 128, 128, 128], [38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300]),
        ("resnet26", {}, 128, [128, 512, 256, 128, 128], [16, 8, 4, 2, 1], [8, 16, 32, 64, 128]),
        ("resnet50", {}, 300, [512, 1024, 2048, 512, 256, 256], [38, 19, 10, 5, 3, 1], [8, 16, 32, 64, 100, 300]),
        ("resnet50", {"stem_pool": False}, 128, [1024, 1024, 512, 256, 256], [16, 8, 4, 2, 1], [8, 16, 32, 64, 128]),
    ],
)  # fmt: skip
def test_maps_of_every_encoder(
    name: str, options: dict[str, object], image_size: int, channels: list[int], sides: list[int], steps: list[float]
) -> None:
    with torch.device("meta"):
        network = network_of(name, image_size, options=options).eval()
        maps = network.pyramid(
            network.encoder.covering_maps(torch.empty(2, 3, image_size, image_size), network.pyramid.names)
        )
    grids = network.pyramid.grids
    assert [grid.channels for grid in grids] == channels
    assert [grid.side for grid in grids] == sides
    assert [tuple(found.shape) for found in maps] == [(2, c, s, s) for c, s in zip(channels, sides, strict=True)]
    assert default_box_generator(grids, image_size).steps == pytest.approx(steps)


@pytest.mark.parametrize(
    ("name", "image_size"),
    [*((name, 50) for name in sorted(registry.parts("encoder"))), ("alexnet", 32), ("resnet8", 32)],
)
def test_every_encoder_detects_and_learns_in_small_images(name: str, image_size: int) -> None:
    network = network_of(name, image_size)
    images = torch.randn(2, 3, image_size, image_size)
    objects = [random_objects(2, image_size, 3), random_objects(1, image_size, 3)]
    losses = network.losses(images, objects)
    ((losses["localization"] + losses["classification"]) / losses["positives"]).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    still = [n for n, p in network.encoder.named_parameters() if not p.grad.any()]  # type: ignore[union-attr]
    assert still == []
    found = network.eval().detect(images)
    assert len(found) == 2
    assert all(box.min() >= 0 and box.max() <= image_size for box in (f.boxes for f in found) if len(box))


def test_batch_norm_follows_the_encoder_but_not_to_one_cell() -> None:
    with torch.device("meta"):
        plain = network_of("vgg16").pyramid
        normed = network_of("vgg16", options={"batch_norm": True}).pyramid
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    bare = [m for m in normed.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    convolutions = [m for m in normed.modules() if isinstance(m, nn.Conv2d)]
    assert bare == convolutions[-1:]  # a lone image has a lone value a channel there
    assert sum(isinstance(m, nn.BatchNorm2d) for m in normed.modules()) == len(convolutions) - 1


def test_weights_that_are_not_the_encoders_start_as_glorot_and_bengio() -> None:
    network = network_of("alexnet", 128)
    for module in (*network.pyramid.modules(), *network.head.modules()):
        if isinstance(module, nn.Conv2d):
            inputs, outputs = module.weight[0].numel(), module.weight.shape[0] * module.weight[0, 0].numel()
            bound = math.sqrt(6 / (inputs + outputs))
            assert 0.98 * bound < module.weight.abs().max() <= bound
            assert module.bias is not None
            assert not module.bias.any()
    assert torch.equal(network.pyramid.scale, torch.full((192,), 20.0))


def test_the_first_map_has_the_length_of_its_scale() -> None:
    network = network_of("alexnet", 96).eval()
    with torch.no_grad():
        network.pyramid.scale.fill_(7.0)
        maps = network.encoder.covering_maps(torch.randn(1, 3, 96, 96), network.pyramid.names)
        first = network.pyramid(maps)[0]
    length = torch.linalg.vector_norm(first, dim=1)
    assert_close(length, torch.full_like(length, 7.0))


def test_the_encoder_is_kept_with_its_names_and_maps() -> None:
    network = network_of("resnet8")
    names = {name.removeprefix("encoder.") for name in network.state_dict() if name.startswith("encoder.")}
    assert names == set(network.encoder.state_dict())
    assert "default_boxes" not in network.state_dict()
    images = torch.randn(1, 3, 16, 16)
    network.eval()
    assert_close(network.layers(images), network.encoder.layers(images))
    assert_close(network.maps(images, ["stage1.first"]), network.encoder.maps(images, ["stage1.first"]))
    assert network.stage_pairs == network.encoder.stage_pairs
    assert network.layer_channels == network.encoder.layer_channels


@pytest.mark.parametrize("counts", [(1,), (4, 0, 7), (0, 1), (12, 3)])
def test_losses_and_gradients_are_those_of_torchvision(counts: tuple[int, ...]) -> None:
    network = network_of("resnet8", 64)
    images = torch.randn(len(counts), 3, 64, 64)
    objects = [random_objects(count, 64, 3) for count in counts]
    expected = torchvision_losses(network, images, objects)
    (expected["bbox_regression"] + expected["classification"]).backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    found = network(images, objects)
    assert found["positives"] == expected["positives"]
    assert_close(found["localization"] / found["positives"], expected["bbox_regression"])
    assert_close(found["classification"] / found["positives"], expected["classification"])
    ((found["localization"] + found["classification"]) / found["positives"]).backward()
    assert_close({n: p.grad for n, p in network.named_parameters()}, gradients, rtol=1e-4, atol=1e-6)


def assigned_by_loops(priors: Tensor, objects: Objects) -> tuple[list[int], Tensor]:
    overlap = box_iou(objects.boxes, priors).tolist()
    owner = []
    for p in range(len(priors)):
        best = max(range(len(overlap)), key=lambda o: overlap[o][p])
        owner.append(best if overlap[best][p] >= 0.5 else -1)
    for o in range(len(overlap)):
        owner[max(range(len(priors)), key=lambda p: overlap[o][p])] = o
    boxes = torch.stack([objects.boxes[o] if o >= 0 else priors[p] for p, o in enumerate(owner)])
    return [int(objects.labels[o]) + 1 if o >= 0 else 0 for o in owner], boxes


def test_objects_are_assigned_as_by_loops_whatever_shares_their_batch() -> None:
    network = network_of("resnet8", 64)
    some, more = random_objects(3, 64, 3), random_objects(9, 64, 3)
    twice = Objects(some.boxes[[0, 0]], torch.tensor([2, 1]))  # one best box for two: the later object has it
    batch = [some, no_objects(), more, twice]
    classes, boxes = network.assign(batch)
    for row, objects in enumerate(batch):
        if len(objects.boxes) == 0:
            assert not classes[row].any()
            assert torch.equal(boxes[row], network.default_boxes)
            continue
        expected, places = assigned_by_loops(network.default_boxes, objects)
        assert classes[row].tolist() == expected
        assert_close(boxes[row], places, rtol=0, atol=0)
    assert (classes[0] > 0).sum() >= 3


def test_a_box_of_no_area_is_nobodys() -> None:
    network = network_of("resnet8", 64)
    objects = random_objects(2, 64, 3)
    flat = Objects(
        torch.cat([torch.tensor([[5.0, 5.0, 5.0, 9.0]]), objects.boxes, torch.tensor([[9.0, 5.0, 12.0, 5.0]])]),
        torch.cat([torch.tensor([2]), objects.labels, torch.tensor([1])]),
    )
    for found, expected in zip(network.assign([flat]), network.assign([objects]), strict=True):
        assert torch.equal(found, expected)


def test_negatives_are_the_hardest_three_of_a_positive_by_hand() -> None:
    network = network_of("resnet8", 64, num_classes=1)
    objects = random_objects(1, 64, 1)
    logits, codes = network.predict(torch.randn(1, 3, 64, 64))
    classes, _ = network.assign([objects])
    entropies = [torch.logsumexp(row, 0) - row[int(k)] for row, k in zip(logits[0], classes[0], strict=True)]
    positives = [e for e, k in zip(entropies, classes[0], strict=True) if k > 0]
    others = sorted((e for e, k in zip(entropies, classes[0], strict=True) if k == 0), reverse=True)
    expected = sum(positives) + sum(others[: 3 * len(positives)])
    network.predict = lambda images: (logits, codes)  # type: ignore[method-assign]
    assert_close(network.losses(torch.empty(1, 3, 64, 64), [objects])["classification"], expected)


def test_without_objects_the_losses_are_zero_and_so_are_the_gradients() -> None:
    network = network_of("resnet8", 64)
    losses = network.losses(torch.randn(2, 3, 64, 64), [no_objects(), no_objects()])
    assert {name: loss.item() for name, loss in losses.items()} == {
        "localization": 0.0,
        "classification": 0.0,
        "positives": 0.0,
    }
    (losses["localization"] + losses["classification"]).backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters() if p.requires_grad)


def test_an_image_without_objects_adds_nothing() -> None:
    network = network_of("resnet8", 64).eval()
    images, objects = torch.randn(2, 3, 64, 64), random_objects(3, 64, 3)
    assert_close(network.losses(images, [objects, no_objects()]), network.losses(images[:1], [objects]))


def test_sums_of_parts_of_a_batch_are_the_sums_of_the_batch() -> None:
    network = network_of("resnet8", 64).eval()
    images, objects = torch.randn(3, 3, 64, 64), [random_objects(n, 64, 3) for n in (2, 5, 1)]
    parts = [network.losses(images[i : i + 1], objects[i : i + 1]) for i in range(3)]
    whole = network.losses(images, objects)
    assert_close({name: sum(part[name] for part in parts) for name in whole}, whole)


def test_the_same_step_twice_gives_the_same_gradients() -> None:
    network = network_of("resnet8", 64)
    images, objects = torch.randn(2, 3, 64, 64), [random_objects(4, 64, 3), random_objects(2, 64, 3)]
    gradients = []
    for _ in range(2):
        sum(network.losses(images, objects).values()).backward()  # type: ignore[union-attr]
        gradients.append({name: p.grad for name, p in network.named_parameters()})
        network.zero_grad(set_to_none=True)
    assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["alexnet", "resnet8"])
def test_bfloat16_and_channels_last_give_nearly_the_same(name: str) -> None:
    network = network_of(name, 64).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    objects = [random_objects(3, 64, 3), random_objects(1, 64, 3)]
    values, gradients = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = network.losses(images, objects)
            found = network.detect(images)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}
        assert {(f.boxes.dtype, f.scores.dtype, f.labels.dtype) for f in found} == {
            (torch.float32, torch.float32, torch.int64)
        }
        # What a kernel does not write, it finds as this left it.
        dirty = [torch.full_like(p, 1e30, dtype=d) for p in network.parameters() for d in (torch.bfloat16, p.dtype)]
        del dirty
        (losses["localization"] + losses["classification"]).backward()
        values.append(torch.stack([loss.detach() for loss in losses.values()]))
        gradients.append(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]))
        network.zero_grad(set_to_none=True)
    assert_close(values[1], values[0], rtol=0.05, atol=0.05)
    assert torch.linalg.vector_norm(gradients[1] - gradients[0]) < 0.2 * torch.linalg.vector_norm(gradients[0])


def sure_network(images: int, **own: object) -> SSD300:
    """With predictions that are drawn, so that scores differ and no two are equal."""
    network = network_of("resnet8", 64, **own).eval()
    logits, codes = (2 * torch.randn(images, len(network.default_boxes), k) for k in (4, 4))
    network.predict = lambda _: (logits, codes)  # type: ignore[method-assign]
    return network


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"score_threshold": 0.3},
        {"nms_iou": 0.2},
        {"topk_candidates": 5, "detections_per_image": 9},
        {"score_threshold": 0.0, "topk_candidates": 10_000, "nms_iou": 1.0, "detections_per_image": 10_000},
    ],
)
def test_detections_are_those_of_torchvision(own: dict[str, object]) -> None:
    network, images = sure_network(2, **own), torch.empty(2, 3, 64, 64)
    with torch.no_grad():
        logits, codes = network.predict(images)
    expected = torchvision_of(network).postprocess_detections(
        {"bbox_regression": codes, "cls_logits": logits}, [network.default_boxes] * 2, [(64, 64)] * 2
    )
    found = network.detect(images)
    assert all(len(one.boxes) > 0 for one in found)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


def test_detections_are_best_first_within_the_image_and_few() -> None:
    network = sure_network(3, detections_per_image=7)
    for found in network.detect(torch.empty(3, 3, 64, 64)):
        assert len(found.boxes) == 7
        assert torch.equal(found.scores, found.scores.sort(descending=True).values)
        assert found.boxes.min() >= 0
        assert found.boxes.max() <= 64
        assert set(found.labels.tolist()) <= {0, 1, 2}
        assert not found.boxes.requires_grad


def test_where_nothing_scores_nothing_is_found() -> None:
    (found,) = network_of(score_threshold=0.999).eval().detect(torch.randn(1, 3, 64, 64))
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


def test_perfect_predictions_find_the_objects() -> None:
    network = network_of("resnet8", 64)
    objects = Objects(torch.tensor([[4.0, 6.0, 30.0, 40.0], [35.0, 5.0, 60.0, 50.0]]), torch.tensor([2, 0]))
    classes, boxes = network.assign([objects])
    coder = detection.BoxCoder((10.0, 10.0, 5.0, 5.0))
    codes = coder.encode_single(boxes[0], network.default_boxes)[None]
    logits = 20.0 * nn.functional.one_hot(classes, 4).float()
    network.predict = lambda images: (logits, codes)  # type: ignore[method-assign]
    (found,) = network.detect(torch.empty(1, 3, 64, 64))
    order = found.labels.argsort(descending=True)
    assert_close(found.boxes[order], objects.boxes)
    assert found.labels[order].tolist() == [2, 0]
    losses = network.losses(torch.empty(1, 3, 64, 64), [objects])
    assert losses["localization"] < 1e-6
    assert losses["classification"] < 1e-3


def test_images_of_another_size_are_refused() -> None:
    network = network_of("resnet8", 64)
    with pytest.raises(ValueError, match=r"sees 64 px a side, but got 64 x 32 px"):
        network.losses(torch.empty(1, 3, 64, 32), [no_objects()])


class Skips(Encoder):
    """From stride 4 to stride 16 at once."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.strides = strides
        self.layer_channels = {f"map{stride}": 3 for stride in strides}

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return {f"map{stride}": nn.functional.avg_pool2d(images, stride) for stride in self.strides}

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return {}


@pytest.mark.parametrize(
    ("strides", "message"),
    [
        ((4, 16), "reads maps of stride 8, 16, but the encoder has none of stride 8, only of 4, 16"),
        ((32,), "reads maps of stride 8, 16, 32, but the encoder has none of stride 8, only of 32"),
        ((8, 32), "reads maps of stride 8, 16, 32, but the encoder has none of stride 16, only of 8, 32"),
    ],
)
def test_an_encoder_without_a_map_that_it_needs_is_refused(strides: tuple[int, ...], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        SSD300(SSD300Options(image_size=64), Skips(strides), 3)


def test_an_encoder_of_ones_own_needs_only_named_maps() -> None:
    grids = SSD300(SSD300Options(image_size=64), Skips((2, 8, 16)), 3).pyramid.grids
    assert grids[:2] == [Grid(3, 8, 8), Grid(6, 4, 16)]
