"""The steps of a training, and what is checked of them: losses, and the course of a saved history."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tessera.errors import TesseraError
from tessera.training.options import OptimizerOptions


def run_steps(
    batches: Iterable[Any],
    backward: Callable[[Any], Tensor],
    optimizer: torch.optim.Optimizer,
    learning_rates: Iterator[float],
    clip_norm: float | None,
) -> Tensor:
    """One turn of training: a step a batch. Waits for the device only when the caller reads the result.

    Args:
        backward: Computes a batch's losses, leaves gradients in `.grad`, and returns what to record, detached.
        learning_rates: One a step; a group's own `factor` multiplies it.

    Shape:
        returns: (steps, …) whatever `backward` returned, stacked.
    """
    records = []
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for batch in batches:
        rate = next(learning_rates)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        records.append(backward(batch))
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return torch.stack(records)


def check_loss(loss: float, what: str, where: str, options: OptimizerOptions) -> None:
    """Ends a target's training whose loss went astray.

    Args:
        what: First words of the message: what was trained.
        where: When it was seen, such as `in epoch 3`.

    Raises:
        TesseraError: If the loss is not finite.
    """
    if not math.isfinite(loss):
        raise TesseraError(f"{what}: the loss is {loss} {where}. {cure(options, 'target')}")


def cure(options: OptimizerOptions, section: str) -> str:
    """What to do where a training diverged: nothing that is done already.

    Args:
        section: `source` or `target`.

    >>> cure(OptimizerOptions(learning_rate=0.5, clip_norm=None, warmup=0.1), "target")
    'Lower target.optimizer.learning_rate (now 0.5), or set target.optimizer.clip_norm (now null).'
    """
    key = f"{section}.optimizer"
    words = f"Lower {key}.learning_rate (now {options.learning_rate:g})"
    if options.clip_norm is None:
        words += f", or set {key}.clip_norm (now null)"
    else:
        words += f" or {key}.clip_norm (now {options.clip_norm:g})"
    warmup = "warmup_epochs" if options.schedule == "wsd" else "warmup"
    warms_up = options.warmup > 0 or options.warmup_epochs > 0
    return words + ("." if warms_up else f", or set {key}.{warmup}.")


def check_course(history: Any, epochs: int, course: Iterable[Mapping[str, Any]]) -> None:
    """Compares the rows of a saved history with the epochs that a training has.

    Args:
        epochs: How many the training has.
        course: What a row says of its epoch, one after the other.

    Raises:
        ValueError: If there are no rows or too many, or they are those of other epochs.
    """
    if not isinstance(history, list) or not 0 < len(history) <= epochs:
        number = len(history) if isinstance(history, list) else "no"
        raise ValueError(f"it has {number} rows of history, but the training has {epochs} epochs")
    for row, epoch in zip(history, course, strict=False):
        if any(row[name] != value for name, value in epoch.items()):
            raise ValueError(f"its history has no row of {dict(epoch)}")
