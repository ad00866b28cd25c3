"""What every training shares: seeds, precision, optimiser, learning rate, steps and progress.

Knows no task, teacher, balancer or tracker.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tessera.errors import TesseraError
from tessera.models.store import NetworkAbout
from tessera.optimizers import SGD
from tessera.study.schema import OptimizerOptions

log = logging.getLogger("tessera")


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


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast: bfloat16 where the device has it in hardware, if asked for `auto`."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float32
    return torch.bfloat16 if _processor_has_bfloat16() else torch.float32


def _processor_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def repeat_exactly(device: torch.device) -> None:
    """Makes a GPU give the same bytes again, as far as it can: one thread of a processor does so by itself."""
    if device.type == "cuda":  # asking takes four seconds
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # only costs time
        torch.backends.cudnn.benchmark = False


@dataclass(frozen=True)
class Trained:
    """What the training of a target's network leaves.

    Attributes:
        network: In eval mode.
        about: What rebuilds it.
        history: One row an epoch: epoch, loss, what the training adds, learning_rate, seconds; empty where nothing
            was trained.
        metrics: Figures of the last epoch, if there was one, and what else was found; accuracies in percent.
    """

    network: nn.Module
    about: NetworkAbout
    history: list[dict[str, Any]]
    metrics: dict[str, float]


class Compute:
    """Where and how precisely to compute; passed to every training.

    Args:
        device: The one device of this job.
        precision: `auto`, `float32` or `bfloat16`.
        processes: Devices that a training may spread over, a process each; what cannot spread takes `device` alone.
    """

    def __init__(self, device: torch.device, precision: str = "auto", processes: int = 1) -> None:
        self.device, self.precision, self.processes = device, precision, processes
        self.dtype = resolve_precision(precision, device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass; weights and losses stay float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def place(self, module: nn.Module) -> nn.Module:
        """Moves a network to the device, convolutions in channels_last, which their kernels want."""
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def make_optimizer(options: OptimizerOptions, *groups: tuple[Iterable[nn.Module], float]) -> SGD:
    """SGD over modules; each group has a factor on its learning rate. Biases and norms have no weight decay.

    Args:
        groups: (modules, factor) pairs.
    """
    parameters = []
    for modules, factor in groups:
        trained = [p for module in modules for p in module.parameters() if p.requires_grad]
        for decay, chosen in (
            (options.weight_decay, [p for p in trained if p.ndim > 1]),
            (0.0, [p for p in trained if p.ndim <= 1]),
        ):
            if chosen:
                parameters.append({"params": chosen, "weight_decay": decay, "factor": factor})
    return SGD(parameters, lr=options.learning_rate, momentum=options.momentum, nesterov=options.nesterov)


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
    return words + (f", or set {key}.warmup." if options.warmup == 0 else ".")


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


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Gives an optimiser the state of an earlier one; torch's own function compares only the numbers of parameters.

    Raises:
        ValueError: If the state is of another optimiser: other options, or momentum of another shape.
    """
    for group, other in zip(optimizer.param_groups, state["param_groups"], strict=True):
        shared = (group.keys() & other.keys()) - {"params", "lr"}  # a later torch may know more options
        if differing := sorted(name for name in shared if group[name] != other[name]):
            raise ValueError(f"the optimiser has another {', '.join(differing)}")
    optimizer.load_state_dict(dict(state))
    for parameter, kept in optimizer.state.items():
        if any(isinstance(value, Tensor) and value.shape != parameter.shape for value in kept.values()):
            raise ValueError("the optimiser's momentum is of other weights")


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


class Progress:
    """Writes a line an epoch: epoch, figures, images a second, remaining time.

    Args:
        what: First words of each line.
        epochs: Epochs in all.
        done: Epochs that an earlier process did.
    """

    def __init__(self, what: str, epochs: int, done: int = 0) -> None:
        self.what, self.epochs, self.done = what, epochs, done
        self.start = self.last = time.monotonic()
        self.first, self.took = done, 0.0
        begun = {"what": what, "epoch": done, "epochs": epochs}  # for who shows a training while it runs
        if done:
            log.info("%s: going on after epoch %d of %d", what, done, epochs, extra=begun)
        elif epochs:
            log.info("%s: %d epochs", what, epochs, extra=begun)

    def seconds(self) -> float:
        """What the epoch took that is finished now."""
        now = time.monotonic()
        self.took, self.last = now - self.last, now
        return self.took

    def epoch(self, images: int, **figures: float) -> None:
        """Logs one finished epoch over so many images; call it when its state is kept."""
        seconds, self.took = self.took or self.seconds(), 0.0
        self.done += 1
        remaining = (time.monotonic() - self.start) / (self.done - self.first) * (self.epochs - self.done)
        rate = images / max(seconds, 1e-9)
        text = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        done: dict[str, Any] = {"what": self.what, "epoch": self.done, "epochs": self.epochs, "figures": figures}
        done |= {"epoch_s": seconds, "images_per_s": rate, "remaining_s": remaining}
        log.info(
            "%s: epoch %d/%d, %s, %.0f images/s, %s remaining",
            self.what, self.done, self.epochs, text, rate, _duration(remaining), extra=done,
        )  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
