"""Linear probe: what can a linear classifier read from frozen features?"""

import math
from typing import Any

from sklearn.linear_model import LogisticRegression

from tessera.protocols.frozen import FrozenProbe


class LinearProbe(FrozenProbe):
    """Accuracy of multinomial logistic regression on frozen features.

    Minimises mean cross entropy + `l2` / 2 * ||W||^2 by L-BFGS; biases are free. Features are standardised by the mean
    and standard deviation of the labelled training images, so that one `l2` serves every layer and encoder.

    Source: the usual linear evaluation of self-supervised features (Zhang, Isola & Efros, ECCV 2016, section 3.2),
    full-batch and convex here, so that it has no schedule to tune and the same features give the same figure.
    """

    def classifier(self, num_images: int, trial: int) -> Any:
        # scikit-learn sums over images and puts the weight on that sum: C = 1 / (l2 * N).
        strength = 1 / (self.options.l2 * num_images) if self.options.l2 > 0 else math.inf
        return LogisticRegression(C=strength, max_iter=self.options.max_iterations)
