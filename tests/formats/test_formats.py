"""Artifacts of every released format load, or are refused in a line. See README.md."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tessera.artifacts import restore, verify, verify_all
from tessera.data.detection import load_detection
from tessera.data.store import load_dataset
from tessera.errors import TesseraError
from tessera.jobs import FOLDERS, Job, SummarizeStudy
from tessera.models.store import load_classifier, load_encoder, load_measured, load_network
from tessera.report.records import figures
from tessera.report.tables.markdown import markdown
from tessera.report.tables.table import read_table
from tessera.transfer.record import load_features

RELEASED = sorted(Path(__file__).parent.glob("*.tar.xz"))
REFUSED: dict[tuple[str, str], str] = {}  # archive's number and stage's folder: what the one line says
SINCE = {"teacher": 2}  # the first archive that has artifacts of a stage
CPU = torch.device("cpu")


@pytest.fixture(params=RELEASED, ids=[path.name.partition(".")[0] for path in RELEASED])
def released(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project with the artifacts of one format; its number."""
    monkeypatch.chdir(tmp_path)
    with tarfile.open(request.param) as archive:
        archive.extractall(filter="data")
    return str(request.param.name).partition(".")[0]


def load_images(folder: Path) -> None:
    if (folder / "objects.npz").exists():
        boxes = load_detection(folder)
        assert len(boxes.classes) == 10
        return
    dataset = load_dataset(folder, CPU)
    images = dataset.train.images[torch.tensor([0, 1])]
    assert images.shape[0] == 2
    assert list(dataset.classes) == ["0", "1"]


def load_labels(folder: Path) -> None:
    assert load_file(folder / "labels.safetensors")["permutations"].shape == (4, 9)


def load_source(folder: Path) -> None:
    stored = load_encoder(folder, CPU)
    with torch.no_grad():
        assert stored.encoder(torch.zeros(1, 3, 32, 32)).isfinite().all()
    assert load_classifier(folder, CPU) is None
    load_measured(folder, CPU)
    assert (folder / "history.csv").read_text().startswith("epoch,")


def load_target_network(folder: Path) -> None:
    stored = load_network(folder, CPU)
    with torch.no_grad():
        assert stored.network(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
    load_measured(folder, CPU)


def load_measurement(folder: Path) -> None:
    assert "accuracy" in figures(folder)
    with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
        assert all(len(arrays[name]) for name in arrays.files)


def load_clusters(folder: Path) -> None:
    assert "accuracy" in figures(folder)
    with np.load(folder / "assignments.npz", allow_pickle=False) as arrays:
        assert all(len(arrays[name]) for name in arrays.files)


def load_teacher(folder: Path) -> None:
    views, images, width = load_features(folder, CPU).shape
    assert (views, images, width) == (2, 32, 64)


LOADERS: dict[str, Callable[[Path], None]] = {
    "datasets": load_images,
    "pretext": load_labels,
    "source": load_source,
    "teacher": load_teacher,
    "transfer": load_target_network,
    "target": load_measurement,
    "clusters": load_clusters,
}


def test_an_artifact_of_every_stage_loads_or_is_refused_in_a_line(released: str) -> None:
    assert set(FOLDERS.values()) == set(LOADERS)
    held = [stage for stage in LOADERS if SINCE.get(stage, 1) <= int(released)]
    assert {path.name for path in Path("artifacts").iterdir()} == set(held)
    for stage in held:
        load = LOADERS[stage]
        for folder in sorted(Path("artifacts", stage).iterdir()):
            if (line := REFUSED.get((released, stage))) is None:
                verify(folder, whole=True)
                load(folder)
                continue
            with pytest.raises(TesseraError, match=line) as caught:
                load(folder)
            assert "\n" not in str(caught.value)
    forms = {"objects.npz", "images-00000.bin", "images.npy"}
    assert forms <= {path.name for path in Path("artifacts/datasets").rglob("*")}


def test_a_job_finds_its_artifact_made(released: str) -> None:
    for folder in Path("artifacts").glob("*/*"):
        about = verify(folder)
        words = about.name.rpartition("-")[0]
        common = about.model_dump(include={"version", "trial", "settings", "inputs"})
        job = Job(stage=about.kind, words=words, **common)
        assert job.folder == str(folder)
        assert restore(job)


def test_a_study_is_shown(released: str) -> None:
    content = json.loads(Path("summary.json").read_bytes())
    for cell in content["cells"]:  # each plan makes a study's table anew: only what it is made of has to be readable
        if "metric" in cell:
            cell["figure"] = {"name": cell.pop("metric")}
    study = SummarizeStudy.model_validate(content)
    verify_all(study.artifacts)
    assert "| a | b | c " in markdown(read_table(study, Path()))


def test_the_archives_are_small() -> None:
    assert RELEASED
    assert sum(path.stat().st_size for path in RELEASED) < 300_000
