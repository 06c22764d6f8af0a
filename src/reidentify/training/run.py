"""A training from a recipe to weights, whatever its kind."""

from __future__ import annotations

import os
from pathlib import Path

from reidentify.data.benchmark import Benchmark
from reidentify.training import embedding, pose
from reidentify.training.generation import run as generation
from reidentify.training.pairs import run as pairs
from reidentify.training.recipe import AnyRecipe, GenerationRecipe, PairRecipe, PoseRecipe


def train(recipe: AnyRecipe, benchmark: Benchmark, out: str | os.PathLike[str], progress: bool = True) -> Path:
    """Train what the recipe asks for.

    Args:
        recipe: what to do; its class says what is trained.
        benchmark: its `train` rows are trained on, less the identities that `recipe.input.holdout` sets aside; its
            query and gallery are looked at once, when the training is over, for the scores in the card.
        out: run folder. A new one is made; one that holds an unfinished run of the same recipe and data is resumed.
        progress: show progress bars.

    Returns:
        The path of `weights.safetensors`; its card, the recipe, the curves, TensorBoard's log and, if there are query
        and gallery, `metrics.json` lie beside it.

    Raises:
        InputError: the folder holds anything else, or the data does not suit the recipe.
        ReidentifyError: the loss is not finite.
    """
    if isinstance(recipe, PairRecipe):
        return pairs.train(recipe, benchmark, out, progress)
    if isinstance(recipe, PoseRecipe):
        return pose.train(recipe, benchmark, out, progress)
    if isinstance(recipe, GenerationRecipe):
        return generation.train(recipe, benchmark, out, progress)
    return embedding.train(recipe, benchmark, out, progress)
