"""The death of a process, or a full disk, at every file operation: complete or absent, and mended by a second run."""

import contextlib
import io
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from crash import HOWS, every_fault, files, finished, interrupted
from PIL import Image

from tessera import artifacts
from tessera.data.prepare import prepare_dataset
from tessera.errors import ArtifactError
from tessera.jobs import Cell, EvaluateTarget, Job, PrepareDataset, SummarizeStudy
from tessera.manifest import MANIFEST, inspect
from tessera.protocols.options import ACCURACY
from tessera.report.page.index import write_index
from tessera.report.summary import summarize
from tessera.stages import StageJob, run_stage
from tessera.tracking.dvc import gather

SAMPLE = 41  # of how many operations one is disturbed, unless slow tests are asked for
Work = Callable[[], None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, in which the test works."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(artifacts, "git_state", lambda _: None)  # two processes each time
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads of other tests
        yield tmp_path / "project"


def a_job(**settings: object) -> Job:
    content = {"dataset": {"name": "digits_m", **settings}}
    return Job(stage="prepare_dataset", words="digits", version=1, trial=None, settings=content, inputs={})


def write(stage_job: StageJob[PrepareDataset]) -> None:
    (stage_job.output / "images.bin").write_bytes(bytes(range(256)) * 8)
    (stage_job.output / "more").mkdir()
    (stage_job.output / "more" / "labels.txt").write_text("1 2 3")
    stage_job.save_metrics({"num_train": 3.0})


def pack(stage_job: StageJob[PrepareDataset]) -> None:
    metrics = prepare_dataset(stage_job.settings.dataset, Path("data"), stage_job.output, stage_job.resume, 1500)
    stage_job.save_metrics(metrics)


def stage(job: Job, make: Callable[[StageJob[PrepareDataset]], None]) -> None:
    logging.getLogger("tessera").handlers.clear()
    sys.argv = ["script", job.model_dump_json()]
    with contextlib.redirect_stderr(io.StringIO()):
        run_stage(PrepareDataset, make)


def an_image_tree(at: Path) -> None:
    random = np.random.default_rng(0)
    for split, number in (("train", 3), ("test", 1)):
        for label in "ab":
            (at / split / label).mkdir(parents=True)
            for index in range(number):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(at / split / label / f"{index}.jpg", "jpeg", quality=80)


def a_study() -> SummarizeStudy:
    """Of two rows, measured; their artifacts are there."""
    cells = []
    for row in ("a", "b"):
        settings = {"protocol": {"name": "knn"}, "label_fraction": 1.0}
        job = Job(stage=EvaluateTarget.stage, words=row, version=1, trial=0, settings=settings, inputs={})
        draft = artifacts.resume_folder(job) / "output"
        draft.mkdir(parents=True)
        artifacts.save_metrics({"accuracy": 50.0}, draft / "metrics.json")
        artifacts.publish(job, draft, 1.0, {"device": "cpu"})
        cells.append(
            Cell(
                row=row,
                column="",
                protocol="knn",
                figure=ACCURACY,
                artifacts=(job.folder,),
            )
        )
    return SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=1, rows=("a", "b"), columns=("",),
        cells=tuple(cells), artifacts=tuple(cell.artifacts[0] for cell in cells),
    )  # fmt: skip


def tables(study: SummarizeStudy) -> None:
    artifacts.verify_all(study.artifacts)
    summarize(study, Path())
    gather(Path())
    write_index(Path())


def publishing(folder: Path) -> Work:
    return partial(stage, a_job(), write)


def restoring(folder: Path) -> Work:
    stage(a_job(), write)
    Path(a_job().manifest).unlink()
    return partial(stage, a_job(), write)


def remaking(folder: Path) -> Work:
    stage(a_job(), write)
    Path(a_job().folder, "images.bin").write_bytes(bytes(range(255, -1, -1)) * 8)
    return partial(stage, a_job(), write)


def packing(folder: Path) -> Work:
    an_image_tree(folder / "data" / "tree")
    return partial(stage, a_job(name="image_folder", path="tree", image_size=16, packed=True), pack)


def writing_tables(folder: Path) -> Work:
    return partial(tables, a_study())


def rewriting_tables(folder: Path) -> Work:
    study = a_study()
    tables(study)
    return partial(tables, study.model_copy(update={"title": "Another"}))


CASES = [publishing, restoring, remaking, packing, writing_tables, rewriting_tables]


def payload(folder: Path) -> dict[str, bytes]:
    """What must be equal after a crash: content, no times."""
    found = {name: content for name, content in files(folder).items() if name.startswith(("artifacts/", "results/"))}
    for name in found:
        if name.endswith(MANIFEST):
            found[name] = json.dumps(json.loads(found[name])["files"], sort_keys=True).encode()
    return found


def complete_or_absent(folder: Path) -> None:
    for manifest in folder.glob(f"artifacts/*/*/{MANIFEST}"):
        if not manifest.parent.name.startswith("."):
            inspect(manifest.parent, whole=True)
    for marker in folder.glob("results/*/provenance-*.json"):
        assert json.loads(marker.read_text())["key"] in marker.name


@pytest.mark.parametrize("prepared", CASES, ids=[case.__name__ for case in CASES])
@pytest.mark.parametrize(
    ("how", "step"), [("half", SAMPLE), *(pytest.param(how, 1, marks=pytest.mark.slow) for how in HOWS)]
)
def test_a_crash_costs_nothing(folder: Path, prepared: Callable[[Path], Work], how: str, step: int) -> None:
    before = folder.with_name("before")
    work = prepared(folder)
    shutil.copytree(folder, before)
    damaged = prepared is remaking
    finished(work)
    undisturbed = payload(folder)
    for fault in every_fault(how, step):
        os.chdir(folder.parent)
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        os.chdir(folder)
        if not interrupted(work, folder, fault):
            break
        with contextlib.suppress(ArtifactError) if damaged else contextlib.nullcontext():
            complete_or_absent(folder)
        finished(work)
        assert payload(folder) == undisturbed, f"after {fault}"
        left = [name for name in files(folder) if name.endswith(".draft")]
        assert not left, f"after {fault}"
    assert fault.at > 1
