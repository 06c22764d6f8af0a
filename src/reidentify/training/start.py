"""Where the weights of a training start, and whose terms and people come with them."""

from __future__ import annotations

import warnings
from pathlib import Path

from torch import Tensor

from reidentify import zoo
from reidentify.data.benchmark import Benchmark
from reidentify.data.benchmarks import bases, same_split, trained_on_tested
from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.models.catalogue import ModelSettings
from reidentify.models.convert import load_torchreid, state_from_onnx
from reidentify.models.weights import Card, card_path, read_state
from reidentify.training.recipe import AnyRecipe

IMAGENET_TERMS = "ImageNet weights: research only"


def require_fetchable(model: ModelSettings) -> None:
    """Refuse an OSNet that is to start from ImageNet.

    Raises:
        InputError: there are no such weights.
    """
    if "osnet" in (model.architecture, model.backbone) and model.init == "imagenet":
        raise InputError(
            "model.init: there are no ImageNet weights of OSNet to fetch; use random, the name of shipped weights"
            f" ({', '.join(zoo.names())}), or the path of a torchreid checkpoint"
        )


def initial_state(recipe: AnyRecipe, benchmark: Benchmark) -> dict[str, Tensor] | None:
    """The tensors that `model.init` names; None for "imagenet" and "random".

    Raises:
        WeightsError: there are none of that name.
    """
    init = recipe.model.init
    if init in ("imagenet", "random"):
        return None
    path = zoo.path(init) or Path(init)
    path = path / "weights.safetensors" if path.is_dir() else path
    if path.suffix == ".onnx":
        state = state_from_onnx(path)
    elif path.suffix == ".safetensors":
        state = read_state(path)
    elif path.is_file():
        state = load_torchreid(path)
    else:
        raise WeightsError(f"model.init: {init} is neither a file nor shipped weights ({', '.join(zoo.names())})")
    warn_of_seen_people(recipe, path, benchmark)
    return state


def warn_of_seen_people(recipe: AnyRecipe, weights: Path, benchmark: Benchmark) -> None:
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
            stacklevel=3,
        )


def images_terms(benchmark: Benchmark) -> str:
    """The terms of the images."""
    return benchmark.facts.licence if benchmark.facts else "the training images are the user's own"


def licence(recipe: AnyRecipe, benchmark: Benchmark) -> str:
    """The terms of the images, and those that come with the weights the training started from."""
    images = images_terms(benchmark)
    shipped = zoo.path(recipe.model.init)
    if shipped is not None:
        return f"{images}; started from weights under: {Card.read(card_path(shipped)).licence}"
    return f"{images}; {IMAGENET_TERMS}" if recipe.model.init == "imagenet" else images
