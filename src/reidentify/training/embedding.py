"""The training of an embedding network: data, network, scores, card."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import reidentify
from reidentify import files
from reidentify.attributes import scores as attribute_scores
from reidentify.calibrate import calibrate
from reidentify.data.benchmark import Benchmark
from reidentify.data.console import say
from reidentify.data.pixels import open_pixels
from reidentify.embed import Model, read_sides
from reidentify.errors import InputError, RecipeError
from reidentify.models.batchnorm import refit_batch_norms
from reidentify.models.catalogue import build, start_of
from reidentify.models.video import channels_last
from reidentify.models.weights import (
    Card,
    Preprocessing,
    load_state,
    save_weights,
    without_classifier,
)
from reidentify.pose import resized_joints
from reidentify.ranking.calibration import Calibration
from reidentify.ranking.evaluate import match_sightings
from reidentify.ranking.spacetime import SpaceTime
from reidentify.report.charts import LIGHT
from reidentify.report.verification import reliability
from reidentify.training.loader import Loader, Rows
from reidentify.training.module import EmbeddingTraining
from reidentify.training.objective import Objective
from reidentify.training.recipe import Recipe
from reidentify.training.session import Session, working_device
from reidentify.training.spacetime import fuse, learn, report
from reidentify.training.start import initial_state, licence, require_fetchable
from reidentify.training.validation import Validation
from reidentify.values import Attribute, Embeddings


@dataclass(frozen=True)
class Prepared:
    """What a training of embeddings consists of, ready to begin."""

    module: EmbeddingTraining
    loader: Loader
    held: Benchmark | None
    statistics: SpaceTime | None


def prepare(recipe: Recipe, benchmark: Benchmark, progress: bool) -> Prepared:
    """Read the data and build the network.

    Raises:
        InputError: the data does not suit the recipe.
    """
    rows, held = (benchmark.train, None)
    if recipe.input.holdout:
        rows, held = benchmark.holdout(recipe.input.holdout, recipe.run.seed)
    if not len(rows):
        raise InputError(f"{benchmark.name} has no training rows")
    schema = _schema(recipe, benchmark)
    for test in tests_of(held, benchmark):
        match_sightings(test.query, test.gallery, test.protocol).require()
    statistics = learn(recipe.spacetime, rows, held is not None) if recipe.spacetime.fit else None
    size, interpolation = (recipe.input.height, recipe.input.width), recipe.input.interpolation
    data = Rows(rows, open_pixels(rows.files, size, interpolation, progress=progress), recipe.clip, schema)
    validation = None
    if held is not None:
        validation = Validation(held, size, interpolation, _clip(recipe), recipe.clip.test_frames, progress)
    network, preprocessing = _network(recipe, data, benchmark)
    if getattr(network, "wants_keypoints", False):
        device = working_device(recipe)
        data.keypoints = resized_joints(rows, size, progress, device)
        if validation is not None:
            validation.keypoints = resized_joints(validation.rows, size, progress, device)
    objective = Objective(recipe.loss, len(data.identities), network.embedding_dim, schema)  # type: ignore[arg-type]
    module = EmbeddingTraining(network, objective, recipe, preprocessing)
    return Prepared(module, Loader(data, recipe, validation), held, statistics)


def train(recipe: Recipe, benchmark: Benchmark, out: str | os.PathLike[str], progress: bool) -> Path:
    """Train an embedding network; see `training.run.train`.

    Raises:
        InputError: as `prepare`.
        ReidentifyError: the loss is not finite.
    """
    session = Session(recipe, benchmark, out)
    ready = prepare(recipe, benchmark, progress)
    validation = ready.loader.validation
    callbacks = [] if validation is None else [validation]
    if session.fit(ready.module, ready.loader, callbacks, "validation/mAP" if callbacks else "", progress):
        _finish(session, benchmark, ready, progress)
    return session.weights


def _network(recipe: Recipe, data: Rows, benchmark: Benchmark) -> tuple[nn.Module, Preprocessing]:
    model, init = recipe.model, recipe.model.init
    require_fetchable(model)
    # A classifier that nothing trains would only be waited for.
    classes = len(data.identities) if recipe.loss.cross_entropy else 0
    network = build(model, classes, len(data.cameras), init == "imagenet", data.schema)
    if (state := initial_state(recipe, benchmark)) is not None:
        load_state(network, start_of(model, without_classifier(state), network), init, strict=False)
    preprocessing = Preprocessing(recipe.input.height, recipe.input.width, interpolation=recipe.input.interpolation)
    if init.endswith(".onnx"):
        rows = np.random.default_rng(recipe.run.seed).permutation(len(data.pixels))[:512]
        images = torch.from_numpy(data.pixels.read(rows)).permute(0, 3, 1, 2)
        refit_batch_norms(network, preprocessing.apply(images))
    try:
        network.eval()(torch.zeros(1, 3, recipe.input.height, recipe.input.width))
    except (RuntimeError, AssertionError) as error:
        size = f"{recipe.input.height} x {recipe.input.width}"
        raise InputError(f"input: images of {size} do not suit the network ({str(error).splitlines()[0]})") from None
    return channels_last(network.train()), preprocessing


def _finish(session: Session, benchmark: Benchmark, ready: Prepared, progress: bool) -> None:
    """Describe the network in a card, and `finish`."""
    recipe, data, network = ready.module.recipe, ready.loader.rows, ready.module.network
    start = recipe.model.init if recipe.model.init in ("imagenet", "random") else f"weights {recipe.model.init}"
    rows = "images" if data.is_images else "tracklets"
    card = Card(
        name=session.folder.name,
        architecture=dataclasses.asdict(recipe.model),
        preprocessing=ready.module.preprocessing,
        embedding_dim=int(network.embedding_dim),  # type: ignore[arg-type]
        data=f"{benchmark.name}: {len(data)} {rows} of {len(data.identities)} identities; started from {start}",
        licence=licence(recipe, benchmark),
        training=dataclasses.asdict(recipe),
        cameras=data.cameras if recipe.model.camera_embedding else [],
        dataset=benchmark.name,
        flip=recipe.run.flip,
        clip=_clip(recipe),
        frames=None if data.is_images else recipe.clip.test_frames,
        attributes=[dataclasses.asdict(a) | {"values": list(a.values)} for a in data.schema],
        version=reidentify.__version__,
    )
    finish(session, benchmark, ready.held, network, card, progress, ready.statistics)


def finish(
    session: Session,
    benchmark: Benchmark,
    held: Benchmark | None,
    network: nn.Module,
    card: Card,
    progress: bool,
    statistics: SpaceTime | None = None,
) -> None:
    """Score a network once on held-out identities and on the test split, calibrate it, and write weights and card.

    Args:
        session: of the training.
        benchmark: its data.
        held: the held-out identities, if there are.
        network: to be scored.
        card: lacks only the scores and the calibration.
        progress: show progress bars.
        statistics: of space and time, if they were learned.
    """
    folder = session.folder
    network = network.eval().to(session.device)
    model = Model.of_network(network, card, session.device)

    scores: list[dict[str, Any]] = []
    read = {test: read_sides(model, test, progress=progress) for test in tests_of(held, benchmark)}
    seen = _all_rows(held, *read[held][:2]) if held in read else None
    calibration = _calibrated(folder, model, seen, benchmark.name, progress)
    fusion = None
    if statistics is not None:
        assert isinstance(session.recipe, Recipe)  # no other kind learns them
        settings = session.recipe.spacetime
        own_clocks = benchmark.facts is not None and benchmark.facts.own_clocks
        fusion, clocks = fuse(settings, statistics, seen, folder, own_clocks)
        if progress:
            print(report(clocks))
        _show(folder)
    for test, (query, gallery, told) in read.items():
        result = reidentify.evaluate(query, gallery, test.protocol)
        scores.append({"data": test.name, **result.summary()})
        if told:
            found = attribute_scores(told, test.test.attributes, card.schema)
            scores[-1]["attributes"] = found.to_dict()
            if test is benchmark:
                files.write(folder / "attributes.json", json.dumps(found.to_dict(), indent=2) + "\n")
        if test is not benchmark:
            continue
        result.save(folder)
        if fusion is not None:
            joint = reidentify.evaluate(query, gallery, test.protocol, spacetime=fusion)
            joint.save(folder / "with-spacetime")
            scores.append({"data": test.name, "spacetime": settings.fusion, **joint.summary()})
    card = dataclasses.replace(card, scores=scores, calibration=calibration)
    save_weights(without_classifier(network.state_dict()), card, session.weights)


def _clip(recipe: Recipe) -> int:
    """Frames that the network sees at once."""
    return recipe.clip.length if recipe.model.architecture == "video" else 1


def _schema(recipe: Recipe, benchmark: Benchmark) -> tuple[Attribute, ...]:
    """The attributes that the network is to tell."""
    asked = bool(recipe.loss.attributes or recipe.loss.aitl)
    if not recipe.model.attributes:
        if asked:
            raise RecipeError("loss.attributes and loss.aitl are of a network that tells attributes: model.attributes")
        return ()
    if not benchmark.schema:
        raise InputError(
            f"{benchmark.name} has no attributes to learn: put its table of attributes where docs/data.md says, take"
            " other data, or set model.attributes=false loss.attributes=0 loss.aitl=0"
        )
    if not recipe.loss.attributes:
        raise RecipeError("model.attributes: nothing would train these heads; set loss.attributes above 0")
    return benchmark.schema


def _all_rows(held: Benchmark, query: Embeddings, gallery: Embeddings) -> Embeddings:
    """Every held-out row once."""
    return gallery if held.protocol.queries_in_gallery else Embeddings.concat([query, gallery])


def tests_of(held: Benchmark | None, benchmark: Benchmark) -> list[Benchmark]:
    """What a network is scored on: the held-out identities, and the test split, as far as there are."""
    return [test for test in (held, benchmark) if test is not None and len(test.query) and len(test.gallery)]


def _calibrated(folder: Path, model: Model, seen: Embeddings | None, data: str, progress: bool) -> dict[str, Any]:
    """What similarities mean, for the card, with its picture; empty where too few people were held out to tell."""
    if seen is None:
        return {}
    try:
        if model.wants_keypoints:  # two pictures come without joints
            found = calibrate(model, seen.sightings, data, progress=progress)
        else:
            found = Calibration.fit(seen, data)
    except InputError as error:
        say(f"no calibration: {error}")
        return {}
    files.write(folder / "reliability.png", reliability(found.reliability, found.calibration_error, LIGHT))
    return found.to_dict()


def _show(folder: Path) -> None:
    """Put the pictures of space and time on TensorBoard."""
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name in ("intervals", "network"):
            with Image.open(folder / f"{name}.png") as picture:
                writer.add_image(f"space-time {name}", np.asarray(picture.convert("RGB")), dataformats="HWC")
