"""Recipes: the sections of each kind of training, read from YAML and checked."""

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
from typing import Any, Literal, TypeAlias

import yaml

from reidentify import recipes
from reidentify.data.affine import Affine
from reidentify.data.augment import Augment
from reidentify.errors import RecipeError
from reidentify.hints import fits, words
from reidentify.joints import MARKET14
from reidentify.models.catalogue import ModelSettings
from reidentify.models.generation.settings import DiscriminatorSettings, GeneratorSettings
from reidentify.models.pairs.settings import PairSettings
from reidentify.models.pose_settings import PoseSettings
from reidentify.training.generation.settings import (
    GenerationLossSettings,
    GenerationRates,
    GenerationSamplerSettings,
)
from reidentify.training.settings import (
    ClipSettings,
    InputSettings,
    LossSettings,
    OptimiserSettings,
    PairLossSettings,
    PairsSettings,
    PoseLossSettings,
    PoseSamplerSettings,
    RunSettings,
    SamplerSettings,
    SpaceTimeSettings,
)

# What numbers must be where their type alone would let nonsense through: in words, as a test, and which.
_RANGES: list[tuple[str, Callable[[float], bool], str]] = [
    (
        "above 0",
        lambda v: 0 < v < math.inf,
        "optimiser.lr optimiser.gamma model.width spacetime.bin_width spacetime.sigma loss.sigma pairs.mining_margin"
        " sampler.gap loss.reconstruction rates.generator rates.image rates.pose generator.sigma",
    ),
    (
        "of at least 1",
        lambda v: 1 <= v < math.inf,
        "model.embedding_dim model.parts input.height input.width clip.length clip.test_frames"
        " sampler.identities sampler.instances optimiser.epochs optimiser.milestones spacetime.bins run.nodes"
        " sampler.batch model.channels run.evaluate_every run.checkpoint_every pairs.negatives pairs.per_epoch"
        " pairs.batch pairs.mine_after pairs.mine_every pairs.mine_nearest pairs.mine_candidates pairs.test"
        " sampler.anchors sampler.per_epoch generator.channels generator.pose_features discriminators.channels",
    ),
    (
        "of at least 0",
        lambda v: 0 <= v < math.inf,
        "augment.pad loss.cross_entropy loss.triplet loss.margin loss.attributes loss.aitl loss.center"
        " loss.metric_weight loss.contrastive loss.visibility optimiser.backbone_lr optimiser.weight_decay"
        " optimiser.warmup optimiser.freeze optimiser.clip optimiser.decay optimiser.power run.workers"
        " spacetime.visit_gap loss.image loss.pose loss.same_pose loss.verification rates.weight_decay generator.noise"
        " sampler.negatives",
    ),
    (
        "from 0 to 1",
        lambda v: 0 <= v <= 1,
        "augment.flip augment.erase augment.erase_area augment.patch augment.brightness augment.contrast"
        " augment.saturation optimiser.final_lr optimiser.warmup_start pairs.mined_share sampler.inter_rate loss.swap"
        " loss.smooth_real loss.smooth_fake loss.flip_labels",
    ),
    (
        "from 0 to below 1",
        lambda v: 0 <= v < 1,
        "input.holdout loss.label_smoothing optimiser.momentum optimiser.ema optimiser.beta generator.dropout",
    ),
    ("above 0 and at most 1", lambda v: 0 < v <= 1, "augment.erase_aspect"),
    ("that is even and at least 4", lambda v: 4 <= v < math.inf and v % 2 == 0, "model.region_cells"),
    ("from 0 to 2**32 - 1", lambda v: 0 <= v < 2**32, "run.seed"),
]


@dataclass(frozen=True)
class Common:
    """What every training has.

    Args:
        description: one sentence for people.
        input: what the network sees.
        augment: what is done to a batch.
        optimiser: how the weights move.
        run: where and how often.
    """

    description: str = ""
    input: InputSettings = field(default_factory=InputSettings)
    augment: Augment = field(default_factory=Augment)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        _check_ranges(self)
        if self.optimiser.train and not isinstance(self, Recipe):
            raise RecipeError("optimiser.train: only the layers of an embedding network can be chosen")
        if self.optimiser.freeze and not isinstance(self, (Recipe, PoseRecipe)):
            raise RecipeError("optimiser.freeze: only of an embedding or a pose network can the backbone be frozen")
        o = self.optimiser
        if o.schedule == "linear" and (len(o.milestones) != 1 or o.milestones[0] >= o.epochs):
            raise RecipeError(
                f"optimiser.milestones: schedule linear falls from one milestone below the {o.epochs} epochs on, got"
                f" {o.milestones}"
            )


@dataclass(frozen=True)
class Recipe(Common):
    """A training of an embedding network.

    Args:
        kind: what is trained.
        model: which network.
        clip: what it sees of a tracklet.
        sampler: what makes up a batch.
        loss: the sum that is minimised.
        spacetime: what is learned of cameras and times.
    """

    kind: Literal["embedding"] = "embedding"
    model: ModelSettings = field(default_factory=ModelSettings)
    clip: ClipSettings = field(default_factory=ClipSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    spacetime: SpaceTimeSettings = field(default_factory=SpaceTimeSettings)


@dataclass(frozen=True)
class PairRecipe(Common):
    """A training of a pairwise network.

    Args:
        kind: what is trained.
        model: which network.
        pairs: which pairs are shown.
        loss: the sum that is minimised.
    """

    input: InputSettings = field(default_factory=lambda: InputSettings(height=160, width=60))
    kind: Literal["pairs"] = "pairs"
    model: PairSettings = field(default_factory=PairSettings)
    pairs: PairsSettings = field(default_factory=PairsSettings)
    loss: PairLossSettings = field(default_factory=PairLossSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        p = self.pairs
        if p.mining != "none" and (p.mine_after >= self.optimiser.epochs or not p.mined_share):
            raise RecipeError(
                f"pairs.mining: nothing mined would be shown in {self.optimiser.epochs} epochs with pairs.mine_after="
                f"{p.mine_after} and pairs.mined_share={p.mined_share}"
            )


@dataclass(frozen=True)
class PoseRecipe(Common):
    """A training of a pose network.

    Args:
        kind: what is trained.
        model: which network.
        affine: rotation and scaling, after `augment`.
        sampler: what makes up a batch.
        loss: the sum that is minimised.
    """

    input: InputSettings = field(default_factory=lambda: InputSettings(height=128, width=64))
    kind: Literal["pose"] = "pose"
    model: PoseSettings = field(default_factory=PoseSettings)
    affine: Affine = field(default_factory=Affine)
    sampler: PoseSamplerSettings = field(default_factory=PoseSamplerSettings)
    loss: PoseLossSettings = field(default_factory=PoseLossSettings)


@dataclass(frozen=True)
class GenerationRecipe(Common):
    """A training of an embedding network by pose-guided generation: a generator must redraw people from its features.

    Args:
        kind: what is trained.
        method: "fd-gan" (pairs of images, redrawn as one target) or "st-reidnet" (triplets in each other's poses).
        stage: "all" learn; the "generator" and the discriminators alone, the encoder being frozen; or "joint": all
            learn, and the batch norms of encoder and image discriminator keep their statistics.
        model: the encoder, of architecture baseline.
        generator: what draws.
        discriminators: what judges it. Of st-reidnet the batch norms of the image discriminator keep their statistics,
            unless it starts at random.
        sampler: what makes up a batch.
        loss: the sums that are minimised.
        rates: how generator and discriminators move; `optimiser` is the encoder's.
    """

    kind: Literal["generation"] = "generation"
    method: Literal["fd-gan", "st-reidnet"] = "st-reidnet"
    stage: Literal["all", "generator", "joint"] = "all"
    model: ModelSettings = field(default_factory=ModelSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    discriminators: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    sampler: GenerationSamplerSettings = field(default_factory=GenerationSamplerSettings)
    loss: GenerationLossSettings = field(default_factory=GenerationLossSettings)
    rates: GenerationRates = field(default_factory=GenerationRates)

    def __post_init__(self) -> None:
        super().__post_init__()
        m, s, loss = self.model, self.sampler, self.loss
        if (self.method == "fd-gan") != (s.kind == "pairs"):
            fitting = "pairs" if self.method == "fd-gan" else "instances or space-time"
            raise RecipeError(f"sampler.kind: method {self.method} takes batches of {fitting}, not of {s.kind}")
        if self.method != "fd-gan" and (loss.verification or loss.same_pose):
            raise RecipeError("loss.verification and loss.same_pose are of method fd-gan, whose batches are pairs")
        if self.method != "fd-gan" and self.discriminators.image == "identity":
            raise RecipeError(
                "discriminators.image: identity compares two images of a pair, as method fd-gan has them; st-reidnet"
                " takes real"
            )
        if m.architecture != "baseline" or m.attributes or m.camera_embedding:
            raise RecipeError(
                "model: a generator draws from the features of a network of architecture baseline, without attributes"
                " and camera embedding; an OSNet is backbone: osnet"
            )
        if self.generator.joints != len(MARKET14):
            raise RecipeError("generator.joints: trainings bring the joints of all data sets to Market-1501's 14")
        if self.stage != "generator" and not (loss.verification or loss.cross_entropy or loss.triplet):
            raise RecipeError("loss: nothing tells one person from another; set verification, cross_entropy or triplet")
        for name in ("smooth_real", "smooth_fake"):
            low, high = getattr(loss, name) or (0, 1)
            if low > high:
                raise RecipeError(f"loss.{name}: expected an interval from low to high, got {low} to {high}")


AnyRecipe: TypeAlias = Recipe | PairRecipe | PoseRecipe | GenerationRecipe
KINDS: dict[str, type[AnyRecipe]] = {
    "embedding": Recipe,
    "pairs": PairRecipe,
    "pose": PoseRecipe,
    "generation": GenerationRecipe,
}


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in Path(recipes.__path__[0]).glob("*.yaml"))


def read_recipe(name: str, changes: Sequence[str] = ()) -> AnyRecipe:
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


def recipe_of(raw: Mapping[str, Any]) -> AnyRecipe:
    """A recipe from plain data, checked against types and ranges. Its `kind` says which sections it has.

    Raises:
        RecipeError: an unknown key, or a value of the wrong type or outside its range.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    stated = raw.get("kind", "embedding")
    if stated not in KINDS:
        raise RecipeError(f"kind: expected {' or '.join(KINDS)}, got {stated!r}")
    kind = KINDS[stated]
    _check_keys(kind, raw, kind)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed = parser.parse_object(dict(raw))
    except ArgumentError as error:
        (key,) = re.findall(r'^Parser key "([\w.]+)"', str(error))
        parts = key.split(".")
        hint = functools.reduce(lambda section, part: settings_of(section)[part], parts, kind)
        value = functools.reduce(operator.getitem, parts, raw)
        raise RecipeError(f"{key}: expected {words(hint)}, got {value!r}") from None
    _check_ranges(parsed)  # here already, for what a section itself refuses it does not name by its key
    return kind(**vars(parser.instantiate(parsed)))


def _check_ranges(settings: Any) -> None:
    for expected, holds, keys in _RANGES:
        for key in keys.split():
            section, _, name = key.partition(".")
            if not hasattr(getattr(settings, section, None), name):
                continue  # another kind of training has it
            value = operator.attrgetter(key)(settings)
            numbers = value if isinstance(value, (list, tuple)) else [value]
            if not all(holds(number) for number in numbers if number is not None):
                raise RecipeError(f"{key}: expected a number {expected}, got {value}")


def _check_keys(recipe: type[AnyRecipe], raw: Any, kind: type, prefix: str = "") -> None:
    if not isinstance(raw, Mapping):
        raise RecipeError(f"{prefix.rstrip('.') or 'recipe'}: expected settings by name, got {raw!r}")
    hints = settings_of(kind)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(f"{prefix}{key}", all_keys(recipe), 1, 0)
            raise RecipeError(f"unknown key {prefix}{key}, did you mean {near[0]}?")
        if dataclasses.is_dataclass(hints[key]):
            _check_keys(recipe, value, typing.cast(type, hints[key]), f"{prefix}{key}.")
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
