"""What a job does when it is asked to end, by Ctrl-C, by a batch system or by a terminal that closes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end. Like Ctrl-C it is no error, and passes whoever catches those.

    Args:
        number: Of the signal.
        reached: How far the training came, such as `epoch 3 of 10`; nothing where none is kept.
    """

    def __init__(self, number: int, reached: str = "") -> None:
        kept = f"the next run goes on after {reached}" if reached else "what was finished is kept"
        super().__init__(f"stopped: {kept}")
        self.number = number

    @classmethod
    def after(cls, interrupt: KeyboardInterrupt, reached: str = "") -> "Stopped":
        """The same stop, and how far the training came."""
        return cls(interrupt.number if isinstance(interrupt, cls) else signal.SIGINT, reached)

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Raises `Stopped` in the block at the first signal to end; a second one ends the process at once.

    What is ignored stays so, as under `nohup`. Outside the main thread, which alone may listen, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> None:
        for one in heard:
            signal.signal(one, signal.SIG_DFL)
        raise Stopped(number)

    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
