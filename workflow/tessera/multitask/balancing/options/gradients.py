"""What can be set of balancings that compare gradients."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tessera.multitask.balancing.options.base import Compares, ComparingOptions


class MgdaOptions(ComparingOptions):
    """The shortest convex combination of the tasks' gradients."""

    name: Literal["mgda"] = "mgda"
    normalize: Literal["none", "l2", "loss", "loss+"] = Field(
        "none",
        description="What each gradient is divided by before they are compared: nothing, its length, its task's loss, "
        "or both; without it the shortest gradient gets most of the weight.",
    )


class PcgradOptions(ComparingOptions):
    """Each gradient without its parts that go against another's; the order of the others is drawn."""

    name: Literal["pcgrad"] = "pcgrad"
    combine: Literal["sum", "mean"] = Field(
        "sum", description="What is made of the projected gradients: `mean` takes steps as many times shorter as tasks."
    )


class CagradOptions(ComparingOptions):
    """The gradient that improves the worst task most, within a ball around the mean gradient."""

    name: Literal["cagrad"] = "cagrad"
    c: float = Field(
        0.5, ge=0, le=100, description="The ball's radius over the mean gradient's length; from 1 on nothing is proved."
    )
    rescale: bool = Field(True, description="Divide the gradient by 1 + c^2, as the authors' code does.")


class ImtlOptions(ComparingOptions):
    """A gradient with equal projections on all tasks' gradients, of losses whose scales are learned."""

    name: Literal["imtl"] = "imtl"
    balance: Literal["both", "losses", "gradients"] = Field(
        "both", description="Learn scales of the losses (IMTL-L), weigh gradients (IMTL-G), or both."
    )
    lr_factor: float = Field(1.0, gt=0, le=1000, description="Factor on the learning rate of the losses' scales.")

    @property
    def compares(self) -> Compares:  # type: ignore[override]
        return "nothing" if self.balance == "losses" else "all"

    def clashes(self, whole: Any) -> Iterator[str]:
        yield from super().clashes(whole)
        if self.balance == "losses" and self.compares_map:
            yield "balancing `imtl` compares no gradients (`balance: losses`): leave balancing.of out, or set `both`"


class NashMtlOptions(ComparingOptions):
    """The bargain of the tasks over the next step: the product of their gains is largest."""

    name: Literal["nash_mtl"] = "nash_mtl"


class AlignedMtlOptions(ComparingOptions):
    """Gradients whose principal components are brought to one length."""

    name: Literal["aligned_mtl"] = "aligned_mtl"
    scale: Literal["min", "median", "rmse"] = Field(
        "min", description="That length squared: the smallest eigenvalue of the Gram matrix, its median or its mean."
    )


class FairgradOptions(ComparingOptions):
    """The step with the fairest gains, by alpha-fairness."""

    name: Literal["fairgrad"] = "fairgrad"
    alpha: float = Field(
        1.0, ge=0.1, le=100, description="The higher, the more the worst task counts; 1 is `nash_mtl`."
    )


class UpgradOptions(ComparingOptions):
    """The mean of the gradients, each without what goes against any task."""

    name: Literal["upgrad"] = "upgrad"


class DualProjOptions(ComparingOptions):
    """The mean gradient, without what goes against any task."""

    name: Literal["dual_proj"] = "dual_proj"
