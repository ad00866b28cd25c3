"""Ends a process and all that it started."""

import os
import signal
import subprocess


def stop(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """As Ctrl-C does, so that jobs keep their states; kills it where it goes on for longer than that.

    Args:
        process: The leader of a group of its own.
    """
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
