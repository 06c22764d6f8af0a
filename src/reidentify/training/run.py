"""A training from a recipe to weights: run folder, resume, selection, card."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import reidentify
from reidentify import files, zoo
from reidentify.attributes import scores as attribute_scores
from reidentify.data.benchmark import Benchmark
from reidentify.data.benchmarks import bases, same_split, trained_on_tested
from reidentify.data.console import console, say
from reidentify.data.pixels import open_pixels
from reidentify.embed import Model, read_sides
from reidentify.errors import InputError, RecipeError, ReidentifyWarning, WeightsError
from reidentify.models.batchnorm import refit_batch_norms
from reidentify.models.catalogue import build, start_of
from reidentify.models.convert import load_torchreid, state_from_onnx
from reidentify.models.video import channels_last
from reidentify.models.weights import (
    Card,
    Preprocessing,
    card_path,
    load_state,
    read_state,
    save_weights,
    without_classifier,
)
from reidentify.ranking.calibration import Calibration
from reidentify.ranking.evaluate import match_sightings
from reidentify.ranking.spacetime import SpaceTime
from reidentify.report.charts import LIGHT
from reidentify.report.verification import reliability
from reidentify.training.history import History
from reidentify.training.loader import Loader, Rows
from reidentify.training.module import EmbeddingTraining
from reidentify.training.objective import Objective
from reidentify.training.recipe import Recipe
from reidentify.training.spacetime import fuse, learn, report
from reidentify.training.validation import Validation
from reidentify.values import Attribute, Embeddings

WEIGHTS = "weights.safetensors"
DESCRIPTION = "recipe.json"


def train(recipe: Recipe, benchmark: Benchmark, out: str | os.PathLike[str], progress: bool = True) -> Path:
    """Train an embedding network.

    Args:
        recipe: what to do.
        benchmark: its `train` rows are trained on, less the identities that `recipe.input.holdout` sets aside; its
            query and gallery are looked at once, when the training is over, for the scores in the card.
        out: run folder. A new one is made; one that holds an unfinished run of the same recipe and data is resumed.
        progress: show progress bars.

    Returns:
        The path of `weights.safetensors`; its card, the recipe, the curves, TensorBoard's log and, if there are query
        and gallery, `metrics.json` lie beside it.

    Raises:
        InputError: the folder holds anything else.
        ReidentifyError: the loss is not finite.
    """
    folder, s = Path(out), recipe.run
    stated = {"recipe": dataclasses.asdict(recipe), "data": benchmark.name, "rows": len(benchmark.train)}
    description = json.dumps(stated, indent=2) + "\n"
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if first:
        _check_folder(folder, description)
    pl.seed_everything(s.seed, workers=True, verbose=False)
    rows, held = (benchmark.train, None)
    if recipe.input.holdout:
        rows, held = benchmark.holdout(recipe.input.holdout, s.seed)
    if not len(rows):
        raise InputError(f"{benchmark.name} has no training rows")
    schema = _schema(recipe, benchmark)
    for test in _tests(held, benchmark):
        match_sightings(test.query, test.gallery, test.protocol).require()
    statistics = learn(recipe.spacetime, rows, held is not None) if recipe.spacetime.fit else None
    size, interpolation = (recipe.input.height, recipe.input.width), recipe.input.interpolation
    data = Rows(rows, open_pixels(rows.files, size, interpolation, progress=progress), recipe.clip, schema)
    clip = _clip(recipe)
    validation = None
    if held is not None:
        validation = Validation(held, size, interpolation, clip, recipe.clip.test_frames, progress)
    network, preprocessing = _network(recipe, data, benchmark)
    objective = Objective(recipe.loss, len(data.identities), network.embedding_dim, schema)  # type: ignore[arg-type]
    module = EmbeddingTraining(network, objective, recipe, preprocessing)
    trainer = _trainer(recipe, folder, validation, progress)

    # Only now that everything the training needs has been read and built is anything written.
    if first:
        files.write(folder / DESCRIPTION, description)
    last, best = (folder / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    checkpoint = _read_checkpoint(last)
    if checkpoint is not None and first:
        say(f"resuming from {last}")
    if checkpoint is not None and checkpoint["epoch"] + 1 >= recipe.optimiser.epochs:
        module.load_state_dict(checkpoint["state_dict"])  # the moving average, where there is one
    else:
        resumed = last if checkpoint is not None else None
        trainer.fit(module, datamodule=Loader(data, recipe, validation), ckpt_path=resumed, weights_only=True)
    if not trainer.is_global_zero:
        return folder / WEIGHTS
    if s.select == "best" and (chosen := _read_checkpoint(best)) is not None:
        module.load_state_dict(chosen["state_dict"])
    return _finish(folder, recipe, benchmark, held, statistics, data, network, preprocessing, progress)


class _WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, so that a kill leaves the last one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with files.whole(path) as partial:
            torch.save(checkpoint, partial)


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """A checkpoint of ours, or None if there is none. It holds tensors and numbers; no code is unpickled."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no type for a file that is none of its own
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a checkpoint that can be resumed ({reason}); give another folder") from None


def _check_folder(folder: Path, description: str) -> None:
    """The folder must be new, or hold an unfinished run of the same description."""
    stated = folder / DESCRIPTION
    if not stated.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is no run of this program; give another folder with --out")
        return
    if (folder / WEIGHTS).exists():
        raise InputError(f"{folder} holds a finished run; give another folder with --out")
    if stated.read_text() != description:
        try:
            theirs = json.loads(stated.read_text())
        except ValueError:
            raise InputError(f"{stated} is not the description of a run; give another folder with --out") from None
        where = _difference(theirs, json.loads(description))
        raise InputError(
            f"{folder} holds a run of another recipe or data ({where} differs); give another folder with --out"
        )


def _difference(a: Any, b: Any, prefix: str = "") -> str:
    """The first key in which two run descriptions differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*b, *a]):
            if a.get(key) != b.get(key):
                return _difference(a.get(key), b.get(key), f"{prefix}{key}.")
    return prefix.rstrip(".")


def _network(recipe: Recipe, data: Rows, benchmark: Benchmark) -> tuple[nn.Module, Preprocessing]:
    model, init = recipe.model, recipe.model.init
    if "osnet" in (model.architecture, model.backbone) and init == "imagenet":
        raise InputError(
            "model.init: there are no ImageNet weights of OSNet to fetch; use random, the name of shipped weights"
            f" ({', '.join(zoo.names())}), or the path of a torchreid checkpoint"
        )
    # A classifier that nothing trains would only be waited for.
    classes = len(data.identities) if recipe.loss.cross_entropy else 0
    network = build(model, classes, len(data.cameras), init == "imagenet", data.schema)
    if init not in ("imagenet", "random"):
        path = zoo.path(init) or Path(init)
        state = read_state(path) if path.suffix == ".safetensors" else None
        if path.suffix == ".onnx":
            state = state_from_onnx(path)
        if state is None:
            if not path.is_file():
                raise WeightsError(
                    f"model.init: {init} is neither a file nor shipped weights ({', '.join(zoo.names())})"
                )
            state = load_torchreid(path)
        _warn_of_seen_people(recipe, path, benchmark)
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


def _warn_of_seen_people(recipe: Recipe, weights: Path, benchmark: Benchmark) -> None:
    """Say so if people who are held out or tested here were trained on by the weights that the training starts from."""
    if not card_path(weights).exists():
        return
    card = Card.read(card_path(weights))
    if not bases(card.dataset) & bases(benchmark.name):
        return
    flattered, advice = [], "start from other weights"
    theirs = card.training.get("input", {}).get("holdout"), card.training.get("run", {}).get("seed")
    known = same_split(card.dataset, benchmark.name)
    if recipe.input.holdout and not (known and theirs == (recipe.input.holdout, recipe.run.seed)):
        flattered.append("held out")
        if known and theirs[0]:
            advice = f"hold out the same ones with input.holdout={theirs[0]} and run.seed={theirs[1]}"
    if len(benchmark.query) and trained_on_tested(card.dataset, benchmark.name):
        flattered.append("tested")
    if flattered:
        warnings.warn(
            f"{card.name} was trained on {card.dataset}, whose people may be among those who are"
            f" {' and '.join(flattered)} here, and those scores flatter: {advice}",
            ReidentifyWarning,
            stacklevel=2,
        )


def _trainer(recipe: Recipe, folder: Path, validation: Validation | None, progress: bool) -> pl.Trainer:
    s, o = recipe.run, recipe.optimiser
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Said by Lightning of choices that are made on purpose here.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", ".*The number of training batches.*is smaller than the logging interval.*")
    parallel = s.nodes > 1 or (s.devices not in ("auto", 1) if s.accelerator == "cpu" else True)
    checkpoints = folder / "checkpoints"
    keep: dict[str, Any] = {"dirpath": checkpoints, "enable_version_counter": False}
    callbacks: list[Callback] = [EMAWeightAveraging(decay=o.ema)] if o.ema else []
    callbacks += [validation] if validation else []
    callbacks += [
        History(folder),
        ModelCheckpoint(
            filename="last", every_n_epochs=s.checkpoint_every, save_on_train_epoch_end=True, save_top_k=1, **keep
        ),
    ]
    if validation and s.select == "best":
        callbacks.append(ModelCheckpoint(filename="best", monitor="validation/mAP", mode="max", **keep))
    if progress and console().is_terminal:
        callbacks.append(RichProgressBar(leave=False))
    try:
        return pl.Trainer(
            accelerator=s.accelerator,
            devices=s.devices if s.accelerator != "cpu" or s.devices != "auto" else 1,
            num_nodes=s.nodes,
            # Layers that a freeze leaves out of a step would make plain DDP wait for their gradients.
            strategy="ddp_find_unused_parameters_true" if o.freeze and parallel else "auto",
            precision=s.precision,
            sync_batchnorm=s.sync_batchnorm,
            max_epochs=o.epochs,
            gradient_clip_val=o.clip or None,
            check_val_every_n_epoch=s.evaluate_every,
            num_sanity_val_steps=0,
            limit_val_batches=None if validation else 0,
            use_distributed_sampler=False,
            callbacks=callbacks,
            plugins=[_WholeCheckpoints()],
            logger=TensorBoardLogger(str(folder), name="", version="tensorboard"),
            enable_progress_bar=progress and console().is_terminal,
            enable_model_summary=False,
            default_root_dir=folder,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        raise RecipeError(f"run: {' '.join(str(error).split())}") from None


def _finish(
    folder: Path,
    recipe: Recipe,
    benchmark: Benchmark,
    held: Benchmark | None,
    statistics: SpaceTime | None,
    data: Rows,
    network: nn.Module,
    preprocessing: Preprocessing,
    progress: bool,
) -> Path:
    """Score the network once on held-out identities and on the test split, calibrate it, and write weights and card."""
    start = recipe.model.init if recipe.model.init in ("imagenet", "random") else f"weights {recipe.model.init}"
    rows = "images" if data.is_images else "tracklets"
    card = Card(
        name=folder.name,
        architecture=dataclasses.asdict(recipe.model),
        preprocessing=preprocessing,
        embedding_dim=int(network.embedding_dim),  # type: ignore[arg-type]
        data=f"{benchmark.name}: {len(data)} {rows} of {len(data.identities)} identities; started from {start}",
        licence=_licence(recipe, benchmark),
        training=dataclasses.asdict(recipe),
        cameras=data.cameras if recipe.model.camera_embedding else [],
        dataset=benchmark.name,
        flip=recipe.run.flip,
        clip=_clip(recipe),
        frames=None if data.is_images else recipe.clip.test_frames,
        attributes=[dataclasses.asdict(a) | {"values": list(a.values)} for a in data.schema],
        version=reidentify.__version__,
    )
    device = torch.device("cuda" if torch.cuda.is_available() and recipe.run.accelerator != "cpu" else "cpu")
    network = network.eval().to(device)
    model = Model.of_network(network, card, device)

    scores: list[dict[str, Any]] = []
    read = {test: read_sides(model, test, progress=progress) for test in _tests(held, benchmark)}
    seen = _all_rows(held, *read[held][:2]) if held in read else None
    calibration = _calibrated(folder, seen, benchmark.name)
    fusion = None
    if statistics is not None:
        own_clocks = benchmark.facts is not None and benchmark.facts.own_clocks
        fusion, clocks = fuse(recipe.spacetime, statistics, seen, folder, own_clocks)
        if progress:
            print(report(clocks))
        _show(folder)
    for test, (query, gallery, told) in read.items():
        result = reidentify.evaluate(query, gallery, test.protocol)
        scores.append({"data": test.name, **result.summary()})
        if told:
            found = attribute_scores(told, test.test.attributes, data.schema)
            scores[-1]["attributes"] = found.to_dict()
            if test is benchmark:
                files.write(folder / "attributes.json", json.dumps(found.to_dict(), indent=2) + "\n")
        if test is not benchmark:
            continue
        result.save(folder)
        if fusion is not None:
            joint = reidentify.evaluate(query, gallery, test.protocol, spacetime=fusion)
            joint.save(folder / "with-spacetime")
            scores.append({"data": test.name, "spacetime": recipe.spacetime.fusion, **joint.summary()})
    card = dataclasses.replace(card, scores=scores, calibration=calibration)
    save_weights(without_classifier(network.state_dict()), card, folder / WEIGHTS)
    return folder / WEIGHTS


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


def _tests(held: Benchmark | None, benchmark: Benchmark) -> list[Benchmark]:
    """What a network is scored on: the held-out identities, and the test split, as far as there are."""
    return [test for test in (held, benchmark) if test is not None and len(test.query) and len(test.gallery)]


def _calibrated(folder: Path, seen: Embeddings | None, data: str) -> dict[str, Any]:
    """What similarities mean, for the card, with its picture; empty where too few people were held out to tell."""
    if seen is None:
        return {}
    try:
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


def _licence(recipe: Recipe, benchmark: Benchmark) -> str:
    """The terms of the images, and those that come with the weights the training started from."""
    images = benchmark.facts.licence if benchmark.facts else "the training images are the user's own"
    shipped = zoo.path(recipe.model.init)
    if shipped is not None:
        return f"{images}; started from weights under: {Card.read(card_path(shipped)).licence}"
    return f"{images}; ImageNet weights: research only" if recipe.model.init == "imagenet" else images
