"""SSD: boxes and classes in one pass, on top of any encoder."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSDHead
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from tessera.models.encoders.base import Encoder
from tessera.models.networks.base import DetectionNetwork, Detections, ObjectsOfImage
from tessera.models.networks.options import SSD300Options
from tessera.models.networks.ssd_maps import Grid, SSDMaps

SCALE_OF_FIRST, SMALLEST_SCALE, LARGEST_SCALE = 0.1, 0.2, 1.05  # sizes as shares of the image's side
MATCH_IOU = 0.5
NEGATIVES = 3  # for each positive
CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # one over the variances 0.1 and 0.2


class SSD300(DetectionNetwork):
    """A grid of default boxes on each of several maps; each says of which class its object is and where its box lies.

    Source: Liu et al., ECCV 2016, sections 2 and 3.1, arXiv:1512.02325. Head, default boxes and codes are those of
    torchvision; with VGG-16 at 300 px the network is its `ssd300_vgg16`, weight by weight, but for the sizes of the
    default boxes: it has those of COCO, and ours are those of VOC, 30 to 315 px. Other encoders, and what follows the
    encoder: `SSDMaps`.

    The default boxes of a map have scale s_k, which is 0.1 of the image for the first and rises in equal steps from 0.2
    to 1.05 for the rest and for the end: 30, 60, 111, 162, 213, 264, 315 px of 300. A cell has a square of s_k, one of
    sqrt(s_k s_(k+1)), and pairs of aspect ratio 2 (1/2) and, but for the first and the last two maps, 3 (1/3). Centres
    lie a stride apart, or the image's side by the map's where the cells do not cover the image so. Width and height are
    at most the image's; corners may leave it.

    An object is assigned to the default box that it overlaps most, whatever the overlap, and to every box that overlaps
    it by an IoU of 0.5 or more and no other object by more. The loss of a box's place is the smooth L1 distance of its
    code, that of its class the cross-entropy, over the assigned boxes and, of each image, three times as many others:
    those of greatest cross-entropy. Thus an image without objects adds nothing. Two objects with the same best box: the
    later one has it (the paper does not say; torchvision's order is not defined on a GPU).

    Args:
        options: What the study set; its `encoder` is not read, since the encoder is given.
        encoder: Kept, not copied; its weights are named `encoder.` and then as they were.
        num_classes: Without the background.

    Raises:
        StudyError: If the encoder has no map of a stride that it must have.
    """

    default_boxes: Tensor  # (P, 4) float32: x1, y1, x2, y2, px; by map, row, column, box of the cell

    def __init__(self, options: SSD300Options, encoder: Encoder, num_classes: int) -> None:
        super().__init__()
        self.options, self.encoder, self.num_classes = options, encoder, num_classes
        self.image_size = options.image_size
        self.layer_channels, self.inner_channels = encoder.layer_channels, encoder.inner_channels
        self.pyramid = SSDMaps(encoder, self.image_size)
        grids = self.pyramid.grids
        generator = default_box_generator(grids, self.image_size)
        # Not part of the state: the options say it.
        self.register_buffer("default_boxes", _default_boxes(generator, grids, self.image_size), persistent=False)
        counts = generator.num_anchors_per_location()
        self.head = SSDHead([grid.channels for grid in grids], counts, 1 + num_classes)
        self._coder = BoxCoder(CODE_WEIGHTS)

    def losses(self, images: Tensor, objects: Sequence[ObjectsOfImage]) -> dict[str, Tensor]:
        logits, codes = self.predict(images)
        classes, boxes = self.assign(objects)
        positive = classes > 0
        expected = self._coder.encode_single(boxes.flatten(0, 1), self._priors(len(images))).view_as(codes)
        distance = F.smooth_l1_loss(codes, expected, reduction="none").sum(dim=-1)
        entropy = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(distance)
        counted = positive | _hardest(entropy.detach(), positive)
        zero = entropy.new_zeros(())
        return {
            "localization": torch.where(positive, distance, zero).sum(),
            "classification": torch.where(counted, entropy, zero).sum(),
            "positives": positive.sum().to(entropy.dtype),
        }

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        logits, codes = self.predict(images)
        boxes = self._coder.decode_single(codes.flatten(0, 1), self._priors(len(images))).view_as(codes)
        boxes = clip_boxes_to_image(boxes, (self.image_size, self.image_size))
        scores = logits.softmax(dim=-1)[..., 1:].transpose(1, 2)  # (N, K, P)
        scores, which = scores.topk(min(self.options.topk_candidates, scores.shape[-1]), dim=-1)
        return [self._best(*of_image) for of_image in zip(boxes, scores, which, strict=True)]

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the head says of every default box.

        Shape:
            images: (N, 3, S, S), normalised.
            returns: logits (N, P, 1 + K), background first, and codes of boxes (N, P, 4), both float32.

        Raises:
            ValueError: If the images have another size than the network's.
        """
        if images.shape[-2:] != (self.image_size, self.image_size):
            height, width = images.shape[-2:]
            raise ValueError(f"The network sees {self.image_size} px a side, but got {height} x {width} px.")
        maps = self.encoder.covering_maps(images, self.pyramid.names)
        found = self.head(self.pyramid(maps))
        return found["cls_logits"].float(), found["bbox_regression"].float()

    @torch.no_grad()
    def assign(self, objects: Sequence[ObjectsOfImage]) -> tuple[Tensor, Tensor]:
        """The class and the box that each default box should say; the whole batch at once, without waiting for it.

        Shape:
            objects: one an image, on any device; a box of no area is nobody's.
            returns: classes (N, P) int64, 0 for the background, and boxes (N, P, 4) float32, px, the default box itself
                for the background.
        """
        priors = self.default_boxes
        # One row more than the image with most objects has: there is always one, and the last is nobody's.
        boxes = F.pad(pad_sequence([o.boxes for o in objects], batch_first=True), (0, 0, 0, 1)).to(priors)
        labels = F.pad(pad_sequence([1 + o.labels for o in objects], batch_first=True), (0, 1)).to(priors.device)
        exists = (labels > 0) & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)  # (N, M)

        overlap = box_iou(boxes.flatten(0, 1), priors).view(*labels.shape, -1)  # (N, M, P); of no area: 0
        best_overlap, best_object = overlap.max(dim=1)
        assigned = best_object.masked_fill(best_overlap < MATCH_IOU, -1)  # (N, P)
        rows = torch.arange(labels.shape[1], device=priors.device).expand_as(labels).masked_fill(~exists, -1)
        forced = torch.full_like(assigned, -1).scatter_reduce(1, overlap.argmax(dim=2), rows, "amax")
        assigned = torch.where(forced >= 0, forced, assigned)

        positive, row = assigned >= 0, assigned.clamp(min=0)
        classes = labels.gather(1, row).masked_fill(~positive, 0)
        chosen = boxes.gather(1, row[..., None].expand(-1, -1, 4))
        return classes, torch.where(positive[..., None], chosen, priors)

    def _priors(self, num_images: int) -> Tensor:
        return self.default_boxes.repeat(num_images, 1)

    def _best(self, boxes: Tensor, scores: Tensor, which: Tensor) -> Detections:
        """Of one image: boxes (P, 4), and the scores of each class's candidates (K, k) with their places (K, k)."""
        kept = scores > self.options.score_threshold
        labels = kept.nonzero()[:, 0]
        boxes, scores = boxes[which[kept]], scores[kept]
        order = batched_nms(boxes, scores, labels, self.options.nms_iou)[: self.options.detections_per_image]
        return Detections(boxes[order], scores[order], labels[order])


def default_box_generator(grids: Sequence[Grid], image_size: int) -> DefaultBoxGenerator:
    """Sizes, ratios and steps of the default boxes of these maps."""
    count = len(grids)
    rise = (LARGEST_SCALE - SMALLEST_SCALE) / (count - 1)
    scales = [SCALE_OF_FIRST, *(SMALLEST_SCALE + rise * k for k in range(count))]
    ratios = [[2] if k == 0 or k >= count - 2 else [2, 3] for k in range(count)]
    covers = [1 < grid.side == -(-image_size // grid.stride) for grid in grids]  # one cell has the image's centre
    steps = [grid.stride if c else image_size / grid.side for grid, c in zip(grids, covers, strict=True)]
    return DefaultBoxGenerator(ratios, scales=scales, steps=steps)


def _default_boxes(generator: DefaultBoxGenerator, grids: Sequence[Grid], image_size: int) -> Tensor:
    # On the CPU whatever the default device: the generator mixes the two.
    with torch.device("cpu"):
        image = ImageList(torch.empty(1, 1, image_size, image_size), [(image_size, image_size)])
        boxes: Tensor = generator(image, [torch.empty(1, 1, grid.side, grid.side) for grid in grids])[0]
    return boxes


def _hardest(entropy: Tensor, positive: Tensor) -> Tensor:
    """Of each image, the default boxes without an object whose cross-entropy is greatest; then those with one.

    Shape:
        entropy: (N, P) float32.
        positive: (N, P) bool.
        returns: (N, P) bool.
    """
    hardness = entropy.masked_fill(positive, -torch.inf)
    rank = hardness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return rank < NEGATIVES * positive.sum(dim=1, keepdim=True)
