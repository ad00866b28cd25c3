"""What only a GPU can show, in one call: `make gpu`, or

    PYTHONPATH=workflow python -m benchmarks.gpu --device cuda --minutes 25

Each step writes its result to results/gpu before the next begins; another call goes on where this one stopped. What it
measures: docs/performance.md.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu import kit as steps
from benchmarks.gpu.options import ROOT, SIZES, Kit
from tessera.errors import TesseraError
from tessera.files import replace_text
from tessera.stopping import Stopped, stoppable


def results_folder(device: str, scale: str) -> Path:
    """Where results go: a try on a processor, or of small sizes, takes nothing from what a GPU has measured."""
    folder = ROOT / "results" / "gpu"
    return folder if (device, scale) == ("cuda", "full") else folder / f"{device}_{scale}"


def _one_step(told: argparse.Namespace) -> int:
    """A step, in the process that `run_all` started for it."""
    _end_with(int(told.parent), Kit.of(told.kit).stop_s)
    so_far: dict[str, Any] = {}

    def keep(found: dict[str, Any]) -> None:
        so_far.update(found)
        replace_text(Path(told.write), json.dumps(so_far))

    with stoppable():
        try:
            keep(steps.run_step(Kit.of(told.kit), told.step, float(told.seconds), keep))
        except TesseraError as error:
            keep({"failed": str(error)})
    return 0


def _end_with(parent: int, stop_s: float) -> None:
    """Ends this process and all that it started once the kit is gone, which a SIGKILL may have ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(stop_s)
        os.killpg(os.getpgid(0), signal.SIGKILL)  # signals are not heard while a call of the device hangs

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--scale", choices=SIZES, default="full", help="smoke: that every step runs, and nothing else")
    parser.add_argument("--minutes", type=float, default=25.0, help="that all of it may take")
    parser.add_argument("--again", action="store_true", help="forget the results that are there")
    parser.add_argument("--out", type=Path, help="results/gpu; for a try, a folder of its own in it")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "gpu", help="what is only needed on the way")
    for inner in ("--step", "--kit", "--write", "--seconds", "--parent"):  # of the processes that this one starts
        parser.add_argument(inner, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.step == "one process":
        from benchmarks.gpu.training_steps import one_process

        one_process(Kit.of(told.kit))
        return 0
    if told.step:
        return _one_step(told)
    out = told.out or results_folder(told.device, told.scale)
    try:
        with stoppable():  # so that a step ends with the kit, and never computes beside another call's
            return steps.run_all(
                Kit(told.device, told.scale, told.minutes, out.absolute(), told.work.absolute()), told.again
            )
    except KeyboardInterrupt as interrupt:
        print("stopped: what was done is kept, and another call goes on from here", file=sys.stderr)
        return Stopped.after(interrupt).exit_code
    except TesseraError as error:
        print(f"error: {error} Or try the way there on a processor: make gpu DEVICE=cpu SCALE=smoke", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
