"""Training rows as batches of pairs, under pytorch-lightning."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from reidentify.batch import Batch
from reidentify.data.console import say
from reidentify.data.keypoints import resized
from reidentify.data.pairs import PairSampler, positive_pairs, with_negatives
from reidentify.data.pixels import DecodedOnTheFly, open_pixels
from reidentify.errors import ImageError, InputError
from reidentify.pose import with_joints
from reidentify.training.recipe import PairRecipe
from reidentify.values import DISTRACTOR, Sightings

_HELD_BATCH = 64


Sides: TypeAlias = tuple[Batch, Batch]


class PairRows(Dataset["Sides | ImageError"]):
    """Rows with their pixels and joints, fetched as pairs; an item is a list of (row a, row b, whether of one person).

    Both batches of an item have the labels 1 for pairs of one person and 0 for others.

    Args:
        sightings: images.
        recipe: input size and interpolation.
        joints: fetch joints too, and look for them where none are published.
        progress: show progress bars.
        device: where joints are looked for; None: as of `load_pose`.

    Raises:
        InputError: the rows are tracklets.
    """

    def __init__(
        self,
        sightings: Sightings,
        recipe: PairRecipe,
        joints: bool,
        progress: bool,
        device: torch.device | None = None,
    ) -> None:
        if not sightings.is_images:
            raise InputError("pairwise networks compare images: give a data set of images, not of tracklets")
        self.sightings = with_joints(sightings, progress=progress, device=device) if joints else sightings
        size = (recipe.input.height, recipe.input.width)
        assert sightings.files is not None
        self.pixels = open_pixels(sightings.files, size, recipe.input.interpolation, progress=progress)
        self.keypoints = torch.from_numpy(resized(self.sightings, size, progress)) if joints else None

    def __len__(self) -> int:
        return len(self.sightings)

    def __getitems__(self, pairs: list[tuple[int, int, bool]]) -> Sides | ImageError:
        first, second, same = np.array(pairs, np.int64).T
        labels = torch.from_numpy(same.copy())
        try:
            return self._batch(first, labels), self._batch(second, labels)
        except ImageError as error:
            if get_worker_info() is None:
                raise
            return error  # raised in a worker it would arrive as text, with the worker's traceback

    def _batch(self, rows: NDArray[np.int64], labels: Tensor) -> Batch:
        pixels = torch.from_numpy(self.pixels.read(rows)).permute(0, 3, 1, 2)[:, None]
        return Batch(pixels, labels, keypoints=None if self.keypoints is None else self.keypoints[rows][:, None])


class PairLoader(pl.LightningDataModule):
    """The training pairs of every epoch, and the held-out pairs: all positives with one negative each.

    Args:
        rows: what is trained on.
        recipe: sampling, mining and seed.
        validation: what is validated on, if anything.
    """

    def __init__(self, rows: PairRows, recipe: PairRecipe, validation: PairRows | None = None) -> None:
        super().__init__()
        self.rows, self.recipe, self.validation = rows, recipe, validation
        self.mined = np.empty((0, 2), np.int64)
        self.held = np.empty((0, 2), np.int64)
        if validation is not None:
            self.held = held_pairs(validation.sightings.pids, None, recipe.run.seed, "the held-out rows")
        there = self._sampler(0, 1).count  # what the rows do not allow is said before the training starts
        if (asked := recipe.pairs.per_epoch) is not None and asked > there:
            rank_zero_only(say)(f"pairs.per_epoch: of {asked:,} pairs of one person there are {there:,}; all are shown")

    def _sampler(self, rank: int, world: int) -> PairSampler:
        s = self.recipe.pairs
        return PairSampler(
            self.rows.sightings.pids, s.batch, s.sampling, s.negatives, s.per_epoch, self.recipe.run.seed, rank, world
        )

    def train_dataloader(self) -> DataLoader[Sides | ImageError]:
        """Batches of this process, the same at every resume of the same epoch."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        self.sampler = self._sampler(rank, world)
        self.show(self.mined)
        workers = self.recipe.run.workers if isinstance(self.rows.pixels, DecodedOnTheFly) else 0
        return DataLoader(self.rows, batch_sampler=self.sampler, collate_fn=_whole, num_workers=workers)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        """The held-out pairs in order."""
        if self.validation is None:
            return []
        pids = self.validation.sightings.pids
        pairs = [(a, b, bool(pids[a] == pids[b])) for a, b in self.held.tolist()]
        chunks = [pairs[i : i + _HELD_BATCH] for i in range(0, len(pairs), _HELD_BATCH)]
        return DataLoader(self.validation, batch_sampler=chunks, collate_fn=_whole)  # type: ignore[arg-type]

    def show(self, mined: NDArray[np.int64]) -> None:
        """Show these negatives from the next epoch on."""
        self.mined = mined
        self.sampler.set_hard(mined, self.recipe.pairs.mined_share)

    def on_before_batch_transfer(self, batch: Sides | ImageError, dataloader_idx: int) -> Sides:
        """Raise what a worker met."""
        if isinstance(batch, ImageError):
            raise batch
        return batch

    def transfer_batch_to_device(self, batch: Sides, device: torch.device, dataloader_idx: int) -> Sides:
        """Send both sides, without waiting."""
        a, b = batch
        return a.to(device, non_blocking=True), b.to(device, non_blocking=True)


def held_pairs(pids: NDArray[np.int64], limit: int | None, seed: int, data: str) -> NDArray[np.int64]:
    """Pairs of one person, all or a draw of at most `limit`, and one of two people for each of them. P x 2 rows.

    Raises:
        InputError: there are no such pairs; it names the data.
    """
    if len(np.unique(pids[pids > DISTRACTOR])) < 2:
        raise InputError(f"{data} show fewer than two people, so there are no pairs to judge")
    positives = positive_pairs(pids, data)
    if limit is not None and limit < len(positives):
        positives = positives[np.sort(np.random.default_rng(seed).permutation(len(positives))[:limit])]
    return with_negatives(pids, positives, seed=seed)[0]


def _whole(batch: Sides | ImageError) -> Sides | ImageError:
    """`PairRows` already returns batches."""
    return batch
