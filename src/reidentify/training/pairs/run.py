"""The training of a pairwise network: data, network, scores, card."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

import reidentify
from reidentify import zoo
from reidentify.batch import Batch
from reidentify.data.benchmark import Benchmark
from reidentify.data.pairs import distinct, positive_pairs
from reidentify.errors import InputError, RecipeError
from reidentify.models.pairs import PairNetwork, build_pairs
from reidentify.models.weights import Card, Preprocessing, load_state, save_weights
from reidentify.pairs import PairModel, score_pairs
from reidentify.training.pairs.callbacks import Mining, PairValidation, judged
from reidentify.training.pairs.loader import PairLoader, PairRows, held_pairs
from reidentify.training.pairs.module import PairTraining
from reidentify.training.recipe import PairRecipe
from reidentify.training.session import Session, working_device
from reidentify.training.start import initial_state, licence
from reidentify.values import Sightings


@dataclass(frozen=True)
class Test:
    """Pairs that the trained network is scored on: the data's name, its rows, and P x 2 row numbers."""

    data: str
    sightings: Sightings
    pairs: NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """What a training of pairs consists of, ready to begin."""

    module: PairTraining
    loader: PairLoader
    card: Card
    tests: list[Test]


def prepare(recipe: PairRecipe, benchmark: Benchmark, progress: bool, name: str = "") -> Prepared:
    """Read the data and build the network. The card lacks only the scores.

    Raises:
        InputError: the data does not suit the recipe, for instance no identity has two images, in training or test.
    """
    rows, held = benchmark.train, None
    if recipe.input.holdout:
        rows, held = benchmark.holdout(recipe.input.holdout, recipe.run.seed)
    if not len(rows):
        raise InputError(f"{benchmark.name} has no training rows")
    network, preprocessing = _network(recipe, benchmark)
    joints, device = network.wants_keypoints, working_device(recipe)
    training = PairRows(rows, recipe, joints, progress, device)
    validation = None if held is None else PairRows(held.test, recipe, joints, progress, device)
    loader, tests = PairLoader(training, recipe, validation), list[Test]()
    if held is not None:
        tests.append(Test(held.name, held.test, loader.held))
    if len(benchmark.test):
        seen = benchmark.test[distinct(benchmark.test)]
        chosen = held_pairs(seen.pids, recipe.pairs.test, recipe.run.seed, f"the test rows of {benchmark.name}")
        tests.append(Test(benchmark.name, seen, chosen))
    card = Card(
        name=name,
        architecture=dataclasses.asdict(recipe.model),
        preprocessing=preprocessing,
        embedding_dim=network.embedding_dim,
        data=f"{benchmark.name}: {len(rows)} images of {len(rows.identities)} identities, "
        f"{len(positive_pairs(rows.pids)):,} pairs of one person; started from {recipe.model.init}",
        licence=licence(recipe, benchmark),
        training=dataclasses.asdict(recipe),
        dataset=benchmark.name,
        version=reidentify.__version__,
        kind="pairs",
    )
    return Prepared(PairTraining(network, recipe, preprocessing), loader, card, tests)


def train(recipe: PairRecipe, benchmark: Benchmark, out: str | os.PathLike[str], progress: bool) -> Path:
    """Train a pairwise network; see `training.run.train`.

    Raises:
        InputError: as `prepare`.
        ReidentifyError: the loss is not finite.
    """
    session = Session(recipe, benchmark, out)
    ready = prepare(recipe, benchmark, progress, session.folder.name)
    callbacks: list[pl.Callback] = []
    if recipe.pairs.mining != "none":
        callbacks.append(Mining(ready.loader, ready.card))
    monitor = ""
    if (held := ready.loader.validation) is not None:
        callbacks.append(PairValidation(held.sightings.pids[ready.loader.held]))
        monitor = "validation/accuracy"
    if session.fit(ready.module, ready.loader, callbacks, monitor, progress):
        _finish(session, ready, progress)
    return session.weights


def _network(recipe: PairRecipe, benchmark: Benchmark) -> tuple[PairNetwork, Preprocessing]:
    i, model = recipe.input, recipe.model
    built_on = model.embedding.get("backbone", "resnet50") if model.kind == "siamese" else model.trunk
    if model.embedding.get("architecture") == "osnet":
        built_on = "osnet"
    if model.init == "imagenet" and built_on in ("published", "osnet"):
        raise InputError(
            f"model.init: there are no ImageNet weights of {'OSNet' if built_on == 'osnet' else 'the published trunk'};"
            f" use random, the name of shipped weights ({', '.join(zoo.names())}), or a path"
        )
    if model.init.endswith(".onnx"):
        raise InputError(
            "model.init: an ONNX file cannot start a pairwise network; turn it into weights with `convert`"
        )
    if recipe.loss.contrastive and model.kind != "siamese":
        raise RecipeError(f"loss.contrastive is of embeddings, and a network of kind {model.kind} has none")
    preprocessing = Preprocessing(i.height, i.width, interpolation=i.interpolation)
    network = build_pairs(model, preprocessing, pretrained=model.init == "imagenet")
    if (state := initial_state(recipe, benchmark)) is not None:
        load_state(network, network.start_of(state), model.init, strict=False)
    try:
        one = Batch(torch.zeros(1, 1, 3, i.height, i.width), torch.zeros(1, dtype=torch.long))
        network.eval()(one, one)
    except (RuntimeError, AssertionError) as error:
        size = f"{i.height} x {i.width}"
        raise InputError(f"input: images of {size} do not suit the network ({str(error).splitlines()[0]})") from None
    return network.train(), preprocessing


def _finish(session: Session, ready: Prepared, progress: bool) -> None:
    """Score the network on held-out and on test pairs, and write weights and card."""
    model = PairModel(ready.module.network, ready.card, session.device)
    scores = []
    for test in ready.tests:
        found = judged(
            score_pairs(model, test.sightings, test.pairs, progress=progress), test.sightings.pids[test.pairs]
        )
        scores.append({"data": test.data, **found.summary()})
        if progress:
            print(f"{test.data}: {found}")
    save_weights(model.network.state_dict(), dataclasses.replace(ready.card, scores=scores), session.weights)
