"""What holds for every dataset of the table, and what is said before any job starts."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from tessera.data.datasets import PARTS
from tessera.data.datasets.base import DatasetReader
from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.datasets.options.licensed import ImagenetOptions
from tessera.registry import load

NEEDED = {
    "image_folder": {"path": "flowers.tar.xz", "image_size": 48},
    "voc_folder": {"path": "flowers.tar.xz"},
    "dense_folder": {
        "path": "streets.tar.xz",
        "image_size": {"height": 48, "width": 64},
        "maps": {"depth": {"kind": "depth_map"}},
    },
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", sorted(PARTS))


def options(name: str) -> DatasetOptions:
    made = PARTS[name].options.model_validate({"name": name, **NEEDED.get(name, {})})
    assert isinstance(made, DatasetOptions)
    return made


@EVERY
def test_says_what_it_is_before_its_images_are_read(name: str, tmp_path: Path) -> None:
    made = options(name)
    assert made.name == name
    assert 8 <= made.pixels() <= 512
    assert made.word() == made.word().lower()
    assert set(made.word()) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    missing = made.missing(tmp_path)
    assert (missing is None) == (made.location() is None or made.downloads)
    assert missing is None or "\n" not in missing


@EVERY
def test_its_class_takes_its_options(name: str) -> None:
    reader = load("dataset", name)(options(name))
    assert isinstance(reader, DatasetReader)
    assert reader.options == options(name)
    assert "Shape:" in (type(reader).__doc__ or "")


@EVERY
def test_every_option_is_described_and_others_are_refused(name: str) -> None:
    for key, field in PARTS[name].options.model_fields.items():
        assert key == "name" or field.description, key
    with pytest.raises(ValidationError, match="Extra inputs"):
        PARTS[name].options.model_validate({"name": name, **NEEDED.get(name, {}), "colour": "red"})


def test_options_do_not_import_torch() -> None:
    code = "import sys, tessera.data.datasets; sys.exit('torch' in sys.modules)"
    path = Path(__file__).parents[2] / "workflow"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(path)}, check=False).returncode == 0


def test_strict_datasets_refuse_what_is_damaged() -> None:
    for options in (
        ImageFolderOptions(path="x", image_size=8, packed=True, damaged="skip"), ImagenetOptions(damaged="skip"),
    ):  # fmt: skip
        assert options.strict() == options.model_copy(update={"damaged": "refuse"})
    alike = ImageFolderOptions(path="x", image_size=8)
    assert alike.strict() == alike


def test_what_is_missing_and_what_is_like_it(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    make_tree("train/a/1.png", "test/a/1.png", root="cifar10")
    (tmp_path / "flowers.zip").touch()

    def missing(path: str) -> str | None:
        return ImageFolderOptions(path=path, image_size=8).missing(tmp_path)

    assert missing("cifar10") is None
    assert missing("cifar10.tar.xz") == (
        f"dataset `image_folder`: no `cifar10.tar.xz` under data_root `{tmp_path}`. Did you mean `cifar10`?"
    )
    assert "Did you mean `flowers.zip`?" in (missing("flowers") or "")
    assert "Did you mean `flowers.zip`?" in (missing("flower.zip") or "")
    (tmp_path / "cifar10.tar.xz").touch()
    (tmp_path / "cifar10").rename(tmp_path / "elsewhere")
    assert "Did you mean `cifar10.tar.xz`?" in (missing("cifar.tar.xz") or "")
    for unlike in ("xyz", "bccd.tar.xz"):  # the suffix alone is no likeness
        assert "Put it there, or set `data_root` in config/config.yaml or the variable TESSERA_DATA." in (
            missing(unlike) or ""
        )
    nowhere = ImageFolderOptions(path="x", image_size=8).missing(tmp_path / "nowhere")
    assert "no folder" in (nowhere or "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "x", "test": "x"}, "train and test are both `x`"),
        ({"classes": ["a", "b", "a"]}, "classes names `a` twice"),
        ({"classes": []}, "at least 1 item"),
        ({"image_size": 4}, "greater than or equal to 8"),
        ({"sha256": "abc"}, "match pattern"),
        ({"train_fraction": 0}, "greater than 0"),
        ({"damaged": "skip"}, "damaged: skip needs packed: true"),
    ],
)
def test_senseless_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageFolderOptions.model_validate({"path": "x", "image_size": 8, **changes})
