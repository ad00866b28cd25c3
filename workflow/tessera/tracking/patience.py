"""Work that a server may keep from ever ending: it is given up once nothing of it was done for a while.

A time limit for each request is not enough: it starts anew with every byte, so a server that sends one now and then
keeps a request waiting for days. A limit for the whole is not, either: thousands of runs may take minutes.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from tessera.errors import TesseraError


class GivenUpError(TesseraError):
    """Nothing was done for too long."""


class Pulse:
    """When something was last done."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def beat(self) -> None:
        """Something was done."""
        self.last = time.monotonic()

    def wait(self, thread: threading.Thread, patience_s: float) -> bool:
        """Waits for a thread as long as something gets done; returns whether it ended.

        Args:
            patience_s: How long nothing may happen, in seconds.
        """
        while thread.is_alive():
            left = self.last + patience_s - time.monotonic()
            if left <= 0:
                return False
            thread.join(min(left, 1.0))
        return True


class Beating:
    """Another object, each of whose calls beats when it has ended.

    Args:
        inner: The object.
        beat: Called after each call of a method, whether it raised or not.
    """

    def __init__(self, inner: Any, beat: Callable[[], None]) -> None:
        self._inner, self._beat = inner, beat

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any, **options: Any) -> Any:
            try:
                return method(*args, **options)
            finally:
                self._beat()

        return call


def patiently(work: Callable[[Pulse], None], patience_s: float) -> None:
    """Does the work in a thread, which is left alone when it is given up: it keeps no process from ending.

    Args:
        work: Beats the pulse whenever something is done.
        patience_s: How long nothing may happen, in seconds.

    Raises:
        GivenUpError: If it was given up.
        Exception: Whatever the work raised.
    """
    pulse, failures = Pulse(), list[BaseException]()

    def run() -> None:
        try:
            work(pulse)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not pulse.wait(thread, patience_s):
        raise GivenUpError(f"no answer for {patience_s:.0f} s")
    if failures:
        raise failures[0]
