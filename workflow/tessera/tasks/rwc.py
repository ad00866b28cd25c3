"""Rotation with classification: how do three patches of an image lie, and by how much are they turned?"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from tessera.data.views import to_unit
from tessera.models.heads.tiles import TileHead
from tessera.tasks.arrangements import ARRANGEMENTS, mirrored
from tessera.tasks.base import Preview, TaskBatch
from tessera.tasks.choice import ChoiceTask
from tessera.tasks.color import lab_from_rgb, rgb_from_lab
from tessera.tasks.options.patches import PatchGeometry, RotationWithClassificationOptions

NUM_PATCHES = 3
NUM_TURNS = 4


class RotationWithClassification(ChoiceTask):
    """Three patches of an image lie in one of 20 ways and are turned by one of 4 angles: which of 80 is it?

    Source: Mundhenk, Ho & Chen, CVPR 2018, arXiv:1711.06379, and their code, with its cures of shortcuts. Colours (a
    and b of Lab) are blurred before the patches are cut; patches are resized to one size and cropped at one place; two
    of three show only a square, the same in both, and the mean colour around it; half of the images are mirrored, and
    the label with them. How the patches lie is ours (`arrangements`), and so are the sizes below 256 px.

    The label is arrangement + 20 * quarter turns, counter-clockwise; a patch is turned in its place.

    Shape:
        inputs: (3 N, 3, crop_px, crop_px) float32, normalised, the patches of an image side by side.
        labels: (N,) int64, 0 to 79.
        prediction: (N, 80) logits.
    """

    options: RotationWithClassificationOptions
    num_choices = len(ARRANGEMENTS) * NUM_TURNS

    def setup(self) -> None:
        self.geometry = PatchGeometry(*(getattr(self.options, key) for key in PatchGeometry._fields))
        near, far = self.geometry.near_px, self.geometry.far_px
        steps = torch.tensor([near if layout == 3 else far for layout, _ in ARRANGEMENTS])
        self._cells = torch.tensor([cells for _, cells in ARRANGEMENTS]) * steps[:, None, None]  # (20, 3, 2) px
        spans = torch.tensor([layout - 1 for layout, _ in ARRANGEMENTS]) * steps + self.geometry.patch_px
        self._rooms = self.statistics.image_size - spans + 1  # (20,) places of a layout in the image, along each side
        partners = [mirrored(index) for index in range(len(ARRANGEMENTS))]
        self._mirror = torch.tensor([partner.arrangement for partner in partners])
        self._order = torch.tensor([partner.order for partner in partners])

    def build_head(self, num_features: int) -> nn.Module:
        shared, hidden, dropout = self.options.patch_hidden, self.options.hidden, self.options.dropout
        assert shared is not None
        assert hidden is not None
        assert dropout is not None
        return TileHead(num_features, NUM_PATCHES, shared, hidden, self.num_choices, dropout)

    def make_batch(self, images: Tensor, labels: Mapping[str, Tensor], generator: torch.Generator) -> TaskBatch:
        number = len(images)
        answers, corners, flips, turns, sizes, offsets, whole, apertures = self._draw(number, generator)
        # One small copy to the device: a row an image.
        drawn = torch.cat([answers, corners.flatten(1), flips, turns, sizes, offsets, whole, apertures], dim=1)
        parts = torch.split(drawn.to(images.device, non_blocking=True), [1, 6, 1, 1, 1, 2, 1, 3], dim=1)
        answers, corners, flips, turns, sizes, offsets, whole, apertures = parts

        crop = self.geometry.crop_px
        places = _turned_places(crop, turns)  # (N, 2, crop, crop): which pixel of the unturned crop is seen here
        points = self._points(places, flips, sizes, offsets)  # (N, 2, crop, crop), px of the patch
        points = points[:, None] + corners.view(number, NUM_PATCHES, 2, 1, 1)
        patches = sample(self.normalize(self._blurred(images)), points)
        masked = torch.arange(NUM_PATCHES, device=images.device) != whole  # (N, 3)
        outside = _outside(places, apertures)[:, None, None] & masked[:, :, None, None, None]
        patches = patches.masked_fill(outside, 0.0)  # once normalised, this is the mean colour
        return TaskBatch(patches.flatten(0, 1), answers[:, 0])

    def preview(self, batch: TaskBatch, prediction: Tensor, number: int) -> Preview:
        """The three patches as shown, and laid out and turned back as predicted and as is right."""
        patches = self.denormalize(batch.inputs)
        patches = patches.view(-1, NUM_PATCHES, *patches.shape[1:])[:number]
        right, guessed = (choices[:number].cpu() for choices in (batch.labels, prediction.argmax(dim=1)))
        views = {
            "shown": torch.cat([F.pad(patches, (1, 1, 1, 1), value=255)[:, i] for i in range(NUM_PATCHES)], dim=-1),
            "laid out": _laid_out(patches, guessed),
            "right": _laid_out(patches, right),
        }
        of = len(ARRANGEMENTS)
        hits = [int(same.sum()) for same in (guessed % of == right % of, guessed // of == right // of)]
        return Preview(
            views, f"{hits[0]} of {len(right)} arrangements and {hits[1]} of {len(right)} rotations are right."
        )

    def _draw(self, number: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Everything that chance decides, on the CPU: int64, one row an image.

        Shape:
            labels, flips, turns, sizes, whole: (N, 1); of the picture that is shown, mirrored and turned.
            corners: (N, 3, 2), top left of each patch in the image as it is, in the order of the picture shown.
            offsets: (N, 2), of the crop in the resized patch.
            apertures: (N, 3), top, left and side of the square, px of the crop before it is turned.
        """
        crop, resized, least = self.geometry.crop_px, self.geometry.resize_px, self.geometry.aperture_px

        def integers(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (number,), generator=generator)

        def below(limits: Tensor) -> Tensor:
            """Two numbers from 0 to below each limit."""
            fractions = torch.rand(number, 2, generator=generator, dtype=torch.float64)
            return (fractions * limits[:, None]).long()

        arrangement, flips, turns = integers(0, len(ARRANGEMENTS)), integers(0, 2), integers(0, NUM_TURNS)
        corners = self._cells[arrangement] + below(self._rooms[arrangement])[:, None]
        mirror = flips == 1
        order = torch.where(mirror[:, None], self._order[arrangement], torch.arange(NUM_PATCHES))
        corners = corners.gather(1, order[:, :, None].expand(-1, -1, 2))
        labels = torch.where(mirror, self._mirror[arrangement], arrangement) + len(ARRANGEMENTS) * turns
        sizes, whole = integers(crop, resized + 1), integers(0, NUM_PATCHES)
        offsets = below(sizes - crop + 1)
        sides = integers(least, crop + 1)
        apertures = torch.cat([below(crop - sides + 1), sides[:, None]], dim=1)
        labels, flips, turns, sizes, whole = (drawn[:, None] for drawn in (labels, flips, turns, sizes, whole))
        return labels, corners, flips, turns, sizes, offsets, whole, apertures

    def _blurred(self, images: Tensor) -> Tensor:
        """Pixels whose colours, not whose lightness, are blurred: (N, 3, H, W) uint8 to float32, 0 to 1."""
        pixels = to_unit(images)
        size = self.geometry.blur_px
        if size == 1:
            return pixels
        lab = lab_from_rgb(pixels.movedim(1, -1)).movedim(-1, 1)
        lab = torch.cat([lab[:, :1], gaussian_blur(lab[:, 1:], [size, size])], dim=1)
        return rgb_from_lab(lab.movedim(1, -1)).movedim(-1, 1)

    def _points(self, places: Tensor, flips: Tensor, sizes: Tensor, offsets: Tensor) -> Tensor:
        """Where in the patch, as it lies in the image, the pixels of the crop are taken: px, float32."""
        patch = self.geometry.patch_px
        sizes, flips = sizes[:, :, None, None], flips[:, :, None]
        # Pixel centres, as in resizing by bilinear interpolation; never beyond the patch.
        points = (places + offsets[:, :, None, None] + 0.5) * (patch / sizes) - 0.5
        rows, columns = points.clamp(0, patch - 1).unbind(1)
        return torch.stack([rows, torch.where(flips == 1, patch - 1 - columns, columns)], dim=1)


def _laid_out(patches: Tensor, choices: Tensor) -> Tensor:
    """Patches in the places, and turned back by the angle, that a choice says: pictures for a reader.

    Shape:
        patches: (N, 3, 3, s, s) uint8.
        choices: (N,) int64, arrangement + 20 * quarter turns.
        returns: (N, 3, S, S) uint8, white where no patch lies.
    """
    side = patches.shape[-1]
    step = side + max(1, side // 12)
    picture = torch.full((len(patches), 3, 2 * step + side, 2 * step + side), 255, dtype=torch.uint8)
    for image, (some, choice) in enumerate(zip(patches, choices.tolist(), strict=True)):
        turns, arrangement = divmod(choice, len(ARRANGEMENTS))
        layout, cells = ARRANGEMENTS[arrangement]
        margin = (3 - layout) * step // 2
        for patch, (row, column) in zip(some.rot90(-turns, dims=(2, 3)), cells, strict=True):
            top, left = margin + row * step, margin + column * step
            picture[image, :, top : top + side, left : left + side] = patch
    return picture


def _turned_places(side: int, turns: Tensor) -> Tensor:
    """Row and column, before it was turned, of what each pixel of a square shows: (N, 1) to (N, 2, side, side)."""
    steps = torch.arange(side, device=turns.device)
    straight = torch.stack(torch.meshgrid(steps, steps, indexing="ij"))
    return torch.stack([straight.rot90(turn, dims=(1, 2)) for turn in range(NUM_TURNS)])[turns[:, 0]]


def _outside(places: Tensor, apertures: Tensor) -> Tensor:
    """Whether a place is outside the square: (N, 2, s, s) and (N, 3) to (N, s, s) bool."""
    corner, side = apertures[:, :2, None, None], apertures[:, 2:, None, None]
    return ((places < corner) | (places >= corner + side)).any(dim=1)


def sample(images: Tensor, points: Tensor) -> Tensor:
    """Bilinear interpolation of images at points given in pixels.

    Shape:
        images: (N, C, H, H) float32.
        points: (N, K, 2, s, s) float32, row and column, 0 to H - 1.
        returns: (N, K, C, s, s) float32.
    """
    number, patches, _, side, _ = points.shape
    grid = (2 * points / (images.shape[-1] - 1) - 1).flip(2).permute(0, 1, 3, 4, 2)  # grid_sample wants x before y
    found = F.grid_sample(images, grid.flatten(1, 2), mode="bilinear", padding_mode="border", align_corners=True)
    return found.view(number, -1, patches, side, side).transpose(1, 2)
