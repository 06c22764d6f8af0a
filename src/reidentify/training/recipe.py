"""Recipes: everything that decides what a training does, as typed data, read from YAML."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from reidentify import recipes
from reidentify.data.augment import Augment
from reidentify.errors import RecipeError
from reidentify.models.catalogue import ModelSettings


def _positive(section: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is None or not value > 0:
            raise RecipeError(f"{section}.{name}: expected a number above 0, got {value}")


def _share(section: str, settings: object, name: str) -> None:
    value = getattr(settings, name)
    if value is None or not 0 <= value < 1:
        raise RecipeError(f"{section}.{name}: expected a share from 0 to below 1, got {value}")


@dataclass(frozen=True)
class InputSettings:
    """What the network sees.

    Args:
        height: rows an image is resized to.
        width: columns.
        interpolation: of the resize.
        holdout: share of the training identities set aside for validation and calibration; 0 trains on all of them,
            and then nothing is validated.
    """

    height: int = 256
    width: int = 128
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    holdout: float = 0.1

    def __post_init__(self) -> None:
        _positive("input", self, "height", "width")
        _share("input", self, "holdout")


@dataclass(frozen=True)
class SamplerSettings:
    """What makes up a batch, per process.

    Args:
        kind: "pk" (identities x instances) or "shuffle" (as many random rows).
        identities: P.
        instances: K.
        camera_aware: pk: an identity's instances come from as many cameras as possible.
        source_balanced: pk: the same number of identities from each joined data set.
    """

    kind: Literal["pk", "shuffle"] = "pk"
    identities: int = 16
    instances: int = 4
    camera_aware: bool = False
    source_balanced: bool = False

    def __post_init__(self) -> None:
        _positive("sampler", self, "identities", "instances")


@dataclass(frozen=True)
class LossSettings:
    """The sum that is minimised.

    Args:
        cross_entropy: weight of the identity classification.
        label_smoothing: epsilon of (1 - eps) onehot + eps / C.
        triplet: weight of the triplet loss; 0 for none.
        triplet_kind: "hard" (margin), "soft" (soft margin) or "weighted" (weighted-regularised, as in AGW).
        margin: of triplet_kind "hard".
        center: weight of the center loss; 0 for none.
        metric: a loss of pytorch-metric-learning by name (circle, arcface, ...); null for none.
        metric_weight: its weight.
        metric_settings: its settings, e.g. {m: 0.25, gamma: 64}.
    """

    cross_entropy: float = 1.0
    label_smoothing: float = 0.1
    triplet: float = 1.0
    triplet_kind: Literal["hard", "soft", "weighted"] = "hard"
    margin: float = 0.3
    center: float = 0.0
    metric: str | None = None
    metric_weight: float = 1.0
    metric_settings: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _share("loss", self, "label_smoothing")
        if not (self.cross_entropy or self.triplet or self.center or self.metric):
            raise RecipeError("loss: every loss has weight 0, so there is nothing to minimise")


@dataclass(frozen=True)
class OptimiserSettings:
    """How the weights move.

    Args:
        kind: "adam", "adamw" or "sgd" (Nesterov).
        lr: learning rate of the head, after warm-up.
        backbone_lr: factor on `lr` for every layer outside the neck and the classifier.
        weight_decay: L2 for adam and sgd, decoupled for adamw.
        momentum: of sgd.
        amsgrad: of adam and adamw.
        epochs: length of the training.
        schedule: "multistep" (times `gamma` at each milestone) or "cosine" (to `final_lr` times `lr`).
        milestones: epochs.
        gamma: factor at a milestone.
        final_lr: factor at the end of the cosine.
        warmup: epochs over which the rate rises linearly from `warmup_start` times `lr`.
        warmup_start: factor at the first step.
        freeze: epochs during which only the neck and the classifier learn.
        clip: largest norm of the gradient; 0 for none.
        ema: decay of an exponential moving average of the weights, which is then what is validated and kept; 0 for
            none.
    """

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 3.5e-4
    backbone_lr: float = 1.0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    amsgrad: bool = False
    epochs: int = 120
    schedule: Literal["multistep", "cosine"] = "multistep"
    milestones: list[int] = field(default_factory=lambda: [40, 70])
    gamma: float = 0.1
    final_lr: float = 0.0
    warmup: float = 10
    warmup_start: float = 0.01
    freeze: int = 0
    clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        _positive("optimiser", self, "lr", "epochs")
        _share("optimiser", self, "ema")


@dataclass(frozen=True)
class RunSettings:
    """Where and how often.

    Args:
        seed: of every random draw.
        accelerator: as pytorch-lightning names them: "auto", "cpu", "gpu", ...
        devices: processes per node: a number, or "auto" for all.
        nodes: number of machines.
        precision: "32-true", "bf16-mixed" or "16-mixed".
        workers: processes that decode, where the images do not fit into the pixel cache.
        evaluate_every: epochs between validations on the held-out identities.
        checkpoint_every: epochs between checkpoints, from which a killed run resumes.
        select: keep the weights of the "last" epoch or of the "best" validation mAP.
        flip: average an image with its mirror when embedding.
    """

    seed: int = 0
    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    workers: int = 4
    evaluate_every: int = 10
    checkpoint_every: int = 1
    select: Literal["last", "best"] = "last"
    flip: bool = True

    def __post_init__(self) -> None:
        _positive("run", self, "nodes", "evaluate_every", "checkpoint_every")
        if not 0 <= self.seed < 2**32:
            raise RecipeError(f"run.seed: expected a number from 0 to 2**32 - 1, got {self.seed}")


@dataclass(frozen=True)
class Recipe:
    """A training of an embedding network.

    Args:
        description: one sentence for people.
        model: which network.
        input: what it sees.
        sampler: what makes up a batch.
        augment: what is done to a batch.
        loss: the sum that is minimised.
        optimiser: how the weights move.
        run: where and how often.
    """

    description: str = ""
    model: ModelSettings = field(default_factory=ModelSettings)
    input: InputSettings = field(default_factory=InputSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    augment: Augment = field(default_factory=Augment)
    loss: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in Path(recipes.__path__[0]).glob("*.yaml"))


def read_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by name, or from a YAML file, with single settings changed.

    Args:
        name: one of `names()`, or a path to a YAML file. A recipe states only what differs from the defaults.
        changes: "key=value" each, keys with dots, values as in YAML: "optimiser.epochs=20".

    Raises:
        RecipeError: no such recipe, an unknown key (the nearest valid one is named) or a value of the wrong type.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else Path(recipes.__path__[0]) / f"{name}.yaml"
    try:
        raw = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        if path == Path(name):
            raise RecipeError(f"{name}: no such file") from None
        near = difflib.get_close_matches(name, names(), 1, 0)
        raise RecipeError(f"there is no recipe {name!r}, did you mean {near[0]!r}? ({', '.join(names())})") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise RecipeError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: expected settings by name, got {type(raw).__name__}")
    for change in changes:
        _assign(raw, change)
    return recipe_of(raw)


def recipe_of(raw: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data, checked against the types.

    Raises:
        RecipeError: an unknown key or a value of the wrong type.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    _check_keys(Recipe, raw, "")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    try:
        return Recipe(**vars(parser.instantiate(parser.parse_object(dict(raw)))))
    except ArgumentError as error:
        message = " ".join(str(error).split()).removeprefix("Parser key ")
        raise RecipeError(re.sub(r"<class '(\w+)'>", r"\1", message)) from None


def _check_keys(kind: type, raw: Any, prefix: str) -> None:
    if not isinstance(raw, Mapping):
        raise RecipeError(f"{prefix.rstrip('.') or 'recipe'}: expected settings by name, got {raw!r}")
    hints = settings_of(kind)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(f"{prefix}{key}", all_keys(), 1, 0)
            raise RecipeError(f"unknown key {prefix}{key}, did you mean {near[0]}?")
        if dataclasses.is_dataclass(hints[key]):
            _check_keys(typing.cast(type, hints[key]), value, f"{prefix}{key}.")


def _assign(raw: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set wants key=value, got {change!r}")
    *parents, last = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise RecipeError(f"{key}: {parent} has no settings below it")
    try:
        raw[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"{key}: {text!r} is not a YAML value") from None


def settings_of(kind: type) -> dict[str, Any]:
    """Name and type of each setting of a dataclass."""
    return {k: v for k, v in typing.get_type_hints(kind).items() if k in {f.name for f in dataclasses.fields(kind)}}


def all_keys(kind: type = Recipe, prefix: str = "") -> list[str]:
    """Every setting, with dots."""
    keys = []
    for name, hint in settings_of(kind).items():
        keys += all_keys(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]
    return keys
