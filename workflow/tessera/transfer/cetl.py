"""Coupled end-to-end transfer learning, a stand-in: source and student share a decoder that rebuilds the images."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.images import image_batches
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of, index_batches
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.layers import average_to
from tessera.transfer.method import TransferMethod
from tessera.transfer.options.features import CetlOptions
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.teacher import Teacher

BATCH = 64
BLOCKS = 4
NARROWEST = 8
TERMS = ("student", "teacher", "coupling")


def fisher_weights(energies: Tensor) -> Tensor:
    """Weights in inverse proportion to the terms' Fisher information, of mean 1.

    A term whose gradients have all but vanished would take all the weight: one counts at least as a millionth of the
    largest.

    Shape:
        energies: (T,) float64, E |grad L_i|^2, at least 0.
        returns: (T,) float64; all 1 where no term has a gradient.
    """
    inverse = 1 / energies.clamp_min(1e-6 * energies.max().item()).clamp_min(1e-30)
    return inverse / inverse.mean()


def gradient_energies(terms: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> Tensor:
    """|grad L_i|^2 of each term, over the parameters that it depends on.

    Shape:
        terms: T of (), each with a graph of its own: in a stack each would differentiate all.
        returns: (T,) float64.
    """
    energies = []
    for index, term in enumerate(terms):
        last = index == len(terms) - 1
        found = torch.autograd.grad(term, parameters, retain_graph=not last, allow_unused=True)
        energies.append(torch.stack([g.double().square().sum() for g in found if g is not None]).sum())
    return torch.stack(energies)


class Decoder(nn.Module):
    """Maps to images: blocks of a 3x3 convolution and sub-pixel upsampling by 2, each half as wide as the one before.

    Source of the upsampling: Shi et al., CVPR 2016, arXiv:1609.05158.

    Args:
        width: Channels of the maps.
        blocks: How often the size is doubled.

    Shape:
        maps: (N, width, g, g).
        returns: (N, 3, g * 2^blocks, g * 2^blocks) float32, within (0, 1).
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(blocks):
            narrower = max(NARROWEST, width // 2)
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, 4 * narrower, 1, bias=False), nn.PixelShuffle(2),
                nn.BatchNorm2d(narrower), nn.ReLU(),
            ]  # fmt: skip
            width = narrower
        self.layers = nn.Sequential(*layers)
        self.output = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        image: Tensor = self.output(self.layers(maps))
        return image.float().sigmoid()


class Coupling(nn.Module):
    """What is trained beside the student: the decoder and the alignments; computes the three coupled terms.

    Both networks' last maps are averaged to the smaller size of the two, g. The decoder doubles it up to four times,
    as long as the size does not exceed `largest`; the images are averaged to what comes out.

    Args:
        student, teacher: Channels and size of the last maps.
        width: Channels of the aligned maps.
        largest: Largest size at which images are rebuilt, px.
    """

    def __init__(self, student: tuple[int, int], teacher: tuple[int, int], width: int, largest: int) -> None:
        super().__init__()
        self.grid = min(student[1], teacher[1], largest)
        blocks = min(BLOCKS, (largest // self.grid).bit_length() - 1)
        self.size = self.grid * 2**blocks
        self.align_student = nn.Conv2d(student[0], width, 1, bias=False)
        self.align_teacher = nn.Conv2d(teacher[0], width, 1, bias=False)
        self.across = nn.Conv2d(student[0], teacher[0], 1, bias=False)
        self.decoder = Decoder(width, blocks)

    def forward(self, student: Tensor, teacher: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The terms, in the order of `TERMS`.

        Shape:
            student, teacher: (N, C, h, w) and (N, C', h', w').
            pixels: (N, 3, H, W) float32 in [0, 1].
            returns: three of () float32, each a mean over images and entries.
        """
        grid = (self.grid, self.grid)
        student, teacher = average_to(student, grid), average_to(teacher, grid)
        image = average_to(pixels, (self.size, self.size))
        # Two passes: in one, the batch's statistics would let the student move the teacher's term.
        return (
            F.mse_loss(self.decoder(self.align_student(student)), image),
            F.mse_loss(self.decoder(self.align_teacher(teacher)), image),
            F.mse_loss(self.across(student).float(), teacher),
        )


class Cetl(TransferMethod):
    """`CE + weight (w_t |D(A_t E_t(x)) - x|^2 + w_s |D(A_s E_s(x)) - x|^2 + w_c |A E_t(x) - E_s(x)|^2)`, a stand-in.

    Source: Chen, Zhang & Dong, "Coupled end-to-end transfer learning with generalized Fisher information", CVPR 2018.
    Only the design that its abstract gives was at hand: two networks feed one decoder, a coupled loss trains them, and
    Fisher information balances its terms. All else is ours (docs/methods.md 4.3), so figures of this method say little
    about theirs. E_t is the student, E_s the frozen source encoder, D the shared decoder, A_t, A_s and A are 1x1
    convolutions; squares are means over images and entries.

    w_i is in inverse proportion to E |grad L_i|^2, the trace of the empirical Fisher information over the parameters
    that the term trains (gradients of batches of 64 labelled images, as the training augments them), of mean 1.

    Args:
        options: What the study set.
    """

    options: CetlOptions
    weights: Tensor
    coupling: Coupling

    def __init__(self, options: CetlOptions) -> None:
        super().__init__(options)
        self.register_buffer("weights", torch.ones(len(TERMS)))

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        self.teacher = self.need(teacher)
        size = images.dataset.image_size
        blank = torch.zeros(1, 3, size, size, device=compute.device)
        training = network.training
        network.eval()
        with torch.no_grad():
            student, source = ((z.shape[1], z.shape[2]) for z in self._maps(Views(blank, blank), network))
        network.train(training)
        self.coupling = Coupling(student, source, self.options.width, min(size, self.options.image_px))
        self.reads = Reads(teacher=(self.teacher.z,))
        return {}

    def begin_epoch(
        self, network: TargetNetwork, images: TargetImages, compute: Compute, trial: int, epoch: int
    ) -> dict[str, float]:
        if epoch == 0 or self.options.refresh == "epoch":
            self.weights.copy_(self._estimate(network, images, compute, trial, epoch))
        return {f"weight_{term}": weight for term, weight in zip(TERMS, self.weights.tolist(), strict=True)}

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor:
        student, teacher = seen.student[list(network.layer_channels)[-1]], seen.teacher[self.teacher.z]
        terms = torch.stack(self.coupling(student, teacher, seen.views.pixels))
        return self.options.weight * (self.weights * terms).sum()

    def _estimate(
        self, network: TargetNetwork, images: TargetImages, compute: Compute, trial: int, epoch: int
    ) -> Tensor:
        # Copies: their batch-norm statistics move, and the student's must not.
        student, coupling = copy.deepcopy(network).train(), copy.deepcopy(self.coupling).train()
        parameters = [p for module in (student, coupling) for p in module.parameters() if p.requires_grad]
        generator = generator_of(trial, "cetl", epoch)
        split = images.labeled
        rows = index_batches(len(split), BATCH, self.options.fisher_batches, generator)
        energies = torch.zeros(len(TERMS), dtype=torch.float64, device=compute.device)
        for batch, of in zip(image_batches(split.images, rows), images.index[rows], strict=True):
            views = images.views(batch, of, generator)
            with compute.autocast():
                terms = coupling(*self._maps(views, student), views.pixels)
            energies += gradient_energies(terms, parameters)
        return fisher_weights(energies / len(rows))

    def _maps(self, views: Views, network: TargetNetwork) -> tuple[Tensor, Tensor]:
        ours, theirs = list(network.layer_channels)[-1], self.teacher.z
        return network.maps(views.inputs, (ours,))[ours], self.teacher.maps(views.pixels, (theirs,))[theirs]
