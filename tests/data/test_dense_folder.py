"""Trees and archives of images with maps beside them, and every way in which they are unfit."""

import io
import logging
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from tessera.data.columns import NO_CLASS
from tessera.data.datasets.base import RawDataset
from tessera.data.datasets.dense import DenseFolder
from tessera.data.datasets.options.dense import DenseFolderOptions
from tessera.data.prepare import prepare_dataset
from tessera.data.store import load_dataset
from tessera.errors import DataError

HEIGHT, WIDTH = 8, 12
SIZE = {"height": HEIGHT, "width": WIDTH}
CLASSES = {"kind": "class_map", "classes": ["floor", "wall", "box"]}
DEPTH = {"kind": "depth_map", "unit": 0.001}
NORMALS = {"kind": "normal_map"}
MAPS = {"segmentation": CLASSES, "depth": DEPTH, "normals": NORMALS}
NAMES = {"train": ("b", "a", "c"), "test": ("d", "e")}

Files = dict[str, bytes]


def png(array: np.ndarray) -> bytes:
    kept = io.BytesIO()
    Image.fromarray(array).save(kept, "PNG")
    return kept.getvalue()


def npy(array: np.ndarray) -> bytes:
    kept = io.BytesIO()
    np.save(kept, array)
    return kept.getvalue()


def sample(seed: int, height: int = HEIGHT, width: int = WIDTH) -> dict[str, np.ndarray]:
    """An image and its maps, as they are stored."""
    random = np.random.default_rng(seed)
    label = random.integers(3, size=(height, width), dtype=np.uint8)
    label[0, 0] = 255
    depth = random.integers(500, 9000, (height, width)).astype(np.uint16)
    depth[1, :3] = 0
    vectors = random.standard_normal((height, width, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    normal = np.rint(127 * vectors + 128).astype(np.uint8)
    normal[2, 2] = 0
    return {
        "image": random.integers(256, size=(height, width, 3), dtype=np.uint8),
        "label": label,
        "depth": depth,
        "normal": normal,
    }


def pictures(root: str = "") -> Files:
    """A whole tree: path to bytes."""
    return {
        f"{root}{split}/{folder}/{name}.png": png(array)
        for split, names in NAMES.items()
        for name in names
        for folder, array in sample(ord(name)).items()
    }


def write(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def options(path: str = "tree", **changes: Any) -> DenseFolderOptions:
    return DenseFolderOptions.model_validate({"path": path, "image_size": SIZE, "maps": MAPS, **changes})


def read(root: Path, path: str = "tree", **changes: Any) -> RawDataset:
    return DenseFolder(options(path, **changes)).read(root)


def refusal(root: Path, files: Files, **changes: Any) -> str:
    write(root / "tree", files)
    with pytest.raises(DataError) as error:
        read(root, **changes)
    line = str(error.value)
    assert "\n" not in line
    return line.removeprefix(f"{root}/")


def test_images_and_maps_of_a_tree(tmp_path: Path) -> None:
    write(tmp_path / "tree", {**pictures(), "readme.txt": b"", "train/image/.hidden.png": b"", "val/image/x.png": b""})
    raw = read(tmp_path)
    assert {split: rows.tolist() for split, rows in raw.splits.items()} == {"train": [0, 1, 2], "test": [3, 4]}
    assert (raw.classes, raw.labels.tolist(), raw.skipped) == ([], [-1] * 5, ())
    assert {name: column.kind for name, column in raw.columns.items()} == options().label_columns()
    assert raw.columns["segmentation"].classes == CLASSES["classes"]
    for row, name in enumerate("abcde"):
        of = sample(ord(name))
        assert np.array_equal(raw.images[row], of["image"])
        assert np.array_equal(raw.columns["segmentation"].labels[row], of["label"])
        assert np.array_equal(raw.columns["depth"].labels[row], (of["depth"] / 1000).astype(np.float16))
        for y in range(HEIGHT):  # by hand, a pixel at a time
            for x in range(WIDTH):
                stored = of["normal"][y, x].astype(float)
                wanted = np.zeros(3) if (stored == 0).all() else (stored - 128) / np.linalg.norm(stored - 128)
                assert raw.columns["normals"].labels[row, y, x] == pytest.approx(wanted, abs=1e-3)


def archived(root: Path, files: Files) -> str:
    with tarfile.open(root / "tree.tar.xz", "w:xz") as archive:
        for name, data in reversed(files.items()):  # maps come before their images
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return "tree.tar.xz"


def swapped(files: Files) -> Files:
    """`image/train/a.png` for `train/image/a.png`."""
    return {"/".join((name.split("/")[1], name.split("/")[0], name.split("/")[2])): of for name, of in files.items()}


@pytest.mark.parametrize("form", ["archive", "deep", "swapped"])
def test_other_forms_of_a_tree_are_the_same_dataset(tmp_path: Path, form: str) -> None:
    wanted = read(write(tmp_path / "tree", pictures()).parent)
    other = tmp_path / "other"
    other.mkdir()
    if form == "archive":
        found = read(other, archived(other, pictures("some/where/")))
    else:
        write(other / "tree", pictures("some/where/") if form == "deep" else swapped(pictures()))
        found = read(other)
    assert np.array_equal(wanted.images, found.images)
    for name, column in wanted.columns.items():
        assert np.array_equal(column.labels, found.columns[name].labels)


def test_arrays_are_read_as_pictures_are(tmp_path: Path) -> None:
    files: Files = {}
    for split, names in NAMES.items():
        for name in names:
            of = sample(ord(name))
            metres = of["depth"].astype(np.float32)[..., None] / 1000
            metres[0, 1] = np.nan
            label = np.where(of["label"] == 255, -1, of["label"]).astype(np.float32)
            vectors = np.where((of["normal"] == 0).all(-1, keepdims=True), 0, (of["normal"].astype(float) - 128) / 50)
            for folder, array in {
                "image": of["image"].astype(np.float64) / 255,
                "label": label,
                "depth": metres,
                "normal": vectors.transpose(2, 0, 1),  # channels may come first
            }.items():
                files[f"{split}/{folder}/{name}.npy"] = npy(array)
    write(tmp_path / "arrays", files)
    write(tmp_path / "tree", pictures())
    found, wanted = read(tmp_path, "arrays", maps={**MAPS, "depth": {"kind": "depth_map"}}), read(tmp_path)
    assert np.array_equal(found.images, wanted.images)
    assert np.array_equal(found.columns["segmentation"].labels, wanted.columns["segmentation"].labels)
    known = np.ones((HEIGHT, WIDTH), dtype=bool)
    known[0, 1] = False  # no number is no depth
    assert (found.columns["depth"].labels[:, ~known] == 0).all()
    assert np.array_equal(found.columns["depth"].labels[:, known], wanted.columns["depth"].labels[:, known])
    assert np.allclose(found.columns["normals"].labels, wanted.columns["normals"].labels, atol=1e-3)


def test_normals_of_signed_bytes_have_their_centre_at_0(tmp_path: Path) -> None:
    def as_signed(split: str, name: str) -> bytes:
        stored = sample(ord(name))["normal"]
        return npy(np.where((stored == 0).all(-1, keepdims=True), 0, stored.astype(int) - 128).astype(np.int8))

    write(tmp_path / "tree", pictures())
    files = {f"{split}/normal/{name}.npy": as_signed(split, name) for split, of in NAMES.items() for name in of}
    write(tmp_path / "signed", files | {name: data for name, data in pictures().items() if "/image/" in name})
    found, wanted = (read(tmp_path, path, maps={"normals": NORMALS}) for path in ("signed", "tree"))
    assert np.array_equal(found.columns["normals"].labels, wanted.columns["normals"].labels)


def test_maps_are_resized_by_the_nearest_pixel_of_the_window_of_their_image(tmp_path: Path) -> None:
    """An image whose colours are its labels stays so, but for what bilinear interpolation mixes at the edges."""
    height, width = 30, 64
    rows, columns = np.mgrid[:height, :width]
    label = (columns // 8 % 3).astype(np.uint8)
    label[rows >= 15] = (label[rows >= 15] + 1) % 3
    files: Files = {}
    for split in NAMES:
        files |= {f"{split}/image/a.png": png(np.repeat(label[..., None] * 80, 3, axis=2)),
                  f"{split}/label/a.png": png(label),
                  f"{split}/disparity/a.png": png(np.full((height, width), 40, dtype=np.uint8))}  # fmt: skip
    write(tmp_path / "tree", files)
    raw = read(tmp_path, maps={"segmentation": CLASSES, "disparity": {"kind": "disparity_map", "unit": 0.5}})
    shown = raw.images[0, :, :, 0]
    for row in range(HEIGHT):
        for column in range(WIDTH):
            # 45 of 64 columns are cut out: 12 x 8 are proportions of 45 x 30.
            y, x = int((row + 0.5) * 30 / HEIGHT), int((64 - 45) / 2 + (column + 0.5) * 45 / WIDTH)
            assert raw.columns["segmentation"].labels[0, row, column] == label[y, x]
    alike = np.abs(shown.astype(int) - 80 * raw.columns["segmentation"].labels[0].astype(int)) < 20
    assert alike.mean() > 0.6
    assert np.allclose(raw.columns["disparity"].labels, 40 * 0.5 * WIDTH / 45, rtol=1e-3)
    # Distances do not become smaller with the image, whatever is cut out.
    same = {"kind": "disparity_map", "pixels": False}
    assert (read(tmp_path, maps={"disparity": same}).columns["disparity"].labels == 40).all()


def test_classes_by_a_file_a_number_and_values_that_mean_none(tmp_path: Path) -> None:
    label = np.tile(np.arange(4, dtype=np.uint8), (HEIGHT, WIDTH // 4))
    files: Files = {"classes.txt": "\ufeffnothing\nfloor \nwall\nbox\n\n".encode()}
    for split in NAMES:
        files |= {f"{split}/image/a.png": png(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)),
                  f"{split}/label/a.png": png(label)}  # fmt: skip
    write(tmp_path / "tree", files)

    def found(**of: Any) -> tuple[list[str], list[int]]:
        column = read(tmp_path, maps={"segmentation": {"kind": "class_map", **of}}).columns["segmentation"]
        return column.classes, column.labels[0, 0, :4].tolist()

    names = ["floor", "wall", "box"]
    assert found(classes="classes.txt", ignore=[0]) == (names, [NO_CLASS, 0, 1, 2])
    assert found(classes=names, first=1, ignore=[0]) == (names, [NO_CLASS, 0, 1, 2])
    assert found(classes=4) == (["0", "1", "2", "3"], [0, 1, 2, 3])
    assert found(classes=4, ignore=[1]) == (["0", "2", "3"], [0, NO_CLASS, 1, 2])


def test_splits_and_numbers_of_images(tmp_path: Path) -> None:
    write(tmp_path / "tree", pictures())
    few = read(tmp_path, num_train=2, num_test=1)
    assert [image.tobytes() for image in few.images] == [sample(ord(name))["image"].tobytes() for name in "acd"]
    parted = read(tmp_path, test=None, test_fraction=0.3)
    assert {split: len(rows) for split, rows in parted.splits.items()} == {"train": 2, "test": 1}
    flat = tmp_path / "flat"
    trained = {name: of for name, of in pictures().items() if name.startswith("train/")}
    write(flat / "tree", {name.removeprefix("train/"): of for name, of in trained.items()})
    whole = read(flat, train=None, test=None, test_fraction=0.4)
    assert {split: len(rows) for split, rows in whole.splits.items()} == {"train": 2, "test": 1}


def test_a_map_that_may_be_absent_has_no_labels(tmp_path: Path) -> None:
    files = pictures()
    del files["train/label/b.png"]
    write(tmp_path / "tree", files)
    raw = read(tmp_path, maps={**MAPS, "segmentation": {**CLASSES, "absent": "none"}})
    known = (raw.columns["segmentation"].labels != NO_CLASS).any(axis=(1, 2))
    assert known.tolist() == [True, False, True, True, True]


def test_it_is_prepared_and_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "tree", {**pictures(), "train/depth/z.png": b"", "train/label/y.png": b""})
    kept = tmp_path / "kept"
    kept.mkdir()
    with caplog.at_level(logging.INFO):
        figures = prepare_dataset(options(), tmp_path, kept)
    assert (figures["num_train"], figures["num_test"], figures["num_classes"]) == (3, 2, 0)
    assert (figures["image_size"], figures["num_skipped"]) == (8, 2)
    assert all(any(f"tree/train/{name}: no image" in line for line in caplog.messages) for name in
               ("depth/z.png", "label/y.png"))  # fmt: skip
    depths = np.stack([sample(ord(name))["depth"] for name in NAMES["train"]])
    low, high = (float(np.float16(depth / 1000)) for depth in (depths[depths > 0].min(), depths.max()))
    share = 100 * (depths > 0).mean()
    line = f"tree: depth: {share:.1f} % of the training images' pixels have a label, from {low:.3g} to {high:.3g} m"
    assert line in caplog.messages
    share = 100 * (1 - 1 / (HEIGHT * WIDTH))
    assert f"tree: normals: {share:.1f} % of the training images' pixels have a label" in caplog.messages
    assert not any("no pixel" in line for line in caplog.messages)
    dataset = load_dataset(kept, torch.device("cpu"))
    assert dataset.shape == options().shape() == (HEIGHT, WIDTH)
    assert {name: of.kind for name, of in dataset.columns.items()} == options().label_columns()
    assert dataset.columns["segmentation"].classes == tuple(CLASSES["classes"])
    assert dataset.test.columns["normals"].shape == (2, 3, HEIGHT, WIDTH)


A, B = (sample(ord(name)) for name in "ab")
HALVED = (A["normal"] - 128.0) / np.linalg.norm(A["normal"] - 128.0, axis=-1, keepdims=True)
Change = Callable[[Files], Any]


def put(name: str, array: np.ndarray) -> Change:
    return lambda files: files.update({name: npy(array) if name.endswith(".npy") else png(array)})


def all_of(folder: str) -> Change:
    return lambda files: [files.pop(name) for name in list(files) if folder in name]


def instead(name: str, array: np.ndarray) -> Change:
    """An array where the picture was."""
    return lambda files: (files.pop(name), files.update({name.replace(".png", ".npy"): npy(array)}))


def renamed(files: Files) -> None:
    for name in [name for name in files if "/label/" in name]:
        files[name.replace(".png", "_mask.png")] = files.pop(name)


def turned(files: Files) -> None:
    kept, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(B["image"]).save(kept, "PNG", exif=exif)
    files["train/image/b.png"] = kept.getvalue()


def as_jpeg(files: Files) -> None:
    kept = io.BytesIO()
    Image.fromarray(B["label"]).save(kept, "JPEG")
    files["train/label/b.png"] = kept.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("train/depth/b.png"), "tree: `train/image/b.png` has no map of `depth`: there is none of its"),
        (all_of("test/label"), "tree: no maps of `segmentation` for split `test`, in `test/label` or `label/test`. Fo"),
        (all_of("test/label"), ". Add them, correct `maps.segmentation.folder`, or leave the column out."),
        (all_of("test/"), "tree: no images of split `test`, in `test/image` or `image/test`. Found folders train/dept"),
        (all_of("test/"), "train/normal. Correct `test`, or set it to null, so that some images are split off."),
        (all_of("image"), "Correct `images` or `train`, or set `train` and `test` to null where no folders divide"),
        (lambda f: f.pop("train/depth/b.png"), "remove the image, set `maps.depth.absent` to none, or leave"),
        (renamed, "`train/image/a.png` has no map of `segmentation` (3 such images): there is none of its name, in "),
        (renamed, "and `train/label/a_mask.png` is of no image. Rename the maps as their images, "),
        (put("train/image/a.npy", A["image"]), "`train/image/a.npy` and `train/image/a.png` are of one name"),
        (put("train/label/a.png", A["label"][:, :6]), "tree/train/label/a.png: is 6 x 8 px, but its image, `"),
        (put("test/depth/d.png", A["depth"][::2, ::2]), "tree/test/depth/d.png: is 6 x 4 px, but its image, `"),
        (put("train/normal/a.png", A["normal"][1:]), "tree/train/normal/a.png: is 12 x 7 px, but its image, `"),
        (put("train/label/b.png", A["label"] * 0 + 3), "tree/train/label/b.png: class 3, but there are 3, of values 0"),
        (put("train/label/b.png", A["image"]), "tree/train/label/b.png: holds colours, and not one value of each"),
        (instead("train/label/b.png", A["label"] + 0.5), "b.npy: value 255.5, which is no class. Store whole"),
        (instead("train/depth/b.png", np.full((8, 12), 1e9)), "b.npy: a value of 1e+06, and 65504 is the most"),
        (instead("train/normal/b.png", A["label"]), "b.npy: an array of shape (8, 12). Store three channels"),
        (instead("train/normal/b.png", (HALVED + 1) / 2), "b.npy: normals without a coordinate below 0, as if stored"),
        (instead("train/label/b.png", np.eye(4)[A["label"] % 4]), "b.npy: holds an array of shape (8, 12, 4), and not"),
        (turned, "tree/train/image/b.png: its EXIF orientation turns or mirrors it, and nothing says whether its maps"),
        (as_jpeg, "tree/train/label/b.png: classes as JPEG, which changes them. Store them as PNG"),
        (instead("train/image/b.png", A["image"] * 1.0), "b.npy: floats of an image must be 0 to 1. Divide"),
        (instead("train/image/b.png", A["image"].astype(np.int64)), "b.npy: an image as int64. Store it as uint8"),
        (instead("train/depth/b.png", np.array([{}] * 96).reshape(8, 12)), "b.npy: cannot be decoded (Object arrays"),
        (lambda f: f.update({"train/label/b.png": f["train/label/b.png"][:60]}), "b.png: cannot be decoded ("),
        (lambda f: f.update({"train/label/b.png": b""}), "b.png: cannot be decoded (empty file). Remove or replace it"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_a_line(tmp_path: Path, change: Change, message: str) -> None:
    files = pictures()
    change(files)
    assert message in refusal(tmp_path, files)


def test_a_depth_of_nothing_is_refused_with_its_column(tmp_path: Path) -> None:
    empty = png(np.zeros((HEIGHT, WIDTH), dtype=np.uint16))
    write(tmp_path / "tree", {**pictures(), **{f"train/depth/{name}.png": empty for name in "abc"}})
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(DataError, match="label column `depth`: no pixel of any training image has a label"):
        prepare_dataset(options(), tmp_path, kept)


def test_what_a_test_split_or_a_class_lacks_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = png(np.zeros((HEIGHT, WIDTH), dtype=np.uint16))
    write(tmp_path / "tree", {**pictures(), **{f"test/depth/{name}.png": empty for name in NAMES["test"]}})
    (kept := tmp_path / "kept").mkdir()
    more = {**CLASSES, "classes": [*CLASSES["classes"], *"abcdefg"]}
    with caplog.at_level(logging.INFO):
        prepare_dataset(options(maps={**MAPS, "segmentation": more}), tmp_path, kept)
    assert "tree: depth: no pixel of any test image has a label: nothing can be measured by it" in caplog.messages
    assert any(line.endswith("have a label; none of a, b, c, d, e and 2 more") for line in caplog.messages)


def test_folders_are_named_as_deep_as_all_can_be(tmp_path: Path) -> None:
    deep = {f"{folder}/{split}/{room}/1.png": b"" for folder in "abcd" for split in ("t", "v") for room in "123"}
    assert "Found folders a/t, a/v, b/t, b/v, c/t, c/v, d/t, d/v. Correct" in refusal(tmp_path, deep)


def test_other_refusals(tmp_path: Path) -> None:
    files = pictures()
    assert "split `train` has 3 images, but `num_train` is 4: lower it" in refusal(tmp_path, files, num_train=4)
    named = {**CLASSES, "classes": "names.txt"}
    assert "no file `names.txt` in the data. Name the classes in a list" in refusal(tmp_path, {}, maps={"s": named})
    gap = {"names.txt": b"floor\n\nwall\nbox"}
    assert "`names.txt` should have a name in each line, of 1 to 255: line 2 is empty" in refusal(
        tmp_path, gap, maps={"s": named}
    )


def test_a_tree_that_lacks_something_is_told_while_the_plan_is_made(tmp_path: Path) -> None:
    files = pictures()
    write(tmp_path / "tree", files)
    assert options().missing(tmp_path) is None
    (tmp_path / "tree/train/normal/c.png").unlink()
    line = options().missing(tmp_path) or ""
    assert line.startswith("dataset `dense_folder`: ")
    assert "`train/image/c.png` has no map of `normals`" in line
    (tmp_path / "tree.tar.xz").write_bytes(b"no archive")
    assert "damaged" in (options("tree.tar.xz").missing(tmp_path) or "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maps": {}}, "at least 1 item"),
        ({"maps": {"class": DEPTH}}, "`class` is what whole images may have"),
        ({"maps": {"a": DEPTH, "b": DEPTH}}, "`a` and `b` are both read from folder `depth`: set `maps.b.folder`"),
        ({"maps": {"a": {"kind": "depth"}}}, "should have a `kind` of class_map, depth_map, .*, but is `depth`"),
        ({"maps": {"a": {"kind": ["depth_map"]}}}, "should have a `kind` of class_map"),
        ({"maps": {"a": 3}}, "should have a `kind` of class_map"),
        ({"maps": {"a": {**CLASSES, "classes": 0}}}, "classes: there can be 1 to 255, but are 0"),
        ({"maps": {"a": {**CLASSES, "classes": []}}}, "classes: there can be 1 to 255, but are 0"),
        ({"maps": {"a": {**CLASSES, "classes": ["x", "x"]}}}, "classes names `x` twice"),
        ({"maps": {"a": {**CLASSES, "classes": 2, "ignore": [0, 1]}}}, "ignore: holds the value of every class"),
        ({"maps": {"a": {"kind": "class_map"}}}, "Field required"),
        ({"maps": {"a": {**NORMALS, "unit": 2}}}, "unknown key `unit`. Known: absent, center, folder, kind, negate"),
        ({"train": None}, "train is null, but test is `test`"),
        ({"train": "a", "test": "a"}, "train and test are both `a`"),
        ({"image_size": {"height": 4, "width": 8}}, "greater than or equal to 8"),
        ({"image_size": 8}, "should give both sides, as in `{height: 288, width: 384}`"),
    ],
)
def test_senseless_options_are_refused(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**changes)


def real(archive: str) -> Path:
    root = Path(os.environ.get("TESSERA_DATA", "."))
    if not (root / archive).exists():
        pytest.skip(f"TESSERA_DATA names no folder with {archive}")
    return root


def test_camvid() -> None:
    maps = {"segmentation": {"kind": "class_map", "classes": "classes.txt", "ignore": [11]}}
    raw = read(real("camvid.tar.xz"), "camvid.tar.xz", image_size={"height": 45, "width": 60}, maps=maps)
    assert {split: len(rows) for split, rows in raw.splits.items()} == {"train": 367, "test": 233}
    column = raw.columns["segmentation"]
    assert (len(column.classes), column.classes[0], column.classes[10]) == (11, "sky", "bicyclist")
    train = column.labels[raw.splits["train"]]
    shares = np.bincount(train.ravel(), minlength=256) / train.size
    assert [shares[column.classes.index(name)] for name in ("road", "building", "sky", "tree", "car")] == pytest.approx(
        [0.32, 0.23, 0.17, 0.10, 0.06], abs=0.01
    )
    assert shares[NO_CLASS] == pytest.approx(0.04, abs=0.01)


@pytest.mark.slow
def test_sevenscenes() -> None:
    maps = {"depth": DEPTH, "normals": NORMALS}
    raw = read(real("sevenscenes.tar.xz"), "sevenscenes.tar.xz", image_size={"height": 120, "width": 160}, maps=maps)
    assert {split: len(rows) for split, rows in raw.splits.items()} == {"train": 175, "test": 37}
    depth, normals = raw.columns["depth"].labels, raw.columns["normals"].labels
    assert (depth == 0).mean() == pytest.approx(0.11, abs=0.01)
    assert 0.5 < depth[depth > 0].min() < depth.max() < 4
    assert (normals == 0).all(axis=-1).mean() == pytest.approx(0.24, abs=0.01)
    assert normals[..., 2].max() <= 0  # towards the camera
