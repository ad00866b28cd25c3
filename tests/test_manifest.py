"""A manifest is believed when it is one, and that of the place in which it lies."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tessera import artifacts
from tessera.errors import ArtifactError
from tessera.jobs import Job, key_of


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(artifacts, "_PAUSE_S", 0.0)


def a_job(name: str = "digits_m", **about: Any) -> Job:
    common: dict[str, Any] = {"stage": "prepare_dataset", "words": "digits", "version": 1, "trial": None, "inputs": {}}
    return Job(**{**common, "settings": {"dataset": {"name": name}}, **about})


def make(job: Job) -> Path:
    draft = artifacts.resume_folder(job) / "output"
    draft.mkdir(parents=True)
    (draft / "images.bin").write_bytes(b"\x00\x01" * 500)
    return artifacts.publish(job, draft, 1.5, {"device": "cpu"})


def change(folder: Path, **fields: Any) -> None:
    about = json.loads((folder / "artifact.json").read_text())
    (folder / "artifact.json").write_text(json.dumps({**about, **fields}))


def is_damage(folder: Path, message: str) -> None:
    """Told in a line and moved aside by the first look; absent to the second."""
    with pytest.raises(ArtifactError, match=message) as caught:
        artifacts.verify(folder)
    assert "\n" not in str(caught.value)
    assert "Moved to resume/damaged/" in str(caught.value)
    with pytest.raises(ArtifactError, match="so it is not complete"):
        artifacts.verify(folder)


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", "{}", "7", "NaN", '"a"', "[" * 5000, '{"a":' * 5000, "\x00", '{"files": NaN}']
)
def test_json_that_is_no_manifest_is_damage(content: str) -> None:
    job = a_job()
    folder = make(job)
    (folder / "artifact.json").write_text(content)
    assert artifacts.from_other_code([job]) in ([], [job.folder])
    is_damage(folder, "artifact.json cannot be read")
    assert not artifacts.restore(a_job())


@pytest.mark.parametrize(
    "files",
    [
        None, [], {}, {"images.bin": None}, {"images.bin": []}, {"images.bin": {}}, {"images.bin": {"bytes": 1000}},
        {"images.bin": {"bytes": -1, "sha256": "0" * 64}}, {"images.bin": {"bytes": 1000, "sha256": "0"}},
        {"images.bin": {"bytes": "many", "sha256": "0" * 64}},
    ],
)  # fmt: skip
def test_files_that_are_none_are_damage(files: Any) -> None:
    folder = make(a_job())
    change(folder, files=files)
    is_damage(folder, "artifact.json cannot be read .*files")


@pytest.mark.parametrize(
    "name", ["../images.bin", "a/../../b", "/etc/passwd", "artifact.json", "", ".", "./a", "a\x00b"]
)
def test_names_that_leave_the_folder_are_damage(name: str) -> None:
    folder = make(a_job())
    stated = json.loads((folder / "artifact.json").read_text())["files"]["images.bin"]
    change(folder, files={name: stated})
    is_damage(folder, "is no name of a file in its folder")


@pytest.mark.parametrize(
    "fields",
    [
        {"settings": {"dataset": {"name": "digits_scenes"}}}, {"version": 2}, {"trial": 0}, {"inputs": {"a": "b-0"}},
        {"kind": "generate_pretext_labels"}, {"kind": "no_stage"}, {"key": "00000000"}, {"name": "other-00000000"},
        {"version": None}, {"settings": []}, {"inputs": None},
    ],
)  # fmt: skip
def test_a_key_that_is_not_that_of_its_settings_is_damage(fields: dict[str, Any]) -> None:
    folder = make(a_job())
    change(folder, **fields)
    is_damage(folder, "artifact.json cannot be read")


def test_another_artifact_in_the_place_of_one_is_damage() -> None:
    folder, other = make(a_job()), make(a_job("digits_scenes"))
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    is_damage(folder, f"artifact.json is that of another artifact, datasets/{other.name}")
    assert artifacts.verify(other)


def test_the_copy_of_another_manifest_restores_nothing() -> None:
    job, other = a_job(), a_job("digits_scenes")
    folder = make(job)
    make(other)
    (folder / "artifact.json").unlink()
    shutil.copy(artifacts.resume_folder(other) / "artifact.json", artifacts.resume_folder(job) / "artifact.json")
    assert not artifacts.restore(job)  # though the files are equal


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_a_precision_that_was_asked_for_is_in_the_key(precision: str) -> None:
    settings = {"rate": 1e-05, "epochs": 10**17, "small": 5e-324, "words": "é\u2028"}
    job = a_job(
        stage="pretrain_source", settings=settings, trial=3, inputs={"dataset": "artifacts/datasets/d-01234567"}
    )
    job = job.model_copy(update={"run": job.run.model_copy(update={"precision": precision})})
    assert job.key == key_of("pretrain_source", 1, 3, settings, job.inputs, precision)
    assert artifacts.verify(make(job)).settings == settings


def test_what_else_lies_in_the_folder_is_no_part_of_it() -> None:
    folder = make(a_job())
    (folder / ".DS_Store").write_text("")
    change(folder, seconds="long", invented=None)
    assert set(artifacts.verify(folder, whole=True).files) == {"images.bin"}


def test_all_that_is_damaged_is_told_at_once() -> None:
    folders = [make(a_job(name)) for name in ("digits_m", "digits_scenes", "cifar10")]
    for folder in folders[:2]:
        (folder / "images.bin").write_text("")
    with pytest.raises(ArtifactError) as caught:
        artifacts.verify_all(map(str, folders))
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(folder) for folder in folders[:2]]
    assert folders[2].exists()
    assert not folders[0].exists()
    assert not folders[1].exists()
