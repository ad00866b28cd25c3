"""Artifacts: complete or absent, restored rather than made again, moved aside where they are damaged."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from tessera import artifacts, manifest, registry
from tessera.errors import ArtifactError
from tessera.files import replace_text
from tessera.jobs import STAGES, GeneratePretextLabels, Job, StageSettings
from tessera.parts import parts_of
from tessera.registry import Checked


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    settings = {"dataset": {"name": "digits_m"}}
    return Job(stage="prepare_dataset", words="digits", version=1, trial=None, settings=settings, inputs={})


def make(job: Job) -> Path:
    draft = artifacts.resume_folder(job) / "output"
    draft.mkdir(parents=True)
    (draft / "images.bin").write_bytes(b"\x00\x01" * 500)
    (draft / "more").mkdir()
    (draft / "more" / "labels.txt").write_text("1 2 3")
    return artifacts.publish(job, draft, 1.5, {"device": "cpu"})


def test_a_published_artifact_says_where_it_came_from(job: Job) -> None:
    folder = make(job)
    assert folder == Path(job.folder)
    assert not (artifacts.resume_folder(job) / "output").exists()
    assert artifacts.verify(folder, whole=True).key == job.key
    about = json.loads((folder / "artifact.json").read_text())
    assert (about["kind"], about["key"], about["settings"]) == ("prepare_dataset", job.key, job.settings)
    assert about["files"]["images.bin"]["bytes"] == 1000
    # The two bytes 00 01, five hundred times, by coreutils' sha256sum.
    expected = "a397a563ae79e726a32a764b5336d80c7b7f34c8e721acdd429c328a739a0779"
    assert about["files"]["images.bin"]["sha256"] == expected
    assert set(about["files"]) == {"images.bin", "more/labels.txt"}
    assert about["seconds"] == 1.5
    assert {"python", "torch", "numpy"} <= about["versions"].keys()
    assert about["hardware"]["device"] == "cpu"
    assert about["hardware"]["memory_gb"] > 0


def test_publishing_takes_the_place_of_the_empty_folder_that_snakemake_makes(job: Job) -> None:
    Path(job.folder).mkdir(parents=True)
    assert artifacts.verify(make(job))


def test_a_stage_that_made_nothing_is_an_error(job: Job) -> None:
    draft = artifacts.resume_folder(job) / "output"
    draft.mkdir(parents=True)
    with pytest.raises(ArtifactError, match="made no file"):
        artifacts.publish(job, draft, 1.0, {})
    assert not Path(job.folder).exists()


def test_a_deleted_manifest_is_put_back_where_the_files_are_whole(job: Job) -> None:
    folder = make(job)
    before = (folder / "artifact.json").read_bytes()
    (folder / "artifact.json").unlink()  # as Snakemake does with an incomplete output
    assert artifacts.restore(job)
    assert (folder / "artifact.json").read_bytes() == before


def test_nothing_is_restored_that_is_not_whole(job: Job) -> None:
    assert not artifacts.restore(job)
    folder = make(job)
    (folder / "artifact.json").unlink()
    (folder / "images.bin").write_bytes(b"\x00\x02" * 500)
    assert not artifacts.restore(job)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x02" * 500, "does not match its checksum"),
        (b"\x00", "has 1 bytes, but should have 1000"),
        (None, "missing"),
    ],
)
def test_a_damaged_artifact_is_moved_aside(job: Job, content: bytes | None, message: str) -> None:
    folder = make(job)
    (folder / "images.bin").unlink()
    if content is not None:
        (folder / "images.bin").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{job.name}: images.bin .*{message}.*the next run makes it again"):
        artifacts.verify(folder)
    assert not folder.exists()
    (aside,) = Path("resume/damaged").iterdir()
    assert aside.name.startswith(job.name)


def test_an_unreadable_manifest_is_damage_and_a_missing_one_is_incompleteness(job: Job) -> None:
    folder = make(job)
    (folder / "artifact.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"artifact.json cannot be read .*Moved to resume/damaged"):
        artifacts.verify(folder)
    with pytest.raises(ArtifactError, match=r"no artifact.json, so it is not complete"):
        artifacts.verify(folder)


def test_large_files_are_read_only_when_the_whole_is_checked(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(job)
    (folder / "images.bin").write_bytes(b"\x00\x02" * 500)
    monkeypatch.setattr(manifest, "CHECKED_BYTES", 100)
    assert artifacts.verify(folder)
    with pytest.raises(ArtifactError, match="checksum"):
        artifacts.verify(folder, whole=True)


def test_replacing_a_file_never_writes_through_a_link(tmp_path: Path) -> None:
    cached, linked = tmp_path / "cached", tmp_path / "linked"
    cached.write_text("old")
    os.link(cached, linked)
    replace_text(linked, "new")
    assert (cached.read_text(), linked.read_text()) == ("old", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cached", "linked"]


def test_history_and_metrics(tmp_path: Path) -> None:
    artifacts.save_history([{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 1.0, "val": 2.0}], tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,val\n0,1.5,\n1,1.0,2.0\n"
    artifacts.save_metrics({"accuracy": 50.0, "loss": float("nan")}, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"accuracy": 50.0, "loss": None}


def test_artifacts_of_other_code_are_found(job: Job) -> None:
    folder = make(job)
    assert artifacts.from_other_code([job]) == []
    about = json.loads((folder / "artifact.json").read_text())
    (folder / "artifact.json").write_text(json.dumps({**about, "code": "before"}))
    assert artifacts.from_other_code([job]) == [job.folder]


PACKAGE = Path(artifacts.__file__).parent
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
PROTOCOLS = registry.parts("protocol").values()


def _families(model: type[Checked]) -> set[str]:
    """Of the parts that settings name, parts within parts too."""
    inner = [field.annotation for field in model.model_fields.values() if isinstance(field.annotation, type)]
    found = set(parts_of(model).values())
    for below in (kind for kind in inner if issubclass(kind, Checked)):
        found |= _families(below)
    return found


def _imported(room: str, measures: bool) -> set[str]:
    """Rooms that a room's code imports: not its options, which are in the keys, nor protocols where none is run."""
    found: set[str] = set()
    protocols = {part.target.partition(":")[0] for part in PROTOCOLS}
    for path in (PACKAGE / room).rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        if "options" not in path.relative_to(PACKAGE).with_suffix("").parts and (measures or module not in protocols):
            found |= set(re.findall(r"^\s*(?:from|import) tessera\.(\w+)", path.read_text(), re.MULTILINE))
    return found & ROOMS


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_a_stage_names_the_rooms_of_all_that_it_runs(stage: type[StageSettings]) -> None:
    assert set(stage.rooms) <= ROOMS
    needed = {"training", "tasks"} if stage is GeneratePretextLabels else set()
    for part in (part for family in _families(stage) for part in registry.parts(family).values()):
        if getattr(part.options, "stage", stage.stage) == stage.stage:  # a protocol says which stage runs it
            needed |= set(re.findall(r"^tessera\.(\w+)", part.target))
        needed |= set(re.findall(r"^tessera\.(\w+)", getattr(part.options, "trainer", "")))
    for room in stage.rooms:
        needed |= _imported(room, measures="protocols" in stage.rooms)
    assert needed <= set(stage.rooms), "their code determines its results as well"


def test_an_artifact_is_published_across_file_systems(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = tmp_path / "draft"
    draft.mkdir()
    (draft / "metrics.json").write_text("{}")
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source) == draft:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    folder = artifacts.publish(job, draft, 1.0, {})
    assert sorted(path.name for path in folder.iterdir()) == ["artifact.json", "metrics.json"]
    assert not draft.exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
