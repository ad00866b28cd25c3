"""What every encoder is."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from tessera.errors import StudyError

Channels = tuple[float, float, float]  # red, green, blue
Kept = dict[str, Any]  # what a stage leaves for later ones, such as pooling indices; one a pass
Stage = Callable[[Tensor, Kept], Tensor]
Walk = Callable[[Tensor, Kept], Iterator[tuple[str, Tensor]]]


class AttentionPoint(NamedTuple):
    """A block of layers that attention looks at: its mask is made of the first map, and multiplies the last one.

    Attributes:
        first: Name of a map, of the same size as `last`.
        last: Name of a map; of the last point it is z.
        through: Maps whose sizes and channels a task's features take on their way from the block before.
    """

    first: str
    last: str
    through: tuple[str, ...] = ()


def pick(maps: Iterable[tuple[str, Tensor]], names: Iterable[str]) -> dict[str, Tensor]:
    """The maps of these names, in their order; asks for no more maps than it needs, and keeps no others.

    Args:
        maps: Names and maps as a network makes them, from the input on.
        names: Which of them; each must come.
    """
    names = list(names)
    missing, found = set(names), {}
    for name, values in maps:
        if name in missing:
            found[name] = values
            missing.remove(name)
        if not missing:
            break
    return {name: found[name] for name in names}


class LayeredNetwork(nn.Module, ABC):
    """A network whose inner feature maps have names, so that transfer and fusion can speak of them.

    Attributes:
        layer_channels: Name of each layer to the channels of its map, from the input on.
        inner_channels: The same of maps inside a stage, which `stage_pairs` may name and only `maps` returns.
    """

    layer_channels: dict[str, int]
    inner_channels: Mapping[str, int] = MappingProxyType({})

    @abstractmethod
    def layers(self, images: Tensor) -> dict[str, Tensor]:
        """Every named map.

        Shape:
            images: (N, 3, H, W), normalised, any float dtype.
            returns: name to (N, C, h, w), in the order of `layer_channels`.
        """

    def maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """The maps of these names alone: of `layer_channels` or `inner_channels`."""
        found = self.layers(images)
        return {name: found[name] for name in names}

    @property
    @abstractmethod
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        """Pairs of layers for FSP: `across_stage` and `within_stage` (docs/methods.md 4.2)."""


class Encoder(LayeredNetwork):
    """From images to the last feature map z; no classifier. The last entry of `layer_channels` is z.

    Attributes:
        fusion_convolutions: `conv_before_pool` and `stage_last` to names of convolutions (docs/methods.md 1.7).
        attention_reduction: By how much attention modules narrow a map inside; more than 1 where its maps are wide.
        usual_normalization: Mean and deviation of the images, in units of [0, 1], with which published weights of it
            were trained; None where nothing says so.
    """

    fusion_convolutions: Mapping[str, tuple[str, ...]]
    attention_reduction: int = 1
    usual_normalization: tuple[Channels, Channels] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """The last feature map, (N, C, h, w)."""
        last = list(self.layer_channels)[-1]
        return self.maps(images, (last,))[last]

    def stages(self) -> list[tuple[str, Stage]]:
        """The encoder in pieces, from the images on: each the name of the map that it ends with, and what makes it.

        A stage is given the map that the one before made, and a dict that all stages of a pass share. Run in turn they
        give z. Where an encoder does not say, it is one stage.
        """
        return [(list(self.layer_channels)[-1], lambda images, kept: self(images))]

    @property
    def attention_points(self) -> tuple[AttentionPoint, ...]:
        """Where attention of each task looks at the maps, from the input on (`mtan`); ends with z.

        Where an encoder does not say, these are the pairs `within_stage`, and z itself if they do not reach it.
        """
        z = list(self.layer_channels)[-1]
        points = [AttentionPoint(*pair) for pair in self.stage_pairs.get("within_stage", ())]
        if not points or points[-1].last != z:
            points.append(AttentionPoint(z, z))
        return tuple(points)

    def covering_maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """As `maps`, but a pooling layer keeps what does not fill its window (ceil mode): no border goes unseen.

        What finds objects wants it, at 300 px above all, where 75 cells become 38 and not 37 (Liu et al. 2016). The
        maps of an encoder that pools nowhere, or pads where it does, are those of `maps`.
        """
        return self.maps(images, names)

    @property
    def last_unpooled(self) -> str:
        """The deepest map as its convolution left it: z itself, or the map of which a pooling layer makes z."""
        return list(self.layer_channels)[-1]

    @property
    def last_layer(self) -> nn.Module:
        """The last layer with weights on the way to z, a shortcut's aside: whose gradients some balancings compare.

        Raises:
            StudyError: If `fusion_convolutions` names no `stage_last`.
        """
        if not (last := self.fusion_convolutions.get("stage_last")):
            raise StudyError(f"{type(self).__name__}.fusion_convolutions names no `stage_last`, so no last layer.")
        return self.get_submodule(last[-1])

    @property
    def unit_layers(self) -> tuple[str, ...]:
        """Maps of the last block's units, from its first to z itself; z alone where an encoder does not say.

        Units are residual units, or the last convolutions. Each map has z's height and width (pooled where z is), and
        `maps` returns it; widths may differ. Sharing by lasso mixes them (docs/methods.md 3).
        """
        return (list(self.layer_channels)[-1],)

    def names_in_files(self, name: str) -> tuple[str, ...]:
        """What a tensor of it may be called in files of weights that other code wrote, the likeliest name first."""
        return (name,)

    def is_behind(self, name: str) -> bool:
        """Whether a tensor of this name in such a file is of the network that the encoder is a part of: left over."""
        return False

    @property
    def num_features(self) -> int:
        """Channels of z."""
        return list(self.layer_channels.values())[-1]


class StagedEncoder(Encoder):
    """An encoder that says how its stages are walked; its maps come of that."""

    @abstractmethod
    def walks(self) -> Mapping[str, Walk]:
        """The stages: name of each one's last map to what yields its maps, names and values; that map comes last."""

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        return self.maps(images, self.layer_channels)

    def maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        return pick(walk(self.walks(), images), names)

    def stages(self) -> list[tuple[str, Stage]]:
        return [(name, partial(_last, walked)) for name, walked in self.walks().items()]


def walk(walks: Mapping[str, Walk], images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Names and maps of all stages, from the images on."""
    kept: Kept = {}
    given = images
    for walked in walks.values():
        made = given
        for name, made in walked(given, kept):
            yield name, made
        given = made


def _last(walked: Walk, images: Tensor, kept: Kept) -> Tensor:
    ((_, last),) = deque(walked(images, kept), maxlen=1)
    return last
