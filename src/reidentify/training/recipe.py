"""Recipes: everything that decides what a training does, as typed data, read from YAML."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from reidentify import recipes
from reidentify.data.augment import Augment
from reidentify.errors import RecipeError
from reidentify.hints import fits, words
from reidentify.models.catalogue import ModelSettings

# What numbers must be where their type alone would let nonsense through: in words, as a test, and which.
_RANGES: list[tuple[str, Callable[[float], bool], str]] = [
    (
        "above 0",
        lambda v: 0 < v < math.inf,
        "optimiser.lr optimiser.gamma model.width spacetime.bin_width spacetime.sigma",
    ),
    (
        "of at least 1",
        lambda v: 1 <= v < math.inf,
        "model.embedding_dim model.parts input.height input.width clip.length clip.test_frames"
        " sampler.identities sampler.instances optimiser.epochs optimiser.milestones spacetime.bins run.nodes"
        " run.evaluate_every run.checkpoint_every",
    ),
    (
        "of at least 0",
        lambda v: 0 <= v < math.inf,
        "augment.pad loss.cross_entropy loss.triplet loss.margin loss.attributes loss.aitl loss.center"
        " loss.metric_weight optimiser.backbone_lr optimiser.weight_decay optimiser.warmup optimiser.freeze"
        " optimiser.clip run.workers spacetime.visit_gap",
    ),
    (
        "from 0 to 1",
        lambda v: 0 <= v <= 1,
        "augment.flip augment.erase augment.erase_area augment.patch augment.brightness augment.contrast"
        " augment.saturation optimiser.final_lr optimiser.warmup_start",
    ),
    (
        "from 0 to below 1",
        lambda v: 0 <= v < 1,
        "input.holdout loss.label_smoothing optimiser.momentum optimiser.ema",
    ),
    ("above 0 and at most 1", lambda v: 0 < v <= 1, "augment.erase_aspect"),
    ("from 0 to 2**32 - 1", lambda v: 0 <= v < 2**32, "run.seed"),
]


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


@dataclass(frozen=True)
class ClipSettings:
    """What is seen of a tracklet. Of images there is nothing to choose.

    Args:
        length: T, frames of a clip. A network of images sees them one by one, each labelled as its tracklet.
        sampling: which frames in training: "evenly", "random", "consecutive" or "restricted" (one at random from each
            of T chunks). A tracklet shorter than T gives all its frames.
        test_frames: frames of a tracklet that are looked at in tests, evenly spread; null for all of them.
    """

    length: int = 4
    sampling: Literal["evenly", "random", "consecutive", "restricted"] = "restricted"
    test_frames: int | None = None


@dataclass(frozen=True)
class SamplerSettings:
    """What makes up a batch, per process.

    Args:
        kind: "pk" (identities x instances) or "shuffle" (as many random rows).
        identities: P.
        instances: K.
        camera_aware: pk: an identity's instances come from as many cameras as possible.
        source_balanced: pk: the same number of identities from each joined data set.
        epoch: pk: an epoch ends when about all "rows" were seen, or when each of the "identities" was, once.
    """

    kind: Literal["pk", "shuffle"] = "pk"
    identities: int = 16
    instances: int = 4
    camera_aware: bool = False
    source_balanced: bool = False
    epoch: Literal["rows", "identities"] = "rows"


@dataclass(frozen=True)
class LossSettings:
    """The sum that is minimised.

    Args:
        cross_entropy: weight of the identity classification.
        label_smoothing: epsilon of (1 - eps) onehot + eps / C.
        triplet: weight of the triplet loss; 0 for none.
        triplet_kind: "hard" (margin), "soft" (soft margin) or "weighted" (weighted-regularised, as in AGW).
        margin: of triplet_kind "hard".
        distance: of the triplet loss and AITL: "euclidean", or "cosine" (1 - cosine).
        attributes: weight of the attribute losses, one for each group.
        attribute_kind: "bce" (each value on its own, as published with AITL) or "cross-entropy" (one value of each).
        aitl: weight of AITL, the attribute-driven triplet loss within an identity, for each group of attributes.
        aitl_kind: "aitl" (the anchor is none of its own positives) or "aitl-released" (it is, as in the code released
            with the paper, where the loss then is the distance to the positive most different in attributes).
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
    distance: Literal["euclidean", "cosine"] = "euclidean"
    attributes: float = 0.0
    attribute_kind: Literal["bce", "cross-entropy"] = "cross-entropy"
    aitl: float = 0.0
    aitl_kind: Literal["aitl", "aitl-released"] = "aitl"
    center: float = 0.0
    metric: str | None = None
    metric_weight: float = 1.0
    metric_settings: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not (self.cross_entropy or self.triplet or self.center or self.metric):
            raise RecipeError("loss: every loss has weight 0, so there is nothing to minimise")


@dataclass(frozen=True)
class OptimiserSettings:
    """How the weights move.

    Args:
        kind: "adam", "adamw" or "sgd" (Nesterov).
        lr: learning rate of the head, after warm-up.
        backbone_lr: factor on `lr` for every layer outside the head (what follows the backbone).
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
        freeze: epochs during which only the head (what follows the backbone) learns.
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


@dataclass(frozen=True)
class RunSettings:
    """Where and how often.

    Args:
        seed: of every random draw.
        accelerator: as pytorch-lightning names them: "auto", "cpu", "gpu", ...
        devices: processes per node: a number, or "auto" for all.
        nodes: number of machines.
        precision: "32-true", "bf16-mixed" or "16-mixed".
        sync_batchnorm: statistics of BatchNorm over all processes.
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
    sync_batchnorm: bool = False
    workers: int = 4
    evaluate_every: int = 10
    checkpoint_every: int = 1
    select: Literal["last", "best"] = "last"
    flip: bool = True


@dataclass(frozen=True)
class SpaceTimeSettings:
    """How long people take from camera to camera, learned from the training rows beside the network.

    Args:
        fit: learn it and write spacetime.safetensors; the training data needs cameras and times.
        bin_width: of the histograms of intervals, in seconds.
        bins: per direction; longer intervals are taken for the longest.
        visits: "cluster" the sightings of an identity at a camera into visits, or take their "mean" (as published).
        visit_gap: seconds without a sighting that end a visit.
        fusion: "calibrated" log-odds, learned on the held-out identities, or "published" logistic smoothing.
        sigma: bandwidth of the published fusion, in bins.
    """

    fit: bool = False
    bin_width: float = 4.0
    bins: int = 5000
    visits: Literal["cluster", "mean"] = "cluster"
    visit_gap: float = 60.0
    fusion: Literal["calibrated", "published"] = "calibrated"
    sigma: float = 50.0


@dataclass(frozen=True)
class Recipe:
    """A training of an embedding network.

    Args:
        description: one sentence for people.
        model: which network.
        input: what it sees.
        clip: what it sees of a tracklet.
        sampler: what makes up a batch.
        augment: what is done to a batch.
        loss: the sum that is minimised.
        optimiser: how the weights move.
        run: where and how often.
        spacetime: what is learned of cameras and times.
    """

    description: str = ""
    model: ModelSettings = field(default_factory=ModelSettings)
    input: InputSettings = field(default_factory=InputSettings)
    clip: ClipSettings = field(default_factory=ClipSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    augment: Augment = field(default_factory=Augment)
    loss: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)
    spacetime: SpaceTimeSettings = field(default_factory=SpaceTimeSettings)

    def __post_init__(self) -> None:
        _check_ranges(self)


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in Path(recipes.__path__[0]).glob("*.yaml"))


def read_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by name, or from a YAML file, with single settings changed.

    Args:
        name: one of `names()`, or a path to a YAML file. A recipe states only what differs from the defaults.
        changes: "key=value" each, keys with dots, values as in YAML: "optimiser.epochs=20".

    Raises:
        RecipeError: no such recipe, an unknown key (the nearest valid one is named), or a value of the wrong type or
            outside its range.
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
    """A recipe from plain data, checked against types and ranges.

    Raises:
        RecipeError: an unknown key, or a value of the wrong type or outside its range.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    _check_keys(Recipe, raw, "")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    try:
        parsed = parser.parse_object(dict(raw))
    except ArgumentError as error:
        (key,) = re.findall(r'^Parser key "([\w.]+)"', str(error))
        parts = key.split(".")
        hint = functools.reduce(lambda kind, part: settings_of(kind)[part], parts, Recipe)
        value = functools.reduce(operator.getitem, parts, raw)
        raise RecipeError(f"{key}: expected {words(hint)}, got {value!r}") from None
    _check_ranges(parsed)  # here already, for what a section itself refuses it does not name by its key
    return Recipe(**vars(parser.instantiate(parsed)))


def _check_ranges(settings: Any) -> None:
    for expected, holds, keys in _RANGES:
        for key in keys.split():
            value = operator.attrgetter(key)(settings)
            numbers = value if isinstance(value, (list, tuple)) else [value]
            if not all(holds(number) for number in numbers if number is not None):
                raise RecipeError(f"{key}: expected a number {expected}, got {value}")


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
        elif value is None and not fits(None, hints[key]):
            raise RecipeError(f"{prefix}{key}: expected {words(hints[key])}, got null")


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
