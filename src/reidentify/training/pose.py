"""The training of a pose network: joints as batches, heat maps, scores, card."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, get_worker_info

import reidentify
from reidentify import files
from reidentify.batch import Batch
from reidentify.data.benchmark import Benchmark
from reidentify.data.console import say
from reidentify.data.keypoints import resized
from reidentify.data.pixels import DecodedOnTheFly, open_pixels
from reidentify.data.samplers import ShuffleSampler
from reidentify.errors import ImageError, InputError, ReidentifyError
from reidentify.joints import to_market14
from reidentify.models.output import Output
from reidentify.models.pose import PoseNetwork, build_pose, decode
from reidentify.models.posemaps import gaussian_maps, seen
from reidentify.models.weights import Card, Preprocessing, load_state, save_weights
from reidentify.pose import Pck, PoseModel, heat_maps, pck
from reidentify.training.optimiser import hash_seed, optimiser
from reidentify.training.recipe import PoseRecipe
from reidentify.training.session import Session
from reidentify.training.settings import PoseLossSettings
from reidentify.training.start import initial_state, licence
from reidentify.values import Sightings

SCORES = "pose.json"
"""The scores of the trained network, in its folder."""


def train(recipe: PoseRecipe, benchmark: Benchmark, out: str | os.PathLike[str], progress: bool) -> Path:
    """Train a pose network; see `training.run.train`.

    Frames of which no joint is seen say nothing and are left out.

    Raises:
        InputError: the data does not suit the recipe, for instance it has no joints.
        ReidentifyError: the loss is not finite.
    """
    session = Session(recipe, benchmark, out)
    rows, held = benchmark.train, None
    if recipe.input.holdout:
        rows, rest = benchmark.holdout(recipe.input.holdout, recipe.run.seed)
        held = rest.test
    training = PoseRows(rows, recipe, progress, benchmark.name)
    validation = None if held is None else PoseRows(held, recipe, progress, f"the held-out part of {benchmark.name}")
    network, preprocessing = _network(recipe, benchmark)
    module = PoseTraining(network, recipe, preprocessing)
    callbacks = [] if validation is None else [PoseValidation()]
    if session.fit(module, PoseLoader(training, recipe, validation), callbacks, "validation/PCK", progress):
        _finish(session, recipe, benchmark, training.sightings, held, network, preprocessing, progress)
    return session.weights


def _network(recipe: PoseRecipe, benchmark: Benchmark) -> tuple[PoseNetwork, Preprocessing]:
    network = build_pose(recipe.model, recipe.model.init == "imagenet")
    if (state := initial_state(recipe, benchmark)) is not None:
        load_state(network, state, recipe.model.init, strict=False)
    size, interpolation = (recipe.input.height, recipe.input.width), recipe.input.interpolation
    if min(size) < 32:
        raise InputError(f"input: a pose network needs images of at least 32 x 32, got {size[0]} x {size[1]}")
    return network.train().to(memory_format=torch.channels_last), Preprocessing(*size, interpolation=interpolation)


class PoseRows(Dataset["Batch | ImageError"]):
    """Frames with their pixels and joints, fetched a whole batch at a time; labels say which frame it is.

    Args:
        sightings: with files and keypoints; frames without a seen joint are left out.
        recipe: the size of the images.
        progress: show progress bars.
        name: what the rows are called in messages.

    Attributes:
        sightings: the frames that remain, one row each.

    Raises:
        InputError: as `resized`, or no joint of any frame is known and seen.
    """

    def __init__(self, sightings: Sightings, recipe: PoseRecipe, progress: bool, name: str) -> None:
        self.size = recipe.input.height, recipe.input.width
        frames = sightings.images()
        none = f"{name}: no joint is known and seen in any image, and a pose network is trained and scored on joints"
        if frames.keypoints is None:
            raise InputError(none)
        joints = resized(frames, self.size, progress)
        kept = np.flatnonzero((joints[..., 2] > 0).any(1))
        if not len(kept):
            raise InputError(none)
        self.sightings, self.joints = frames[kept], torch.from_numpy(joints[kept])
        assert self.sightings.files is not None
        self.pixels = open_pixels(self.sightings.files, self.size, recipe.input.interpolation, progress=progress)

    def __len__(self) -> int:
        return len(self.joints)

    def __getitems__(self, rows: list[int]) -> Batch | ImageError:
        try:
            pixels = torch.from_numpy(self.pixels.read(rows)).permute(0, 3, 1, 2)
        except ImageError as error:
            if get_worker_info() is None:
                raise
            return error  # raised in a worker it would arrive as text, with the worker's traceback
        return Batch(pixels[:, None], torch.tensor(rows), keypoints=self.joints[rows][:, None])


class PoseLoader(pl.LightningDataModule):
    """Batches of every epoch, and the held-out frames.

    Args:
        rows: what is trained on.
        recipe: batch size, seed and workers.
        validation: what is validated on, if anything.
    """

    def __init__(self, rows: PoseRows, recipe: PoseRecipe, validation: PoseRows | None) -> None:
        super().__init__()
        self.rows, self.recipe, self.validation = rows, recipe, validation

    def train_dataloader(self) -> DataLoader[Batch | ImageError]:
        """Batches of this process, the same at every resume of the same epoch."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        sampler = ShuffleSampler(len(self.rows), self.recipe.sampler.batch, self.recipe.run.seed, rank, world)
        workers = self.recipe.run.workers if isinstance(self.rows.pixels, DecodedOnTheFly) else 0
        return DataLoader(self.rows, batch_sampler=sampler, collate_fn=_whole, num_workers=workers)

    def on_before_batch_transfer(self, batch: Batch | ImageError, dataloader_idx: int) -> Batch:
        """Raise what a worker met."""
        if isinstance(batch, ImageError):
            raise batch
        return batch

    def val_dataloader(self) -> Any:
        """The held-out frames in order."""
        if self.validation is None:
            return []
        return DataLoader(self.validation, batch_size=64, collate_fn=_whole)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Send a batch, without waiting for it."""
        return batch.to(device, non_blocking=True)


def _whole(batch: Any) -> Any:
    """`PoseRows` already returns a Batch."""
    return batch


def losses_of(output: Output, keypoints: Tensor, image: tuple[int, int], s: PoseLossSettings) -> dict[str, Tensor]:
    """What a pose network is trained by.

    Args:
        output: heat maps and logits of visibility.
        keypoints: N x 14 x 3 in pixels of the images.
        image: H, W.
        s: width of the Gaussians, and weights.

    Returns:
        "maps": the squared error of the heat maps of seen joints, each weighted by its visibility; 1 is what an empty
        map of a joint would cost. "visibility": the binary cross-entropy of all joints, an unseen one being 0.
    """
    visibility = seen(keypoints, image)
    whole = torch.cat([keypoints[..., :2].float(), (visibility > 0).float()[..., None]], -1)
    maps = output.maps["joints"].float()
    height, width = maps.shape[-2:]
    target = gaussian_maps(whole, (height, width), image, s.sigma)
    error = ((maps - target) ** 2).sum((2, 3)) / (math.pi * s.sigma**2)
    fit = (error * visibility).sum() / visibility.sum().clamp(min=1e-6)
    assert output.logits is not None
    told = F.binary_cross_entropy_with_logits(output.logits.float(), visibility)
    return {"maps": fit, "visibility": s.visibility * told}


class PoseTraining(pl.LightningModule):
    """Trains a pose network.

    Args:
        network: which.
        recipe: everything else.
        preprocessing: of the network.
    """

    def __init__(self, network: PoseNetwork, recipe: PoseRecipe, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network, self.recipe, self.preprocessing = network, recipe, preprocessing

    def on_train_epoch_start(self) -> None:
        """A freeze leaves the backbone as it is, the running statistics of its batch norms too."""
        learns = self.current_epoch >= self.recipe.optimiser.freeze
        self.network.backbone.requires_grad_(learns).train(learns)

    def training_step(self, batch: Batch, step: int) -> Tensor:
        """One batch, augmented on the training device."""
        # What a step draws, dropout included, depends on these alone, so that a resumed run draws the same.
        seed = hash_seed(self.recipe.run.seed, self.current_epoch, self.global_rank, step)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        fill = torch.tensor(self.preprocessing.mean) * self.preprocessing.scale / 255
        batch = self.recipe.affine(self.recipe.augment(batch, generator, fill), generator)
        assert batch.keypoints is not None
        output = self.network(self._images(batch))
        losses = losses_of(output, batch.keypoints[:, 0], self._size(batch), self.recipe.loss)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise ReidentifyError(
                f"the loss is not finite at epoch {self.current_epoch}, step {step}: lower optimiser.lr, set"
                " optimiser.clip, or train with run.precision=32-true"
            )
        log = {f"loss/{k}": v.detach() for k, v in losses.items()} | {"loss/total": total.detach()}
        self.log_dict(log, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(batch))
        return total

    def validation_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Joints that were "found" and the "truth", B x 14 x 3 each, in pixels of the resized images."""
        maps, visibility = heat_maps(self.network, self._images(batch), self.recipe.run.flip)
        assert batch.keypoints is not None
        return {"found": decode(maps, visibility, self._size(batch)), "truth": batch.keypoints[:, 0]}

    def _images(self, batch: Batch) -> Tensor:
        return self.preprocessing.apply(batch.pixels[:, 0]).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def _size(batch: Batch) -> tuple[int, int]:
        return batch.pixels.shape[-2], batch.pixels.shape[-1]

    def configure_optimizers(self) -> Any:
        """The backbone, and the head at the full rate."""
        body = list(self.network.backbone.parameters())
        inside = set(map(id, body))
        head = [p for p in self.network.parameters() if id(p) not in inside]
        s = self.recipe.optimiser
        return optimiser(s, head, body, int(self.trainer.estimated_stepping_batches) // s.epochs)


class PoseValidation(pl.Callback):
    """Logs `validation/PCK` of the held-out frames, in pixels of the resized images."""

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Forget the last validation."""
        self._seen: list[dict[str, Tensor]] = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the joints."""
        self._seen.append({name: joints.float().cpu() for name, joints in outputs.items()})

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Score."""
        found, truth = (torch.cat([part[name] for part in self._seen]).numpy() for name in ("found", "truth"))
        module.log("validation/PCK", pck(found, truth).mean)


def score(model: PoseModel, sightings: Sightings, progress: bool = True) -> Pck:
    """How right a network is on frames whose joints are known, in pixels of their files.

    Raises:
        InputError: the frames have no joints or no files.
    """
    frames = sightings.images()
    visibility = resized(frames, model.size, progress)[..., 2]  # joints outside the image count as unseen
    truth = to_market14(frames.keypoints if frames.keypoints is not None else []).copy()
    truth[..., 2] = visibility
    return pck(model.keypoints(frames, progress=progress), truth)


def _finish(
    session: Session,
    recipe: PoseRecipe,
    benchmark: Benchmark,
    rows: Sightings,
    held: Sightings | None,
    network: PoseNetwork,
    preprocessing: Preprocessing,
    progress: bool,
) -> None:
    """Score the network once on what was held out and on the queries of each data set; write weights and card."""
    start = recipe.model.init if recipe.model.init in ("imagenet", "random") else f"weights {recipe.model.init}"
    card = Card(
        name=session.folder.name,
        architecture=dataclasses.asdict(recipe.model),
        preprocessing=preprocessing,
        embedding_dim=network.embedding_dim,
        data=f"{benchmark.name}: {len(rows)} images of {len(rows.identities)} identities; started from {start}",
        licence=licence(recipe, benchmark),
        training=dataclasses.asdict(recipe),
        dataset=benchmark.name,
        flip=recipe.run.flip,
        version=reidentify.__version__,
        kind="pose",
    )
    model = PoseModel.of_network(network, card, session.device)
    scores = []
    for name, tested in _tests(benchmark, held).items():
        found = score(model, tested, progress)
        scores.append({"data": name, **found.to_dict()})
        say(f"{name}: {found}")
    files.write(session.folder / SCORES, json.dumps(scores, indent=2) + "\n")
    save_weights(network.state_dict(), dataclasses.replace(card, scores=scores), session.weights)


def _tests(benchmark: Benchmark, held: Sightings | None) -> dict[str, Sightings]:
    """What the network is scored on, by name: held-out identities of each data set, and its queries, if it has joints
    of them."""
    tests: dict[str, Sightings] = {}
    if held is not None and held.sources is not None:
        tests |= {f"{name}-holdout": held[held.sources == name] for name in np.unique(held.sources.astype(str))}
    elif held is not None:
        tests[f"{benchmark.name}-holdout"] = held
    tests |= {f"{part.name}, queries": part.query for part in benchmark.parts or (benchmark,)}
    return {k: v for k, v in tests.items() if v.keypoints is not None and (v.keypoints[..., 2] > 0).any()}
