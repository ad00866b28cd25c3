"""What the plan asks of every task. Torch-free, as all pages of this folder: read while a plan is made."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from tessera.data.labels import Kind
from tessera.figures import Figure
from tessera.parts import PartOf
from tessera.registry import Options, label


class Views(NamedTuple):
    """How views of whole images are drawn for training.

    Attributes:
        flip: Whether half of them are mirrored.
        scales: Of which one is drawn for each, at least 1: so many times it is enlarged.
        crop: Height and width of a window that is drawn out of the image, px; None: as large as the image.
        framed: Whether the window moves within a frame of an eighth, or is smaller than the image where presets say
            so: of views whose pixels have no labels.
    """

    flip: bool = True
    scales: tuple[float, ...] = ()
    crop: tuple[int, int] | None = None
    framed: bool = True


class TaskOptions(Options):
    """What the plan asks of every task.

    Attributes:
        short: Abbreviation in folder names; of a user's own task it may be left out, for `registry.label`.
        label_fields: Options that determine what `generate_pretext_labels` makes; empty: nothing is made beforehand.
        labels_from_images: True where that is made from the source's images, False where from the options alone.
        reads: Kind of the dataset's labels that it learns; None where it makes its own.
        plain_view: True where it is shown a random view of the image itself (`Task.batch_of`), so that one batch of
            views, and one pass of the encoder, serves all such tasks.
        figures: What protocol `tasks` reports of it, first the one that tells most; of tasks that learn labels.
        needs_color: True where what is predicted are colours, so that gray images teach nothing.
        any_shape: True where the sides of images may differ.
    """

    short: ClassVar[str]
    label_fields: ClassVar[tuple[str, ...]] = ()
    labels_from_images: ClassVar[bool] = False
    reads: ClassVar[Kind | None] = None
    plain_view: ClassVar[bool] = False
    figures: ClassVar[tuple[Figure, ...]] = ()
    needs_color: ClassVar[bool] = False
    any_shape: ClassVar[bool] = False

    @property
    def key(self) -> str:
        """What it is called among the tasks of a source: in history, tables and files."""
        return label(self.name)

    @property
    def column(self) -> str | None:
        """Name of the dataset's label column that it learns; None where it makes its own labels."""
        return None

    @property
    def drawn_by(self) -> str:
        """The word that seeds its draws: its whole name, so that what it is called in tables changes no result."""
        return self.name

    @property
    def word(self) -> str:
        """What folder names call it."""
        return str(getattr(self, "short", label(self.name)))

    @property
    def views(self) -> Views | None:
        """How views of images are drawn, where it depends on that; None: it takes what others that share them want."""
        return None

    def clashes(self, whole: Any) -> Iterator[str]:
        height, width = whole.dataset.shape()
        if height != width and not self.any_shape:
            yield (
                f"{self.name} needs square images, but those of dataset `{whole.dataset.name}` have {height} x {width} "
                "px: prepare square ones, or choose tasks that learn labels"
            )
            return
        pixels = whole.dataset.pixels()
        try:
            self.check_image_size(pixels)
        except ValueError as error:
            yield str(error)
            return
        shown, least = self.shown_px(pixels), whole.encoder.smallest_px
        if shown < least:
            yield (
                f"{self.name} shows encoder `{whole.encoder.name}` {shown} px, but it needs {least} px or more: raise "
                "the task's sizes, or choose another encoder"
            )

    def check_image_size(self, image_size: int) -> None:
        """Raises ValueError where images of this size (px) are too small, or no preset fits them."""

    def shown_px(self, image_size: int) -> int:
        """Height and width of what the encoder is shown of images of this size, px."""
        return view_px(image_size)

    def label_settings(self, image_size: int) -> dict[str, Any] | None:
        """What determines the artifact of `generate_pretext_labels`, or None where the task needs none."""
        if not self.label_fields:
            return None
        return self.at(image_size).model_dump(mode="json", include={"name", *self.label_fields})

    def at(self, image_size: int) -> Self:
        """These options with every null filled from the preset of the image size."""
        nulls = [key for key in type(self).model_fields if getattr(self, key) is None]
        if not nulls:
            return self
        preset = self.preset(image_size)
        return self.model_copy(update={key: preset[key] for key in nulls if key in preset})

    def preset(self, image_size: int) -> dict[str, Any]:
        """Values of the options that are null, for images of this size; asked only where some are.

        Raises:
            ValueError: If there is none for this size.
        """
        return {}


# What the paper's networks see of a 256 px image; other images are seen whole.
VIEWS = {256: 224}
LARGE_PX = 224  # from this size on, heads are as wide as in the papers


def view_px(image_size: int) -> int:
    """Height and width of the view of an image that whole-image tasks see, px."""
    return VIEWS.get(image_size, image_size)


def preset_of(table: dict[int, Any], image_size: int, what: str) -> Any:
    if image_size not in table:
        sizes = ", ".join(str(size) for size in sorted(table))
        raise ValueError(f"{what} has presets for images of {sizes} px, but these have {image_size} px")
    return table[image_size]


TaskPart = Annotated[TaskOptions, PartOf("task")]
