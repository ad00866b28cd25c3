"""Pace: how far a training is, how fast it goes, and when it will be done."""

import logging
import time
from typing import Any

log = logging.getLogger("tessera")


class Pace:
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
