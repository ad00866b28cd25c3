"""Makes `<version>.tar.xz`: a tiny artifact of every stage, by the stages' own scripts. See README.md.

PYTHONPATH=workflow python tests/formats/make.py 1
"""

import json
import os
import runpy
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from tessera.models import store
from tessera.study.plan import Plan, make_plan

ROOT = Path(__file__).parent.parent.parent
STUDIES = {
    "tiny": """
title: Does every format still load?
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: digits, image_size: 32}
  source:
    encoder: resnet8
    tasks: [rotation, {name: jigsaw, permutations: 4, tile_hidden: 8}]
    method: equal
    iterations: 2
  target: {network: {name: reduced_alexnet, width: quarter, hidden: 8}, protocol: knn, iterations: 2}
also:
  - {label: knn, column: a}
  - {label: clusters, column: b, target.protocol: {name: clustering, train_encoder: false, images: 16}}
  - {label: FSP, column: c, transfer: {method: fsp, mode: joint}, target.protocol: classification}
  - label: soft targets
    column: d
    transfer: {method: soft_targets, teacher: clusters, clusters: 4}
    target.views: fixed 2
    target.protocol: classification
""",
    # Of this one the datasets alone: a detector is no tiny network.
    "datasets": """
title: Do datasets of other forms still load?
scale: smoke
trials: 1
base:
  source: {dataset: {name: image_folder, path: digits, image_size: 32, packed: true}, encoder: resnet8, method: random}
  transfer: {method: fine_tune}
  target:
    dataset: {name: digits_scenes, image_size: 64, num_train: 2, num_test: 1}
    network: {name: ssd300, image_size: 128}
    protocol: detection
""",
}
SAME = {"git": None, "hardware": {"device": "cpu"}, "seconds": 1.0, "finished": "2000-01-01T00:00:00+00:00"}


def main(version: str) -> None:
    """Runs the jobs in a temporary project, and packs what they made."""
    archive = Path(__file__).parent.resolve() / f"{version}.tar.xz"
    store.save_weights, save = (
        lambda state, *rest: save({name: coarse(one) for name, one in state.items()}, *rest),
        store.save_weights,
    )
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        write_images(Path("data", "digits"))
        plan = make_project()
        for job in plan.jobs.values():
            if job.folder in plan.studies["tiny"].artifacts or job.stage == "prepare_dataset":
                script = ROOT / "workflow" / "scripts" / f"{job.stage}.py"
                sys.argv = [str(script), job.model_dump_json()]
                runpy.run_path(str(script), run_name="__main__")
                manifest = Path(job.manifest)
                manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **SAME}, indent=1) + "\n")
        Path("summary.json").write_text(plan.studies["tiny"].model_dump_json(indent=1))
        with tarfile.open(archive, "w:xz", preset=9) as packed:
            for path in [Path("summary.json"), *sorted(Path("artifacts").rglob("*"))]:
                packed.add(path, recursive=False, filter=nobodys)
    print(archive, archive.stat().st_size)


def coarse(tensor: Tensor) -> Tensor:
    """Weights in steps of a quarter: a form is kept here, no result, and such weights need little room."""
    return (tensor * 4).round() / 4 if tensor.is_floating_point() else tensor


def nobodys(about: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same of whoever makes it, and whenever."""
    about.uid = about.gid = about.mtime = 0
    about.uname = about.gname = ""
    about.mode = 0o755 if about.isdir() else 0o644
    return about


def write_images(folder: Path) -> None:
    """Zeros and ones of scikit-learn's digits, 32 x 32 pixels."""
    digits = load_digits(n_class=2)
    for split, start, stop in (("train", 0, 16), ("test", 16, 24)):
        for label in (0, 1):
            (folder / split / str(label)).mkdir(parents=True)
            for index in (digits.target == label).nonzero()[0][start:stop]:
                pixels = (digits.images[index] * 15.9).astype("uint8")
                image = Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST)
                image.save(folder / split / str(label) / f"{index:03}.png")


def make_project() -> Plan:
    """Configuration and plan, in the working directory."""
    for part in ("methods", "scales"):
        Path("config").mkdir(exist_ok=True)
        Path("config", part).symlink_to(ROOT / "config" / part)
    Path("config", "studies").mkdir()
    for name, text in STUDIES.items():
        Path("config", "studies", f"{name}.yaml").write_text(text)
    return make_plan({"studies": list(STUDIES), "device": "cpu", "tracking": {"mlflow": {"enabled": False}}}, Path())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
