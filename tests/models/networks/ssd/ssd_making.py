"""SSD on an encoder, objects for it, and torchvision's detector around its default boxes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD

from tessera import registry
from tessera.models.encoders.base import Encoder
from tessera.models.networks.options import SSD300Options
from tessera.models.networks.ssd import SSD300, default_box_generator


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
