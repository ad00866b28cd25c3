"""Strided convolutions that a map of one position passes unharmed."""

import torch.nn.functional as F
from torch import Tensor, nn


class HalvingConvolution(nn.Conv2d):
    """A strided convolution that takes a map of one position as it is: whatever the stride, the values are the same.

    Only the gradient is not: of one position, oneDNN's bfloat16 kernel for 3x3 with stride 2 and padding 1 leaves the
    weights that see nothing but padding without a gradient, so that what lay in memory before is taken for it.
    """

    def forward(self, images: Tensor) -> Tensor:
        stride = [1 if side == 1 else step for side, step in zip(images.shape[-2:], self.stride, strict=True)]
        return F.conv2d(images, self.weight, self.bias, stride, self.padding, self.dilation, self.groups)


def guard_halving(network: nn.Module) -> None:
    """Makes a network's strided convolutions such, in place: weights, names and hooks stay.

    Those of a kind of their own, which compute otherwise, are left as they are.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and module.kernel_size != (1, 1) and module.stride != (1, 1):
            module.__class__ = HalvingConvolution
