"""Training rows as batches: labels, pixels, clips and samplers under pytorch-lightning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset, get_worker_info

from reidentify.batch import Batch
from reidentify.data.benchmark import camera_indices
from reidentify.data.clips import dense, sample
from reidentify.data.console import say
from reidentify.data.pixels import DecodedOnTheFly, Pixels
from reidentify.data.samplers import BatchSampler, PKSampler, ShuffleSampler
from reidentify.data.samplers_generation import (
    AnchorSampler,
    InstanceSampler,
    SpaceTimeSampler,
    TargetPairSampler,
    place_and_time,
)
from reidentify.errors import ImageError, InputError
from reidentify.training.generation.settings import GenerationSamplerSettings
from reidentify.training.recipe import GenerationRecipe, Recipe
from reidentify.training.settings import ClipSettings
from reidentify.training.validation import Validation
from reidentify.values import Attribute, Sightings


class Rows(Dataset["Batch | ImageError"]):
    """Rows of `Sightings` with their pixels, fetched a whole batch at a time.

    An item is a row and the seed of what is drawn of it.

    Args:
        sightings: images or tracklets.
        pixels: every decoded frame.
        clip: which frames of a tracklet.
        schema: attributes to hand on.

    Attributes:
        keypoints: F x 14 x 3, float32, the joints of every frame in pixels of the decoded images, to hand on to a
            network that is guided by them; None for others.
    """

    def __init__(
        self, sightings: Sightings, pixels: Pixels, clip: ClipSettings, schema: Sequence[Attribute] = ()
    ) -> None:
        self.sightings, self.pixels, self.clip, self.schema = sightings, pixels, clip, tuple(schema)
        self.keypoints: NDArray[np.float32] | None = None
        self.identities, self.labels = np.unique(sightings.pids, return_inverse=True)
        self.offsets, self.is_images = sightings.offsets, sightings.is_images
        camids = np.full(len(sightings), -1) if sightings.camids is None else sightings.camids
        self.cameras: list[int] = np.unique(camids[camids >= 0]).tolist()
        self.camids = camera_indices(camids, self.cameras)
        self.sources = None if sightings.sources is None else np.unique(sightings.sources, return_inverse=True)[1]
        self.attributes = None
        if self.schema:
            self.attributes = np.stack([sightings.attributes[a.name] for a in self.schema], 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: tuple[int, int]) -> Batch | ImageError:
        return self.__getitems__([item])

    def __getitems__(self, items: list[tuple[int, int]]) -> Batch | ImageError:
        rows = np.array([row for row, _ in items])
        frames, valid = self.offsets[rows, None], None
        if not self.is_images:
            clips = [self._clip(row, seed) for row, seed in items]
            frames = np.concatenate([chosen for chosen, _ in clips])
            valid = torch.from_numpy(np.concatenate([real for _, real in clips]))
        try:
            pixels = torch.from_numpy(self.pixels.read(frames.reshape(-1))).permute(0, 3, 1, 2)
        except ImageError as error:
            if get_worker_info() is None:
                raise
            return error  # raised in a worker it would arrive as text, with the worker's traceback
        return Batch(
            pixels.unflatten(0, frames.shape),
            torch.from_numpy(self.labels[rows]),
            valid=valid,
            camids=torch.from_numpy(self.camids[rows]),
            sources=None if self.sources is None else torch.from_numpy(self.sources[rows]),
            keypoints=None if self.keypoints is None else torch.from_numpy(self.keypoints[frames]),
            attributes=None if self.attributes is None else torch.from_numpy(self.attributes[rows]),
        )

    def _clip(self, row: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        start, end = self.offsets[row : row + 2].tolist()
        frames, real = sample(end - start, self.clip.length, self.clip.sampling, np.random.default_rng(seed))
        return start + frames, real


class Dense(Dataset[Batch]):
    """Dense clips of rows in order; labels say which row a clip is of.

    Args:
        sightings: images or tracklets.
        pixels: every decoded frame.
        size: frames of a clip.
        cameras: those that count as known.
        keypoints: as of `Rows`.
    """

    def __init__(
        self,
        sightings: Sightings,
        pixels: Pixels,
        size: int,
        cameras: list[int],
        keypoints: NDArray[np.float32] | None = None,
    ) -> None:
        self.pixels, self.keypoints = pixels, keypoints
        self.rows, self.frames, self.real = dense(sightings.lengths, size)
        camids = np.full(len(sightings), -1) if sightings.camids is None else sightings.camids
        self.camids = camera_indices(camids, cameras)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, clips: list[int]) -> Batch:
        frames, rows = self.frames[clips], self.rows[clips]
        pixels = torch.from_numpy(self.pixels.read(frames.reshape(-1))).permute(0, 3, 1, 2)
        return Batch(
            pixels.unflatten(0, frames.shape),
            torch.from_numpy(rows),
            valid=torch.from_numpy(self.real[clips]),
            camids=torch.from_numpy(self.camids[rows]),
            keypoints=None if self.keypoints is None else torch.from_numpy(self.keypoints[frames]),
        )


class Seeded:
    """Batches of a sampler whose rows each have a seed for what is drawn of them: the same at every resume.

    Args:
        sampler: of rows.
    """

    def __init__(self, sampler: BatchSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        s = self.sampler
        rng = np.random.default_rng([s.seed, s.epoch, s.rank, 1])
        for rows in s:
            yield list(zip(rows, rng.integers(2**63, size=len(rows)).tolist(), strict=True))


class Loader(pl.LightningDataModule):
    """The training batches of every epoch, and the held-out images.

    Args:
        rows: what is trained on.
        recipe: sampler, seed and workers.
        validation: what is validated on, if anything.
    """

    def __init__(self, rows: Rows, recipe: Recipe | GenerationRecipe, validation: Validation | None = None) -> None:
        super().__init__()
        self.rows, self.recipe, self.validation = rows, recipe, validation
        drawn = sampler(rows, recipe)  # what the rows do not allow is said before the training starts
        if isinstance(drawn, AnchorSampler) and (drawn.per_epoch or 0) > len(drawn.rows):
            rank_zero_only(say)(
                f"sampler.per_epoch={drawn.per_epoch:,}: there are {len(drawn.rows):,} anchors, and an epoch shows all"
            )
        if isinstance(drawn, SpaceTimeSampler):
            rank_zero_only(say)(
                "sampler.kind=space-time: place and time allow a positive for {:.1%} and a negative for {:.1%} of the"
                " rows; the others take any".format(*drawn.possible)
            )

    def train_dataloader(self) -> DataLoader[Batch | ImageError]:
        """Batches of this process, the same at every resume of the same epoch."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        workers = self.recipe.run.workers if isinstance(self.rows.pixels, DecodedOnTheFly) else 0
        return DataLoader(
            self.rows,
            batch_sampler=Seeded(sampler(self.rows, self.recipe, rank, world)),  # type: ignore[arg-type]
            collate_fn=_whole,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
        )

    def on_before_batch_transfer(self, batch: Batch | ImageError, dataloader_idx: int) -> Batch:
        """Raise what a worker met."""
        if isinstance(batch, ImageError):
            raise batch
        return batch

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Send a batch, without waiting for it."""
        return batch.to(device, non_blocking=True)

    def val_dataloader(self) -> Any:
        """The held-out rows in order; every process validates all of them."""
        v = self.validation
        if v is None:
            return []
        rows = Dense(v.rows, v.pixels, v.clip, self.rows.cameras, v.keypoints)
        return DataLoader(rows, batch_size=max(1, 64 // v.clip), collate_fn=_whole)


def sampler(rows: Rows, recipe: Recipe | GenerationRecipe, rank: int = 0, world_size: int = 1) -> BatchSampler:
    """The batch sampler that the recipe asks for.

    Raises:
        InputError: the rows do not allow it.
    """
    made = _sampler(rows, recipe, rank, world_size)
    s = recipe.sampler
    if isinstance(made, AnchorSampler) and isinstance(s, GenerationSamplerSettings):
        made.per_epoch = s.per_epoch
        if len(made) < 1:
            raise InputError(
                f"sampler.per_epoch={s.per_epoch}: they do not fill one batch of {s.anchors} anchors on {world_size}"
                " processes"
            )
    return made


def _sampler(rows: Rows, recipe: Recipe | GenerationRecipe, rank: int, world_size: int) -> BatchSampler:
    s, seed = recipe.sampler, recipe.run.seed
    if isinstance(s, GenerationSamplerSettings) and s.kind == "pairs":
        return TargetPairSampler(rows.labels, s.anchors, s.negatives, seed, rank, world_size)
    if s.kind == "shuffle":
        return ShuffleSampler(len(rows), s.identities * s.instances, seed, rank, world_size)
    if s.kind == "instances":
        return InstanceSampler(rows.labels, s.anchors, seed, rank, world_size)
    if s.kind == "space-time":
        videos, times = place_and_time(rows.sightings)
        return SpaceTimeSampler(rows.labels, videos, times, s.anchors, s.inter_rate, s.gap, seed, rank, world_size)
    return PKSampler(
        rows.labels,
        s.identities,
        s.instances,
        rows.camids if s.camera_aware else None,
        rows.sources if s.source_balanced else None,
        seed,
        rank,
        world_size,
        s.epoch,
    )


def _whole(batch: Batch | ImageError) -> Batch | ImageError:
    """`Rows` already returns a Batch."""
    return batch
