"""What only a GPU can show, in one call: `make gpu`, or

    PYTHONPATH=workflow python -m benchmarks.gpu --device cuda --minutes 25

Each step writes its result to results/gpu before the next begins; another call goes on where this one stopped. What it
measures: docs/performance.md.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.gpu import kit as steps
from benchmarks.gpu.options import ROOT, SIZES, Kit
from tessera.errors import TesseraError
from tessera.files import replace_text


def results_folder(device: str, scale: str) -> Path:
    """Where results go: a try on a processor, or of small sizes, takes nothing from what a GPU has measured."""
    folder = ROOT / "results" / "gpu"
    return folder if (device, scale) == ("cuda", "full") else folder / f"{device}_{scale}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--scale", choices=SIZES, default="full", help="smoke: that every step runs, and nothing else")
    parser.add_argument("--minutes", type=float, default=25.0, help="after them nothing more is begun")
    parser.add_argument("--again", action="store_true", help="forget the results that are there")
    parser.add_argument("--out", type=Path, help="results/gpu; for a try, a folder of its own in it")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "gpu", help="what is only needed on the way")
    for inner in ("--step", "--kit", "--write", "--seconds"):  # of the processes that this one starts
        parser.add_argument(inner, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.step == "one process":
        from benchmarks.gpu.training_steps import one_process

        one_process(Kit.of(told.kit))
        return 0
    if told.step:
        found = steps.run_step(Kit.of(told.kit), told.step, float(told.seconds))
        replace_text(Path(told.write), json.dumps(found))
        return 0
    out = told.out or results_folder(told.device, told.scale)
    try:
        return steps.run_all(
            Kit(told.device, told.scale, told.minutes, out.absolute(), told.work.absolute()), told.again
        )
    except KeyboardInterrupt:
        print("stopped: what was done is kept, and another call goes on from here", file=sys.stderr)
        return 130
    except TesseraError as error:
        print(f"error: {error} Or try the way there on a processor: make gpu DEVICE=cpu SCALE=smoke", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
