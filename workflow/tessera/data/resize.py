"""Resizes many images in bounded memory."""

import numpy as np
import torch
import torch.nn.functional as F

CHUNK = 500


def resized(images: np.ndarray, image_size: int) -> np.ndarray:
    """Square images at another size, or as they are.

    Shape:
        images: (N, H, H, 3) uint8.
        returns: (N, image_size, image_size, 3) uint8.
    """
    if images.shape[1] == image_size:
        return images
    found = np.empty((len(images), image_size, image_size, 3), dtype=np.uint8)
    resize_into(found, images)
    return found


def resize_into(found: np.ndarray, images: np.ndarray) -> None:
    """Fills `found` with square images, resized bilinearly with antialias, some hundreds at a time.

    Shape:
        found: (N, S, S, 3) uint8.
        images: (N, H, H, 3) uint8.
    """
    size = found.shape[1]
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        if part.shape[1] != size:
            pixels = torch.from_numpy(np.ascontiguousarray(part)).permute(0, 3, 1, 2).float()
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
            part = pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        found[start : start + CHUNK] = part
