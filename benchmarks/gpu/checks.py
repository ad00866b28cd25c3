"""The tests marked `gpu`, a process for each file, since one bad kernel ends all CUDA of a process."""

import os
import subprocess
import sys
from collections import Counter
from typing import Any

from benchmarks.gpu.options import ROOT, Kit
from benchmarks.gpu.recording import outcomes

FILES = ("test_parts", "test_repeats", "test_targets", "test_processes")
SECONDS_A_TEST = 120


def run_tests(kit: Kit, name: str) -> dict[str, Any]:
    """The step `tests <name>`: the tests of a file that have not passed yet, on the kit's device."""
    record = kit.work / f"{name}.jsonl"
    words = [sys.executable, "-m", "pytest", f"tests/gpu/{name}.py", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    words += ["-p", "benchmarks.gpu.recording", f"--device={kit.device}", f"--record={record}", "--color=no"]
    words += [f"--timeout={SECONDS_A_TEST}", "-m", "gpu"]
    words += ["-k", kit.size.tests] if kit.size.tests else []
    path = os.pathsep.join([str(ROOT), str(ROOT / "workflow")])
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=sys.stderr)
    found = outcomes(record)
    bad = {test: about["why"] for test, about in found.items() if about["outcome"] == "failed"}
    ended = done.returncode in (0, 1, 5)  # 5: there was nothing left to run
    return {
        "counts": dict(Counter(about["outcome"] for about in found.values())),
        "failed": bad if ended else {**bad, name: f"pytest ended with code {done.returncode}: the log says why"},
        "skipped": {test: about["why"] for test, about in found.items() if about["outcome"] == "skipped"},
        "told": {test: about["told"] for test, about in found.items() if about["told"]},
        "slowest": dict(sorted(((t, about["seconds"]) for t, about in found.items()), key=lambda p: -p[1])[:5]),
    }
