"""What can be set of images whose every pixel is labelled: trees of one's own, NYUv2 and CityScapes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tessera.data.datasets import listing
from tessera.data.datasets.dense_layout import CityscapesLayout, DenseLayout, FolderLayout, OwnLayout
from tessera.data.datasets.options.base import SHOWS_PEOPLE, DatasetOptions, Word, refuse_twice
from tessera.data.labels import MAPS, Kind
from tessera.errors import brief
from tessera.registry import Checked, suggest

Side = Annotated[int, Field(ge=8, le=2048)]
Folder = Annotated[str, Field(min_length=1)]
Stored = Annotated[int, Field(ge=-32_768, le=65_535)]
MOST_CLASSES = 255  # 0 to 254: 255 is a pixel without one
NYUV2_CLASSES = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table", "tv", "wall",
    "window",
)  # fmt: skip


class ImageSize(Checked):
    """Height and width of images."""

    height: Side = Field(description="Height, px.")
    width: Side = Field(description="Width, px.")

    @model_validator(mode="before")
    @classmethod
    def _both(cls, value: Any) -> Any:
        if not isinstance(value, dict | cls):
            raise ValueError("should give both sides, as in `{height: 288, width: 384}`")
        return value


class MapOptions(Checked):
    """What lies beside each image: a file of its name, up to the suffix; a picture, or an array as `.npy`."""

    kind: Kind
    folder: Folder
    absent: Literal["refuse", "none"] = Field(
        "refuse", description="Of an image without this map: end, or take it as one in which no pixel has a label."
    )


class ClassMapOptions(MapOptions):
    """A class of each pixel."""

    kind: Literal["class_map"] = Field(description="What the values are: classes.")
    folder: Folder = Field("label", description="Folder of the maps, beside that of the images.")
    classes: int | Folder | list[Folder] = Field(
        description="Names of the values, from `first` on: a list, a text file of the data with a line each, or how "
        "many there are. A value that `ignore` holds may be named, and is no class all the same.",
    )
    first: Stored = Field(0, description="Value of the first name.")
    ignore: tuple[Stored, ...] = Field((-1, 255), description="Values of pixels that have no class.")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if isinstance(self.classes, str):
            return self
        if isinstance(self.classes, list):
            refuse_twice(self.classes)
        number = self.classes if isinstance(self.classes, int) else len(self.classes)
        if not 1 <= number <= MOST_CLASSES:
            raise ValueError(f"classes: there can be 1 to {MOST_CLASSES}, but are {number}")
        if set(range(self.first, self.first + number)) <= set(self.ignore):
            raise ValueError("ignore: holds the value of every class")
        return self


class DistanceMapOptions(MapOptions):
    """A number of each pixel that is above 0; what is 0, negative or no number is not known."""

    zero: float = Field(0.0, description="Stored value that stands for 0.")
    ignore: tuple[float, ...] = Field((), description="Further stored values that mean: not known.")


class DepthMapOptions(DistanceMapOptions):
    """A distance of each pixel."""

    kind: Literal["depth_map"] = Field(description="What the values are: distances.")
    folder: Folder = Field("depth", description="Folder of the maps, beside that of the images.")
    unit: float = Field(1.0, gt=0, description="Metres of one stored unit: 0.001 of millimetres.")


class DisparityMapOptions(DistanceMapOptions):
    """A disparity, or an inverse distance, of each pixel."""

    kind: Literal["disparity_map"] = Field(description="What the values are: disparities or inverse distances.")
    folder: Folder = Field("disparity", description="Folder of the maps, beside that of the images.")
    unit: float = Field(1.0, gt=0, description="Pixels, or 1/m, of one stored unit.")
    pixels: bool = Field(
        True,
        description="Whether they count pixels of the stored image, and become smaller with it; an inverse distance "
        "does not.",
    )


class NormalMapOptions(MapOptions):
    """The direction in which the surface that each pixel shows looks; of a picture, red is x, green y and blue z."""

    kind: Literal["normal_map"] = Field(description="What the values are: normals.")
    folder: Folder = Field("normal", description="Folder of the maps, beside that of the images.")
    center: float = Field(
        128.0,
        description="Value that stands for 0 in a picture; black is not known. In an array of floats, or with values "
        "below 0, it is 0.",
    )
    negate: tuple[Literal["x", "y", "z"], ...] = Field(
        (),
        description="Axes that point the other way in the files: x should be to the right, y down, z into the scene, "
        "and normals look at the camera.",
    )


class _ByKind:
    """Validates a mapping into the model that its `kind` names, so that a message speaks of that one's keys alone."""

    MODELS: ClassVar[dict[str, type[MapOptions]]] = {
        "class_map": ClassMapOptions,
        "depth_map": DepthMapOptions,
        "disparity_map": DisparityMapOptions,
        "normal_map": NormalMapOptions,
    }

    def parse(self, value: Any) -> Any:
        if isinstance(value, MapOptions):
            return value
        if not isinstance(value, dict) or str(value.get("kind")) not in self.MODELS:
            found = f", but is `{brief(str(value['kind']))}`" if isinstance(value, dict) and "kind" in value else ""
            message = f"should have a `kind` of {', '.join(self.MODELS)}{found}"
            raise PydanticCustomError("part", "{message}", {"message": message})
        model = self.MODELS[value["kind"]]
        if unknown := next((str(key) for key in value if key not in model.model_fields), None):
            message = f"unknown key `{brief(unknown)}`. {suggest(unknown, model.model_fields)}"
            raise PydanticCustomError("part", "{message}", {"message": message})
        return model.model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.parse, handler(source))


Map = Annotated[ClassMapOptions | DepthMapOptions | DisparityMapOptions | NormalMapOptions, _ByKind()]


class DenseOptions(DatasetOptions):
    """Images whose pixels are labelled, of one size and any sides."""

    path: str
    image_size: ImageSize
    num_train: int | None = Field(
        None, ge=1, description="Training images, evenly spaced in the order of names; null: all."
    )
    num_test: int | None = Field(None, ge=1, description="Test images, evenly spaced in the order of names; null: all.")

    def pixels(self) -> int:
        return min(self.shape())

    def shape(self) -> tuple[int, int]:
        return self.image_size.height, self.image_size.width

    def location(self) -> str | None:
        return self.path

    def layout(self, path: Path) -> DenseLayout:
        """Where images and maps lie below a folder or in an archive."""
        raise NotImplementedError

    def unfit(self, path: Path) -> str | None:
        return listing.unfit_dense(path, self.layout(path)) if path.is_dir() else listing.unfit_archive(path)


class DenseFolderOptions(DenseOptions):
    """A tree of images with maps beside them, or an archive of one (.tar, .tar.gz, .tar.xz, .zip), read directly."""

    name: Literal["dense_folder"] = "dense_folder"
    path: str = Field(
        description="Folder or archive under `data_root` that holds, at any depth, `<split>/<folder>/NAME.*` or "
        "`<folder>/<split>/NAME.*`, with a folder of images and one of each map.",
        min_length=1,
    )
    image_size: ImageSize = Field(
        description="Images and maps are resized to it where they have another size, and their middle is cut out where "
        "they have other proportions; maps by the nearest pixel."
    )
    maps: dict[Word, Map] = Field(
        min_length=1,
        description="Label columns, by name, as in `{segmentation: {kind: class_map, classes: 13}, depth: {kind: "
        "depth_map, unit: 0.001}}`. Kinds: `class_map`, `depth_map`, `disparity_map`, `normal_map`.",
    )
    images: Folder = Field("image", description="Folder of the images.")
    train: Folder | None = Field(
        "train", description="Folder of the training split; null: there is none, and `test` is null too."
    )
    test: Folder | None = Field("test", description="Folder of the test split; null: split off `test_fraction`.")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of the images for testing, where it is split off.")
    seed: int = Field(0, ge=0, description="Seed of the split by fraction.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Checksum that an archive must have.")
    shows_people: bool = Field(False, description=SHOWS_PEOPLE)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.train == self.test is not None:
            raise ValueError(f"train and test are both `{self.train}`: set `test: null` to split some images off")
        if self.train is None and self.test is not None:
            raise ValueError(f"train is null, but test is `{self.test}`: name a folder of each split, or set both null")
        if "class" in self.maps:
            raise ValueError("maps: `class` is what whole images may have: choose another name")
        folders = {"images": self.images}
        for name, of in self.maps.items():
            if other := next((known for known, folder in folders.items() if folder == of.folder), None):
                raise ValueError(
                    f"maps: `{other}` and `{name}` are both read from folder `{of.folder}`: set `maps.{name}.folder`"
                )
            folders[name] = of.folder
        return self

    @classmethod
    def kinds(cls) -> set[Kind]:
        return set(MAPS)

    def label_columns(self) -> dict[str, Kind]:
        return {name: self.maps[name].kind for name in sorted(self.maps)}

    def layout(self, path: Path) -> DenseLayout:
        folders = {name: of.folder for name, of in self.maps.items()}
        may_lack = {name for name, of in self.maps.items() if of.absent == "none"}
        return OwnLayout(path, self.train, self.test, self.images, folders, may_lack)

    def has_people(self) -> bool:
        return self.shows_people

    def word(self) -> str:
        return Path(self.path).name.split(".")[0].lower()


class LicensedDenseOptions(DenseOptions):
    """Data that must be asked for or downloaded by hand."""

    SITE: ClassVar[str]
    FORM: ClassVar[str]

    def missing(self, data_root: Path) -> str | None:
        line = super().missing(data_root)
        if line is None or (data_root / self.path).exists():
            return line
        return f"{line} It is not downloaded: get it from {self.SITE}, and put it there as {self.FORM}."


class Nyuv2Options(LicensedDenseOptions):
    """NYUv2: 795 training and 654 test images of rooms with 13 classes, depth and normals, as MTAN's authors share it.

    The same tree is read from pictures (`files: png`).
    """

    SITE: ClassVar[str] = "https://github.com/lorenmt/mtan (NYUv2, pre-processed)"
    FORM: ClassVar[str] = "`{train,val}/{image,label,depth,normal}/<number>.npy`"
    KINDS: ClassVar[dict[str, Kind]] = {"segmentation": "class_map", "depth": "depth_map", "normals": "normal_map"}

    name: Literal["nyuv2"] = "nyuv2"
    path: str = Field("nyuv2", description="Folder under `data_root`, or an archive of it.", min_length=1)
    image_size: ImageSize = Field(
        default_factory=lambda: ImageSize(height=288, width=384), description="Height and width of images and maps, px."
    )
    files: Literal["npy", "png"] = Field(
        "npy",
        description="`npy`: arrays, images and normals of floats, depth in metres, classes from 0 on, and -1 where "
        "there is none; `png`: pictures, depth in millimetres, classes from 1 on, and 0 where there is none.",
    )
    maps: tuple[Literal["segmentation", "depth", "normals"], ...] = Field(
        ("segmentation", "depth", "normals"), min_length=1, description="Label columns that are read."
    )

    def label_columns(self) -> dict[str, Kind]:
        return {name: kind for name, kind in self.KINDS.items() if name in self.maps}

    def columns(self) -> Iterator[tuple[str, MapOptions]]:
        """How each label column is stored."""
        picture = self.files == "png"
        if "segmentation" in self.maps:
            names, none = list(NYUV2_CLASSES), (0,) if picture else (-1,)
            yield "segmentation", ClassMapOptions(kind="class_map", classes=names, first=int(picture), ignore=none)
        if "depth" in self.maps:
            yield "depth", DepthMapOptions(kind="depth_map", unit=0.001 if picture else 1.0)
        if "normals" in self.maps:
            yield "normals", NormalMapOptions(kind="normal_map")

    def layout(self, path: Path) -> DenseLayout:
        return FolderLayout(path, "train", "val", "image", {name: of.folder for name, of in self.columns()}, set())


class CityscapesOptions(LicensedDenseOptions):
    """CityScapes: 2,975 training and, as test split, 500 validation images of streets, from the official tree."""

    SITE: ClassVar[str] = "https://www.cityscapes-dataset.com/downloads"
    FORM: ClassVar[str] = (
        "`{leftImg8bit,gtFine,disparity}/{train,val}/<city>/*.png` (of leftImg8bit_trainvaltest.zip, "
        "gtFine_trainvaltest.zip, disparity_trainvaltest.zip; for `parts`, of gtFinePanopticParts_trainval.zip)"
    )
    KINDS: ClassVar[dict[str, Kind]] = {
        "segmentation": "class_map",
        "parts": "class_map",
        "disparity": "disparity_map",
        "inverse_depth": "disparity_map",
    }

    name: Literal["cityscapes"] = "cityscapes"
    path: str = Field("cityscapes", description="Folder under `data_root`, or an archive of it.", min_length=1)
    image_size: ImageSize = Field(
        default_factory=lambda: ImageSize(height=128, width=256),
        description="Height and width to which images (bilinearly) and maps (by the nearest pixel) are resized, px.",
    )
    classes: Literal[2, 7, 19] = Field(
        19, description="Classes of `segmentation`: 19, their 7 groups, or background and foreground."
    )
    maps: tuple[Literal["segmentation", "parts", "disparity", "inverse_depth"], ...] = Field(
        ("segmentation", "disparity"),
        min_length=1,
        description="Label columns that are read: `segmentation`; `parts` of persons and vehicles (10); `disparity` in "
        "pixels of the prepared images; `inverse_depth` in 1/m.",
    )

    def label_columns(self) -> dict[str, Kind]:
        return {name: kind for name, kind in self.KINDS.items() if name in self.maps}

    def layout(self, path: Path) -> DenseLayout:
        return CityscapesLayout(path, self.maps)
