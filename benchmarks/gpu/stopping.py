"""Ends a process and all that it started."""

import os
import signal
import subprocess
from contextlib import suppress


def stop(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """As Ctrl-C does, so that jobs keep their states; kills it where it goes on for longer than that.

    What it leaves behind is killed as well: it may hold the device.

    Args:
        process: The leader of a group of its own.
    """
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    finally:  # whoever is told to stop while it waits here
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
