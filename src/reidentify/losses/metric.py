"""The losses of pytorch-metric-learning by short names."""

from __future__ import annotations

from typing import Any

from torch import nn

from reidentify.errors import InputError

METRIC_LOSSES = {
    "angular": "AngularLoss",
    "arcface": "ArcFaceLoss",
    "circle": "CircleLoss",
    "contrastive": "ContrastiveLoss",
    "cosface": "CosFaceLoss",
    "fastap": "FastAPLoss",
    "generalized-lifted": "GeneralizedLiftedStructureLoss",
    "instance": "InstanceLoss",
    "intra-pair-variance": "IntraPairVarianceLoss",
    "lifted": "LiftedStructureLoss",
    "margin": "MarginLoss",
    "multi-similarity": "MultiSimilarityLoss",
    "ntxent": "NTXentLoss",
    "proxy-anchor": "ProxyAnchorLoss",
    "proxy-nca": "ProxyNCALoss",
    "signal-to-noise": "SignalToNoiseRatioContrastiveLoss",
    "smooth-ap": "SmoothAPLoss",
    "soft-triple": "SoftTripleLoss",
    "sphereface": "SphereFaceLoss",
    "subcenter-arcface": "SubCenterArcFaceLoss",
    "supcon": "SupConLoss",
    "triplet": "TripletMarginLoss",
}
"""Name in a recipe -> class in `pytorch_metric_learning.losses`."""

# These hold a vector per class, and need to know how many and how long.
_WITH_CLASSES = {"arcface", "cosface", "proxy-anchor", "proxy-nca", "soft-triple", "sphereface", "subcenter-arcface"}


def metric_loss(name: str, num_classes: int, features: int, **settings: Any) -> nn.Module:
    """A loss of pytorch-metric-learning, called as `loss(embeddings, labels)`.

    Args:
        name: a key of `METRIC_LOSSES`.
        num_classes: training identities.
        features: length of the embedding.
        settings: passed to the loss, e.g. `m=0.25, gamma=64` for circle.

    Raises:
        InputError: an unknown name or setting.
    """
    from pytorch_metric_learning import losses

    if name not in METRIC_LOSSES:
        raise InputError(f"there is no metric loss {name!r}; there are {', '.join(METRIC_LOSSES)}")
    if name in _WITH_CLASSES:
        settings = {"num_classes": num_classes, "embedding_size": features, **settings}
    try:
        return getattr(losses, METRIC_LOSSES[name])(**settings)
    except TypeError as error:
        raise InputError(f"metric loss {name}: {error}") from None
