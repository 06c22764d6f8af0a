"""Training rows as batches: labels, pixels and samplers under pytorch-lightning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from reidentify.data.pixels import DecodedOnTheFly, Pixels
from reidentify.data.samplers import BatchSampler, PKSampler, ShuffleSampler
from reidentify.embed import camera_indices
from reidentify.errors import ImageError, InputError
from reidentify.training.recipe import Recipe
from reidentify.training.validation import Validation
from reidentify.values import Batch, Sightings


class Rows(Dataset[Batch]):
    """Rows of `Sightings` with their pixels, fetched a whole batch at a time.

    Args:
        sightings: image rows.
        pixels: the decoded image of each.
        cameras: those that count as known; None: all of these rows.
    """

    def __init__(self, sightings: Sightings, pixels: Pixels, cameras: list[int] | None = None) -> None:
        if not sightings.is_images:
            raise InputError("this training takes images, and these rows are tracklets")
        self.pixels = pixels
        self.identities, self.labels = np.unique(sightings.pids, return_inverse=True)
        camids = np.full(len(sightings), -1) if sightings.camids is None else sightings.camids
        self.cameras: list[int] = np.unique(camids[camids >= 0]).tolist() if cameras is None else cameras
        self.camids = camera_indices(camids, self.cameras)
        self.sources = None if sightings.sources is None else np.unique(sightings.sources, return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch | ImageError:
        return self.__getitems__([index])

    def __getitems__(self, rows: list[int]) -> Batch | ImageError:
        try:
            images = torch.from_numpy(self.pixels.read(rows)).permute(0, 3, 1, 2)
        except ImageError as error:
            if get_worker_info() is None:
                raise
            return error  # raised in a worker it would arrive as text, with the worker's traceback
        return Batch(
            images[:, None],
            torch.from_numpy(self.labels[rows]),
            camids=torch.from_numpy(self.camids[rows]),
            sources=None if self.sources is None else torch.from_numpy(self.sources[rows]),
        )


class Loader(pl.LightningDataModule):
    """The training batches of every epoch, and the held-out images.

    Args:
        rows: what is trained on.
        recipe: sampler, seed and workers.
        validation: what is validated on, if anything.
    """

    def __init__(self, rows: Rows, recipe: Recipe, validation: Validation | None = None) -> None:
        super().__init__()
        self.rows, self.recipe, self.validation = rows, recipe, validation

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of this process, the same at every resume of the same epoch."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        workers = self.recipe.run.workers if isinstance(self.rows.pixels, DecodedOnTheFly) else 0
        return DataLoader(
            self.rows,
            batch_sampler=sampler(self.rows, self.recipe, rank, world),  # type: ignore[arg-type]
            collate_fn=_whole,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )

    def on_before_batch_transfer(self, batch: Batch | ImageError, dataloader_idx: int) -> Batch:
        """Raise what a worker met."""
        if isinstance(batch, ImageError):
            raise batch
        return batch

    def val_dataloader(self) -> Any:
        """The held-out rows in order; every process validates all of them."""
        if self.validation is None:
            return []
        held = Rows(self.validation.rows, self.validation.pixels, self.rows.cameras)
        return DataLoader(held, batch_size=64, collate_fn=_whole)


def sampler(rows: Rows, recipe: Recipe, rank: int = 0, world_size: int = 1) -> BatchSampler:
    """The batch sampler that the recipe asks for."""
    s, seed = recipe.sampler, recipe.run.seed
    if s.kind == "shuffle":
        return ShuffleSampler(len(rows), s.identities * s.instances, seed, rank, world_size)
    return PKSampler(
        rows.labels,
        s.identities,
        s.instances,
        rows.camids if s.camera_aware else None,
        rows.sources if s.source_balanced else None,
        seed,
        rank,
        world_size,
    )


def _whole(batch: Batch | ImageError) -> Batch | ImageError:
    """`Rows` already returns a Batch."""
    return batch
