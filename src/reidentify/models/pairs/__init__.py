"""Networks that compare two images with one another."""

from reidentify.models.pairs.layers import NeighbourhoodDifference, NormalisedCorrelation
from reidentify.models.pairs.networks import PairNetwork, build_pairs
from reidentify.models.pairs.settings import PairSettings

__all__ = ["NeighbourhoodDifference", "NormalisedCorrelation", "PairNetwork", "PairSettings", "build_pairs"]
