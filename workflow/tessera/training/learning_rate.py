"""The learning rate over a training."""

import math

from tessera.training.options import OptimizerOptions


def learning_rate_at(options: OptimizerOptions, done: float, total: float, epoch: float = 1) -> float:
    """The learning rate when so much of the training is done.

    `constant` and `wsd` count from the beginning: what they give before a decay is the same, to the last bit, however
    long the training is.

    Source: of `wsd` and the shapes of its decay, Haegele et al. 2024, "Scaling laws and compute-optimal training beyond
    fixed training durations", section 3, where it is called constant learning rate with cooldown.

    Args:
        done: In steps, or in any other unit.
        total: The whole training, in the same unit.
        epoch: One epoch, in the same unit.

    >>> learning_rate_at(OptimizerOptions(learning_rate=0.1, milestones=(0.5,)), 0.6, 1)
    0.01
    >>> decayed = OptimizerOptions(learning_rate=0.1, schedule="wsd", decay_epochs=4)
    >>> [learning_rate_at(decayed, epoch, 10) for epoch in (0, 6, 7)]
    [0.1, 0.1, 0.05]
    """
    if done < options.warmup_epochs * epoch:
        return options.learning_rate * done / (options.warmup_epochs * epoch)
    progress = done / total
    if progress < options.warmup:
        return options.learning_rate * progress / options.warmup
    if options.schedule == "cosine":
        rest = (progress - options.warmup) / (1 - options.warmup)
        return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))
    if options.schedule == "steps":
        passed = sum(progress >= milestone for milestone in options.milestones)
        return float(f"{options.learning_rate * options.factor**passed:.12g}")
    if options.decay_epochs is not None:
        decay = options.decay_epochs * epoch
        part = min(1.0, max(0.0, (done - (total - decay)) / decay))
        return options.learning_rate * (1 - (math.sqrt(part) if options.decay == "sqrt" else part))
    return options.learning_rate


def learning_rates(options: OptimizerOptions, epoch: int, epochs: int, iterations: int) -> list[float]:
    """The learning rate of every step of an epoch, which counts from 0."""
    steps = range(epoch * iterations, (epoch + 1) * iterations)
    return [learning_rate_at(options, step, epochs * iterations, iterations) for step in steps]
