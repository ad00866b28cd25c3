"""Seeds, generators and the order of the images: what is drawn in a training, and by which words."""

import json
from hashlib import sha256

import torch
from torch import Tensor


def seed_of(*words: int | str) -> int:
    """A seed that depends on every word, so that no two uses share random numbers."""
    return int.from_bytes(sha256(json.dumps(words).encode()).digest()[:7], "big")


def generator_of(*words: int | str) -> torch.Generator:
    """A generator on the CPU, seeded by the words: (trial, what it is for, epoch, …)."""
    return torch.Generator().manual_seed(seed_of(*words))


def index_batches(num_images: int, batch_size: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Indices of `iterations` batches: shuffled passes over the images, one after the other.

    Shape:
        returns: (iterations, batch_size) int64 on the CPU; no image comes twice within one pass.
    """
    needed = batch_size * iterations
    passes = [torch.randperm(num_images, generator=generator) for _ in range(-(-needed // num_images))]
    return torch.cat(passes)[:needed].view(iterations, batch_size)
