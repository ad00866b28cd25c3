"""What can be set of datasets that must be asked for."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from tessera.data.datasets.options.base import DatasetOptions


class LicensedOptions(DatasetOptions):
    """A dataset that must be asked for, put by hand into a folder under `data_root`, and kept in packed shards."""

    site: ClassVar[str]
    layout: ClassVar[str]

    path: str = Field(description="Folder under `data_root`.", min_length=1)
    image_size: int = Field(
        256, ge=32, le=512, description="Images are decoded to it: shorter side resized, middle cut out, px."
    )
    damaged: Literal["refuse", "skip"] = Field(
        "refuse", description="Of a file that cannot be decoded: end, or pass it over (1 % at most)."
    )

    def pixels(self) -> int:
        return self.image_size

    def packs(self) -> bool:
        return True

    def location(self) -> str | None:
        return self.path

    def missing(self, data_root: Path) -> str | None:
        if (data_root / self.path).is_dir():
            return None
        return (
            f"dataset `{self.name}`: no folder `{self.path}` under data_root `{data_root}`. The data are licensed: get "
            f"them from {self.site}, and put them into {data_root / self.path} as {self.layout}. "
            "(`data_root` is set in config/config.yaml, or by the variable TESSERA_DATA.)"
        )


class ImagenetOptions(LicensedOptions):
    """ILSVRC2012: 1,281,167 training and 50,000 validation images of 1,000 classes; the latter are the test split."""

    site: ClassVar[str] = "https://image-net.org/download-images (ILSVRC2012)"
    layout: ClassVar[str] = (
        "`train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`, with `meta.bin` or `ILSVRC2012_devkit_t12.tar.gz` beside them "
        "if you have it"
    )

    name: Literal["imagenet"] = "imagenet"
    path: str = Field("imagenet", description="Folder under `data_root`.", min_length=1)


class Places365Options(LicensedOptions):
    """Places365-Standard: 1,803,460 training images and, as test split, 36,500 validation images of 365 scenes."""

    site: ClassVar[str] = "http://places2.csail.mit.edu/download.html (Places365-Standard)"
    layout: ClassVar[str] = (
        "`categories_places365.txt`, `places365_train_standard.txt`, `places365_val.txt` (of the archive "
        "filelist_places365-standard.tar), `data_256_standard/` and `val_256/` (`data_large_standard/` and "
        "`val_large/` with `small: false`)"
    )

    name: Literal["places365"] = "places365"
    path: str = Field("places365", description="Folder under `data_root`.", min_length=1)
    small: bool = Field(True, description="Read the images of 256 x 256 px, not the large ones.")
