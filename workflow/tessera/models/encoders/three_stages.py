"""What residual networks for small images have in common: three stages of as many blocks each."""

from collections.abc import Sequence

from tessera.models.encoders.base import StagedEncoder

STAGES = ("stage1", "stage2", "stage3")


class ThreeStages(StagedEncoder):
    """A stem and three stages of `num_blocks` blocks; the second stage and the third one halve the map.

    A stage's inner maps are `first`, of its first block's first convolution, and `unit1`, … of its blocks but the last.

    Attributes:
        num_blocks: Of each stage.
    """

    num_blocks: int

    def name_layers(self, stem: int, widths: tuple[int, int, int], last: tuple[str, ...]) -> None:
        """Says which maps there are.

        Args:
            stem: The stem's channels.
            widths: The stages'.
            last: Names of the stem's convolution and of the last one of each stage.
        """
        by_stage = dict(zip(STAGES, widths, strict=True))
        self.layer_channels = {"stem": stem, **by_stage}
        inner = ("first", *(f"unit{unit}" for unit in range(1, self.num_blocks)))
        self.inner_channels = {f"{stage}.{name}": width for stage, width in by_stage.items() for name in inner}
        # These networks pool once, at the very end, and halve the map by strides: the convolutions before a pooling
        # layer are read as those before each change of resolution, which are the stages' last (methods as of Kim et al.
        # 2019).
        self.fusion_convolutions = {"conv_before_pool": last, "stage_last": last}

    @property
    def unit_layers(self) -> tuple[str, ...]:
        return (*(f"stage3.unit{unit}" for unit in range(1, self.num_blocks)), "stage3")

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # Yim et al. take the first and the last layer of each group of equal size. The first layer is the first
        # block's first convolution, so that a stage of one block has two different layers too.
        return {
            "across_stage": (("stem", "stage1"), ("stage1", "stage2"), ("stage2", "stage3")),
            "within_stage": tuple((f"{stage}.first", stage) for stage in STAGES),
        }
