"""The training of pose-guided generation: data with joints, networks, scores, cards."""

from __future__ import annotations

import dataclasses
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import reidentify
from reidentify.data.benchmark import Benchmark
from reidentify.data.console import say
from reidentify.data.pixels import open_pixels
from reidentify.errors import InputError, ReidentifyWarning
from reidentify.generation import GENERATOR
from reidentify.models.weights import Card, Preprocessing, save_weights
from reidentify.pose import resized_joints
from reidentify.ranking.evaluate import match_sightings
from reidentify.training.embedding import finish, tests_of
from reidentify.training.generation.callbacks import CollapseGuard, Pictures
from reidentify.training.generation.module import GenerationTraining
from reidentify.training.generation.networks import build_networks, earlier_stage
from reidentify.training.loader import Loader, Rows
from reidentify.training.recipe import GenerationRecipe
from reidentify.training.session import Session, working_device
from reidentify.training.settings import ClipSettings
from reidentify.training.start import IMAGENET_TERMS, images_terms, licence
from reidentify.training.validation import Validation
from reidentify.values import Sightings


@dataclass(frozen=True)
class Prepared:
    """What a training of generation consists of, ready to begin."""

    module: GenerationTraining
    loader: Loader
    held: Benchmark | None


def prepare(recipe: GenerationRecipe, benchmark: Benchmark, progress: bool) -> Prepared:
    """Read the data, find joints where there are none, and build the networks.

    Frames of tracklets are images of their own here. Images without a seen joint are left out, and so are people of
    whom only one is left, with a line that says how many.

    Raises:
        InputError: the data does not suit the recipe.
        WeightsError: weights to start from do not fit, or are not there.
    """
    rows, held = benchmark.train, None
    if recipe.input.holdout:
        rows, held = benchmark.holdout(recipe.input.holdout, recipe.run.seed)
    if not len(rows):
        raise InputError(f"{benchmark.name} has no training rows")
    for test in tests_of(held, benchmark):
        match_sightings(test.query, test.gallery, test.protocol).require()
    data = posed_rows(rows, recipe, benchmark.name, progress)
    validation = None
    if held is not None:
        i = recipe.input
        validation = Validation(held, (i.height, i.width), i.interpolation, 1, None, progress)
    loader = Loader(data, recipe, validation)
    networks = build_networks(recipe, len(data.identities), benchmark)
    i = recipe.input
    preprocessing = Preprocessing(i.height, i.width, interpolation=i.interpolation)
    return Prepared(GenerationTraining(networks, recipe, preprocessing), loader, held)


def posed_rows(sightings: Sightings, recipe: GenerationRecipe, name: str, progress: bool) -> Rows:
    """Images with their joints in pixels of the resized images; those without a seen joint are left out, and so are
    people of whom there is one image, which no other one goes with.

    Raises:
        InputError: no joint of any image is seen.
    """
    size, images = (recipe.input.height, recipe.input.width), sightings.images()
    joints = resized_joints(images, size, progress, working_device(recipe))
    seen = (joints[..., 2] > 0).any(1)
    if not seen.any():
        raise InputError(f"{name}: no joint is seen in any training image, so no pose is known to draw people in")
    if progress and not seen.all():
        say(f"{np.sum(~seen):,} of {len(seen):,} training images show no joint and are left out")
    rows = np.flatnonzero(seen)
    people, owners, counts = np.unique(images.pids[rows], return_inverse=True, return_counts=True)
    alone = counts == 1
    if alone.any() and not alone.all():  # where all are, the sampler says what to do
        warnings.warn(
            f"{alone.sum()} of {len(people)} training identities have one image with joints and are left out, as it"
            " takes two of a person",
            ReidentifyWarning,
            stacklevel=2,
        )
        rows = rows[~alone[owners]]
    images, joints = images[rows], joints[rows]
    assert images.files is not None
    data = Rows(images, open_pixels(images.files, size, recipe.input.interpolation, progress=progress), ClipSettings())
    data.keypoints = joints
    return data


def train(recipe: GenerationRecipe, benchmark: Benchmark, out: str | os.PathLike[str], progress: bool) -> Path:
    """Train by pose-guided generation; see `training.run.train`.

    `weights.safetensors` is the encoder, an embedding network like any other; `generator.safetensors` and the card
    beside it are all networks, from which `reidentify generate` draws and a later stage goes on.

    Raises:
        InputError: as `prepare`.
        ReidentifyError: the loss is not finite.
    """
    session = Session(recipe, benchmark, out)
    ready = prepare(recipe, benchmark, progress)
    validation = ready.loader.validation
    pictures = Pictures(ready.loader.rows, session.folder, recipe.run.seed)
    callbacks = [pictures, CollapseGuard()] if validation is None else [validation, pictures, CollapseGuard()]
    if session.fit(ready.module, ready.loader, callbacks, "validation/mAP" if validation else "", progress):
        pictures.draw(ready.module.networks.to(session.device), session.device)
        _finish(session, benchmark, ready, progress)
    return session.weights


def _finish(session: Session, benchmark: Benchmark, ready: Prepared, progress: bool) -> None:
    """Write all networks, then score the encoder and write it."""
    recipe, data, networks = ready.module.recipe, ready.loader.rows, ready.module.networks
    start, terms = recipe.model.init, licence(recipe, benchmark)
    start = start if start in ("imagenet", "random") else f"weights {start}"
    if recipe.generator.init != "random":
        start = f"generator {recipe.generator.init}"
        earlier, own = earlier_stage(recipe.generator.init)[1].licence, images_terms(benchmark)
        terms = earlier if own in earlier.split("; ") else f"{earlier}; {own}"
    card = Card(
        name=session.folder.name,
        architecture=dataclasses.asdict(recipe.model),
        preprocessing=ready.module.preprocessing,
        embedding_dim=networks.encoder.embedding_dim,
        data=f"{benchmark.name}: {len(data)} images of {len(data.identities)} identities; started from {start}",
        licence=terms,
        training=dataclasses.asdict(recipe),
        dataset=benchmark.name,
        flip=recipe.run.flip,
        version=reidentify.__version__,
    )
    if recipe.discriminators.init == "imagenet" and IMAGENET_TERMS not in terms:
        terms = f"{terms}; {IMAGENET_TERMS}"
    described = {"encoder": card.architecture, "generator": dataclasses.asdict(recipe.generator)}
    of_all = dataclasses.replace(card, kind="generation", architecture=described, licence=terms)
    save_weights(networks.state_dict(), of_all, session.folder / GENERATOR)
    finish(session, benchmark, ready.held, networks.encoder, card, progress)
