"""Soft assignment to k-means clusters of the teacher's features: knowledge that no label gave."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.errors import StudyError
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute, library_threads
from tessera.training.randomness import generator_of, seed_of
from tessera.transfer.images import TargetImages
from tessera.transfer.options.soft import SoftTargetsOptions
from tessera.transfer.soft_targets.knowledge import Knowledge, features_of
from tessera.transfer.teacher import Teacher

RESTARTS = 4
MOST_NUMBERS = 1 << 28  # features in memory at once, 1 GiB: 131,072 images of 2,048 channels


class Clusters(Knowledge):
    """`p_m ~ exp(-|f - c_m|^2 / s)` for unit features f, centres c_m, and s the mean squared distance to the nearest.

    The centres are those of the plain target training images, or of a random part of them where the features of all
    would exceed a gigabyte. The student answers with a linear head on the average of its last map.

    Args:
        options: What the study set.
    """

    centers: Tensor
    spread: Tensor
    head: nn.Linear

    def __init__(self, options: SoftTargetsOptions) -> None:
        super().__init__(options)
        self.register_buffer("spread", torch.ones(()))

    def fit(
        self, network: TargetNetwork, teacher: Teacher, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        from sklearn.cluster import KMeans  # takes two seconds, and no other knowledge needs it

        train = images.dataset.train
        if len(train) < self.options.clusters:
            raise StudyError(
                f"transfer `soft_targets`: `clusters` is {self.options.clusters}, but the target has {len(train)} "
                "training images: set fewer clusters"
            )
        if len(train) > (most := MOST_NUMBERS // teacher.encoder.num_features):
            train = train.subset(torch.randperm(len(train), generator=generator_of(trial, "clusters", "images"))[:most])
        features = F.normalize(features_of(teacher, train.images, compute), dim=1).cpu().numpy()
        seed = seed_of(trial, "clusters") % 2**32
        with library_threads():
            found = KMeans(self.options.clusters, n_init=RESTARTS, random_state=seed).fit(features)
        self.register_buffer("centers", torch.from_numpy(found.cluster_centers_).float())
        self.spread = torch.tensor(max(found.inertia_ / len(features), 1e-12))
        channels = network.layer_channels[list(network.layer_channels)[-1]]
        self.head = nn.Linear(channels, self.options.clusters)
        self.to(compute.device)
        return {"cluster_spread": float(self.spread)}

    def logits(self, features: Tensor) -> Tensor:
        distances = torch.cdist(F.normalize(features, dim=1), self.centers).square()
        # The loss divides by the temperature; the spread is the clusters' own, and softens them once.
        return -distances / self.spread * self.options.temperature

    def answer(self, z: Tensor, logits: Tensor) -> Tensor:
        answer: Tensor = self.head(z.mean(dim=(2, 3)))
        return answer
