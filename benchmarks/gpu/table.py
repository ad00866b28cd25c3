"""Table 4's column CIFAR-10, by the pipeline itself, with as many of the paper's steps as there is time for.

Snakemake runs in a folder of its own, with the project's rules, package and configuration, and one study and scale
more. What it makes is kept, so that a second call goes on where the first one stopped.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu.options import ROOT, Kit, Size, environment_with
from benchmarks.gpu.stopping import stop
from tessera.files import replace_text

STUDY, COLUMN = "table4_cifar10", "CIFAR-10"
LINKED = ("Snakefile", "rules", "workflow", "envs", "profiles")
ARCHIVE = "cifar10.tar.xz"
ORIGINAL = ("cifar-10-batches-py", "cifar-10-python.tar.gz")  # nothing is downloaded while a GPU waits


def measure(kit: Kit, share: float, seconds: float) -> dict[str, Any]:
    """The steps `table 4, first` and `table 4`: the column at a share of the paper's steps.

    Args:
        seconds: After them it is stopped, and what is done is kept.
    """
    folder, name = kit.work / "table4", f"{STUDY}_{round(1 / share)}"
    dataset, told = choose_dataset(kit)
    lay_out(folder, name, kit.size, dataset, share, kit.device)
    words = [sys.executable, "-m", "snakemake", name, "--cores", str(min(4, os.cpu_count() or 1))]
    words += ["--keep-going", "--rerun-incomplete", "--quiet", "rules"]
    words += [] if kit.device == "cpu" else ["--resources", "gpu=1"]
    environment = {**environment_with(ROOT / "workflow"), "TESSERA_DATA": str(data_folder())}
    start, record = time.monotonic(), kit.work / f"{name}.json"
    before = json.loads(record.read_text()) if record.exists() else {"began": time.time(), "seconds_of_run": 0.0}
    replace_text(record, json.dumps(before))
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=sys.stderr, start_new_session=True)
    cut_off = False
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        cut_off = True
    finally:
        try:
            stop(process, kit.margin_s)  # in which jobs keep what they have
        finally:  # also of a call that is stopped: its trainings count
            seconds_of_run = before["seconds_of_run"] + time.monotonic() - start
            replace_text(record, json.dumps({**before, "seconds_of_run": seconds_of_run}))
    found = {
        "share": share,
        "dataset": told,
        "seconds_of_run": seconds_of_run,  # of all calls, as the trainings are
        "training": _training(folder, before["began"]),
        **_table(folder / "results" / name / "table.json"),
    }
    if "cells" not in found:
        found |= {"cut off": "the time ended"} if cut_off else {"failed": _failures(folder)}
    return found


def data_folder() -> Path:
    """Where datasets lie."""
    return Path(os.environ.get("TESSERA_DATA") or ROOT / "data").expanduser().absolute()


def choose_dataset(kit: Kit) -> tuple[dict[str, Any], str]:
    """The images of the column, and in words what they are: CIFAR-10, its archive, or digits that are made here."""
    made = ({"name": "digits_m"}, "digits_m: made here")
    if kit.scale == "smoke":
        return made[0], f"{made[1]}, as the scale says"
    if any((data_folder() / name).exists() for name in ORIGINAL):
        return {"name": "cifar10"}, "CIFAR-10"
    if (data_folder() / ARCHIVE).exists():
        return {"name": "image_folder", "path": ARCHIVE, "image_size": 32}, f"CIFAR-10 from {ARCHIVE}"
    return made[
        0
    ], f"{made[1]}, since neither CIFAR-10 nor {ARCHIVE} lies in the data's folder: no figure of the paper's"


def lay_out(folder: Path, name: str, size: Size, dataset: dict[str, Any], share: float, device: str) -> None:
    """Makes the folder that Snakemake runs in; what jobs made there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in LINKED:
        if not (folder / part).is_symlink():
            (folder / part).symlink_to(ROOT / part)
    for part in ("scales", "methods"):  # and no other study, each of which every call of Snakemake would plan
        shutil.copytree(ROOT / "config" / part, folder / "config" / part, dirs_exist_ok=True)
    (folder / "config" / "studies" / "published").mkdir(parents=True, exist_ok=True)
    config = {
        "studies": [name],
        "scale": name,
        "device": device,
        "tracking": {"mlflow": {"enabled": False}, "dvc": {"enabled": False}},
    }
    studies = folder / "config" / "studies"
    _write(folder / "config" / "config.yaml", config)
    _write(folder / "config" / "scales" / f"{name}.yaml", scale_of(size, share))
    _write(studies / f"{name}.yaml", study_of(studies, name, size, dataset))


def scale_of(size: Size, share: float) -> dict[str, Any]:
    """The paper's scale with a share of its steps: fewer epochs, and shorter ones, both by about the root of it.

    Batches, and the course of the learning rate over the training, stay the paper's.
    """
    base = "paper" if size.table_rows is None else "smoke"
    scale: dict[str, Any] = yaml.safe_load((ROOT / "config" / "scales" / f"{base}.yaml").read_text())
    if base == "smoke":
        return scale
    scale["title"] = f"{share:.4%} of the paper's steps"
    for part in (scale["source"], scale["target"]):
        steps = part["epochs"] * part["iterations"] * share
        epochs = max(2, round(part["epochs"] * share**0.5))
        part |= {"epochs": epochs, "iterations": max(4, 4 * round(steps / epochs / 4))}
    first = scale["target"]["first_stage_epochs"]
    scale["target"]["first_stage_epochs"] = max(1, round(first * share**0.5))
    return scale


def study_of(studies: Path, name: str, size: Size, dataset: dict[str, Any]) -> dict[str, Any]:
    """`table4`, one column and one trial of it."""
    study: dict[str, Any] = yaml.safe_load((ROOT / "config" / "studies" / "table4.yaml").read_text())
    study |= {"trials": 1}
    study["base"]["source"]["encoder"] = size.table_encoder
    del study["compare"]  # with one trial nothing can be said of noise
    column = {"label": COLUMN, "source.dataset+target.dataset": dataset}
    rows = [row for row in study["grid"]["rows"] if size.table_rows is None or row["label"] in size.table_rows]
    study["grid"] = {"rows": rows, "columns": [column]}
    also = [row for row in study["also"] if size.table_rows is None or row["label"] in size.table_rows]
    study["also"] = [{**row, "column": COLUMN, "source.dataset+target.dataset": dataset} for row in also]
    if not also:
        del study["also"]
    labels = {row["label"] for row in (*rows, *also)}
    with (ROOT / "config" / "studies" / study["published"]).open(encoding="utf-8", newline="") as file:
        published = [row for row in csv.reader(file) if row[1] in ("column", COLUMN) and row[0] in {"row", *labels}]
    study["published"] = f"published/{name}.csv"
    with (studies / study["published"]).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(published)
    return study


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _training(folder: Path, began: float) -> dict[str, float]:
    """Seconds of the epochs of each training that ended since then, by artifact."""
    found = {}
    for path in sorted(folder.glob("artifacts/*/*/history.csv")):
        if path.stat().st_mtime < began:
            continue
        with path.open(encoding="utf-8", newline="") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file) if row.get("seconds")]
        if seconds:
            found[f"{path.parents[1].name}/{path.parent.name}"] = sum(seconds)
    return found


def _table(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    table = json.loads(path.read_text(encoding="utf-8"))
    return {"rows": table["rows"], "cells": table["cells"]}


def _failures(folder: Path) -> str:
    """The last lines of the newest logs of jobs that left one without an artifact."""
    logs = sorted(folder.glob("logs/*/*.log"), key=lambda path: path.stat().st_mtime)[-3:]
    return "\n".join(f"{path.name}: {path.read_text(encoding='utf-8', errors='replace')[-1500:]}" for path in logs)
