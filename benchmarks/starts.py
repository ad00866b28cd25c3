"""How long does a job take beside its own work: from the start of its process to its first step, and at its end?

    PYTHONPATH=workflow python benchmarks/starts.py --rounds 3
    PYTHONPATH=workflow python benchmarks/starts.py --run .

Every stage's job is run in a process of its own, and once more in a process that has just run it: what the second takes
is the work, and the rest is the start and the end. Processes take turns with a bare `import torch`, the floor. Seconds
are of the processor, which a busy neighbour changes little, and of the clock.

`--run FOLDER` adds up a project's last run instead: the processes' seconds, as Snakemake measured them, and the jobs'.
"""

import argparse
import csv
import json
import os
import resource
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tessera.artifacts import resume_folder
from tessera.jobs import Job
from tessera.study.plan import make_plan

ROOT = Path(__file__).resolve().parent.parent
AGAIN = "--again"
STUDY = """
title: Every stage
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: images, image_size: 32}
  source: {encoder: resnet8, method: tte, tasks: [jigsaw, colorization, reconstruction]}
  target: {protocol: classification, network: reduced_alexnet}
grid:
  columns:
    - {label: transfer, transfer.method: fsp}
    - {label: linear_probe, target.protocol: linear_probe}
    - {label: knn, target.protocol: knn}
    - {label: clustering, target.protocol: clustering}
"""
Seconds = tuple[float, float]  # of the processor, and of the clock


def make_project(folder: Path) -> list[Job]:
    """A study of every stage, on 96 images; its jobs in the plan's order."""
    (folder / "config" / "studies").mkdir(parents=True)
    for name in ("methods", "scales"):
        shutil.copytree(ROOT / "config" / name, folder / "config" / name)
    (folder / "config" / "studies" / "starts.yaml").write_text(STUDY)
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "b"):
            images = folder / "data" / "images" / split / label
            images.mkdir(parents=True)
            for index in range(24):
                Image.fromarray(draw.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(images / f"{index}.png")
    os.environ["TESSERA_DATA"] = str(folder / "data")  # a user's own would go before the folder's
    config = {"studies": ["starts"], "device": "cpu", "tracking": {"mlflow": {"enabled": False}}}
    return list(make_plan(config, folder).jobs.values())


def timed(*words: str) -> Seconds:
    """What a process of this Python takes; its output is shown where it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, clock


def script_of(job: Job) -> str:
    return str(ROOT / "workflow" / "scripts" / f"{job.stage}.py")


def spec_of(job: Job) -> str:
    path = resume_folder(job) / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(job.model_dump_json())
    return str(path)


def forget(job: Job) -> None:
    """So that it is made again."""
    for folder in (Path(job.folder), resume_folder(job)):
        shutil.rmtree(folder, ignore_errors=True)


def work_of(job: Job) -> Seconds:
    """What a job takes in a process that has run it before, all that it imports with it."""
    answer = Path("work.json")
    timed(__file__, AGAIN, job.model_dump_json(), str(answer))
    processor, clock = json.loads(answer.read_text())
    return processor, clock


def again(job: Job, answer: Path) -> None:
    """Runs a job twice in this process, and writes what the second run took."""
    for _ in range(2):
        forget(job)
        sys.argv = ["script", spec_of(job)]
        start = time.process_time(), time.perf_counter()
        runpy.run_path(script_of(job), run_name="__main__")
        seconds = time.process_time() - start[0], time.perf_counter() - start[1]
    answer.write_text(json.dumps(seconds))


def measure(rounds: int, most: int | None) -> None:
    """Prints a line a stage, of the first stages alone if so many jobs are named."""
    with tempfile.TemporaryDirectory() as temporary:
        jobs = make_project(Path(temporary))[:most]
        os.chdir(temporary)
        floors, whole = list[Seconds](), dict[str, list[Seconds]]()
        work = dict[str, list[Seconds]]()
        for _ in range(rounds):
            for job in jobs:
                kind = " ".join(
                    [job.stage, *(job.settings[key]["name"] for key in ("protocol",) if key in job.settings)]
                )
                floors.append(timed("-c", "import torch"))
                forget(job)
                whole.setdefault(kind, []).append(timed(script_of(job), spec_of(job)))
                work.setdefault(kind, []).append(work_of(job))
        made = timed(script_of(jobs[-1]), spec_of(jobs[-1]))
    floor = [statistics.median(seconds) for seconds in zip(*floors, strict=True)]
    print(f"a bare `import torch`: {floor[0]:.1f} s of the processor, {floor[1]:.1f} s of the clock")
    print("| job | process, s | its work, s | beside it, s | of the clock, s | beside / floor |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind, processes in whole.items():
        total, own = ([statistics.median(each) for each in zip(*of, strict=True)] for of in (processes, work[kind]))
        beside, clock = total[0] - own[0], total[1] - own[1]
        print(f"| {kind} | {total[0]:.1f} | {own[0]:.1f} | {beside:.1f} | {clock:.1f} | {beside / floor[0]:.2f} |")
    print(f"| one that is made already | {made[0]:.1f} | | {made[0]:.1f} | {made[1]:.1f} | {made[0] / floor[0]:.2f} |")


def add_up(folder: Path) -> None:
    """Prints what the processes of a project's runs took, and what of it their jobs took."""
    processes = [next(csv.DictReader(path.open(), delimiter="\t")) for path in folder.glob("logs/*/*.bench.tsv")]
    jobs = [json.loads(path.read_text())["seconds"] for path in folder.glob("artifacts/*/*/artifact.json")]
    clock = sum(float(row["s"]) for row in processes)
    print(f"{len(processes)} processes: {clock:.0f} s of the clock; {len(jobs)} jobs inside them: {sum(jobs):.0f} s")
    print(f"start, end and tables: {clock - sum(jobs):.0f} s; imports are part of the jobs' seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, help="of how many jobs, from the first on; all unless given")
    parser.add_argument("--run", type=Path, help="a project's folder, whose last run is added up")
    parser.add_argument(AGAIN, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.again:
        again(Job.model_validate_json(options.again[0]), Path(options.again[1]))
    elif options.run:
        add_up(options.run)
    else:
        measure(options.rounds, options.jobs)


if __name__ == "__main__":
    main()
