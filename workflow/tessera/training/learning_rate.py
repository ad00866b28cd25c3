"""The learning rate over a training."""

import math

from tessera.training.options import OptimizerOptions


def learning_rate_at(options: OptimizerOptions, progress: float) -> float:
    """The learning rate when this fraction of the training, 0 to 1, is done.

    >>> learning_rate_at(OptimizerOptions(learning_rate=0.1, milestones=(0.5,)), 0.6)
    0.01
    """
    if progress < options.warmup:
        return options.learning_rate * progress / options.warmup
    if options.schedule == "cosine":
        rest = (progress - options.warmup) / (1 - options.warmup)
        return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))
    if options.schedule == "steps":
        passed = sum(progress >= milestone for milestone in options.milestones)
        return float(f"{options.learning_rate * options.factor**passed:.12g}")
    return options.learning_rate


def learning_rates(options: OptimizerOptions, epoch: int, epochs: int, iterations: int) -> list[float]:
    """The learning rate of every step of an epoch, which counts from 0."""
    steps = range(epoch * iterations, (epoch + 1) * iterations)
    return [learning_rate_at(options, step / (epochs * iterations)) for step in steps]
