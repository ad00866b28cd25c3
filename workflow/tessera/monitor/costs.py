"""How much a network costs beside another: for a guess of jobs whose like has not run."""

from collections.abc import Mapping
from typing import Any

# Multiply-adds of the convolutions in one image's forward pass, and the image's height and width, px. Counted: a test
# counts them again, which a plan could not without torch. A step costs three times that.
_FORWARD = {
    "resnet8": (12.5e6, 32),
    "resnet26": (55e6, 32),
    "resnet50": (4.1e9, 224),
    "vgg16": (15.3e9, 224),
    "alexnet": (0.656e9, 224),
}


def cost_of(settings: Mapping[str, Any]) -> float | None:
    """Multiply-adds of the encoder that a pretraining trains, an image; None of another job or encoder."""
    source = settings.get("source")
    encoder = source.get("encoder") if isinstance(source, Mapping) else None
    if not isinstance(encoder, Mapping) or encoder.get("name") not in _FORWARD:
        return None
    operations, pixels = _FORWARD[encoder["name"]]
    dataset = source.get("dataset") if isinstance(source, Mapping) else None
    size = (dataset.get("image_size") if isinstance(dataset, Mapping) else None) or pixels
    area = size["height"] * size["width"] if isinstance(size, Mapping) else size**2
    return float(operations * area / pixels**2)
