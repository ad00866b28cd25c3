"""The tests marked `gpu`, a process for each file, since one bad kernel ends all CUDA of a process."""

import subprocess
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.gpu.options import ROOT, Kit, environment_with
from benchmarks.gpu.recording import STARTED, outcomes, write
from benchmarks.gpu.stopping import stop

FILES = ("test_parts", "test_repeats", "test_targets", "test_processes")
SECONDS_A_TEST = 120
ENDED = (0, 1, 5)  # codes of pytest; 5: there was nothing left to run


def run_tests(kit: Kit, name: str, seconds: float) -> dict[str, Any]:
    """The step `tests <name>`: the tests of a file that have not passed yet, on the kit's device.

    A test that ends pytest itself, by a crash or by hanging in the device, has failed; those after it are run.

    Args:
        seconds: After them pytest is stopped; what has ended by then counts.
    """
    record, start, since = kit.work / f"{name}.jsonl", time.monotonic(), time.time()
    words = [sys.executable, "-m", "pytest", f"tests/gpu/{name}.py", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    words += ["-p", "benchmarks.gpu.recording", f"--device={kit.device}", f"--record={record}", "--color=no"]
    # By a thread: a signal is not heard while a call of the device hangs.
    words += [f"--since={since}", f"--timeout={SECONDS_A_TEST}", "--timeout-method=thread", "-m", "gpu"]
    # A folder of its own: in the common one pytest removes what earlier calls left, which can take minutes.
    words += [f"--basetemp={kit.work / f'{name}.tmp'}"]
    words += ["-k", kit.size.tests] if kit.size.tests else []
    late, code = False, 0
    while not late:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment_with(ROOT, ROOT / "workflow"), stdout=sys.stderr, start_new_session=True
        )
        try:
            code = process.wait(max(1.0, seconds - (time.monotonic() - start)))
        except subprocess.TimeoutExpired:
            late = True
        finally:
            stop(process, kit.margin_s)
        begun = {test: about["at"] for test, about in outcomes(record).items() if about["outcome"] == STARTED}
        ended_by = [test for test, at in begun.items() if at >= since]
        if late or not ended_by:
            break
        for test in ended_by:
            why = f"it ended pytest (code {code}): by a crash, or after {SECONDS_A_TEST} s. The log says more."
            write(record, {"test": test, "outcome": "failed", "seconds": 0.0, "why": why, "told": {}})
    found = {test: about for test, about in outcomes(record).items() if about["outcome"] != STARTED}
    bad = {test: about["why"] for test, about in found.items() if about["outcome"] == "failed"}
    if not late and (code not in ENDED or (code == 1 and not bad)):
        bad[name] = f"pytest ended with code {code}: the log says why"
    return {
        "counts": dict(Counter(about["outcome"] for about in found.values())),
        "failed": bad,
        "skipped": {test: about["why"] for test, about in found.items() if about["outcome"] == "skipped"},
        "told": {test: about["told"] for test, about in found.items() if about["told"]},
        "slowest": dict(sorted(((t, about["seconds"]) for t, about in found.items()), key=lambda p: -p[1])[:5]),
        **({"cut off": "the time ended before all tests had run"} if late else {}),
    }
