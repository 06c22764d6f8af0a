"""The learning-rate range test: how the loss moves while the rate rises (Smith 2017, section 3.3)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.tuner import Tuner

from reidentify.data.benchmark import Benchmark
from reidentify.data.console import console
from reidentify.errors import InputError, RecipeError
from reidentify.training import embedding
from reidentify.training.pairs import run as pairs
from reidentify.training.recipe import AnyRecipe, GenerationRecipe, PairRecipe, PoseRecipe
from reidentify.training.session import quiet

_BETA = 0.98
"""Lightning's smoothing of the loss."""
_DIVERGED = 8.0
"""Lightning stops at so many times the smallest loss it saw; its first one is half of what it should be."""


@dataclass(frozen=True, eq=False)
class RangeTest:
    """What a range test saw.

    Args:
        rates: S, float64, rising.
        losses: S, float64, smoothed.
        suggestion: the rate at which the loss falls fastest.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float


def find_rate(
    recipe: AnyRecipe,
    benchmark: Benchmark,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    progress: bool = True,
) -> RangeTest:
    """Train for some steps while the learning rate rises by a constant factor, and throw the weights away.

    All layers learn at the same rate: `optimiser.backbone_lr`, the warm-up and the schedule have no say. The test stops
    early when the smoothed loss is some four times the best.

    Args:
        recipe: of a training of embeddings or pairs.
        benchmark: its `train` rows.
        lowest: the first rate.
        highest: the last.
        steps: batches.
        progress: show progress bars.

    Raises:
        InputError: the rates do not rise; or too few steps were made to tell.
    """
    if not 0 < lowest < highest or steps < 20:
        raise InputError(f"rates must rise from above 0, over at least 20 steps; got {lowest} to {highest} in {steps}")
    if isinstance(recipe, (PoseRecipe, GenerationRecipe)):
        raise RecipeError(
            f"the range test is of embedding and of pairwise networks, not of recipes of kind {recipe.kind}"
        )
    pl.seed_everything(recipe.run.seed, workers=True, verbose=False)
    ready: embedding.Prepared | pairs.Prepared
    if isinstance(recipe, PairRecipe):
        ready = pairs.prepare(recipe, benchmark, progress)
    else:
        ready = embedding.prepare(recipe, benchmark, progress)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator=recipe.run.accelerator,
            devices=1,
            precision=recipe.run.precision,
            max_epochs=steps,
            limit_val_batches=0,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=progress and console().is_terminal,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        quiet()
        found = Tuner(trainer).lr_find(
            ready.module,
            datamodule=ready.loader,
            min_lr=lowest,
            max_lr=highest,
            num_training=steps,
            early_stop_threshold=_DIVERGED,
            update_attr=False,
        )
    if found is None:
        raise InputError("the range test made no step")
    # Lightning divides the moving average of step k by 1 - beta^(k + 1), which makes the first losses look small.
    step = np.arange(1, len(found.results["loss"]) + 1)
    found.results["loss"] = np.array(found.results["loss"]) * (1 - _BETA ** (step + 1)) / (1 - _BETA**step)
    rate = found.suggestion()
    if rate is None:
        raise InputError("the loss was finite in too few steps to tell a rate: try a lower highest rate or more steps")
    return RangeTest(np.array(found.results["lr"]), found.results["loss"], float(rate))
