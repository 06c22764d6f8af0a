"""Weights on disk: one safetensors file and, beside it, a card that says all one needs to use them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from reidentify import files
from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.hints import fits, words
from reidentify.models.catalogue import ModelSettings
from reidentify.models.generation.settings import GenerationSettings
from reidentify.models.pairs.settings import PairSettings
from reidentify.models.pose_settings import PoseSettings
from reidentify.values import Attribute

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_ABOVE_0 = {"height", "width", "std", "scale", "embedding_dim", "parts", "clip", "frames"}
_SETTINGS: dict[str, type] = {
    "embedding": ModelSettings,
    "pairs": PairSettings,
    "pose": PoseSettings,
    "generation": GenerationSettings,
}
"""What describes the architecture of each kind of network."""


def _check(kind: type, values: Mapping[str, Any], prefix: str = "") -> None:
    """Compare values with the types that a dataclass states."""
    for name, hint in typing.get_type_hints(kind).items():
        if name in values:
            value, positive = values[name], name in _ABOVE_0
            numbers = value if isinstance(value, (list, tuple)) else [value]
            if not fits(value, hint) or (positive and any(n is not None and n <= 0 for n in numbers)):
                expected = words(hint) + " above 0" * positive
                raise InputError(f"{prefix}{name}: expected {expected}, got {value!r}")


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the network sees it. It travels with the weights.

    Args:
        height: rows the image is resized to.
        width: columns the image is resized to.
        mean: of red, green and blue, subtracted from pixels that were divided by `scale`.
        std: of red, green and blue, divided by after that.
        scale: pixel values are divided by this first; 255 maps to 0..1, 1 leaves 0..255.
        channels: order in which the network wants them.
        interpolation: of the resize.
    """

    height: int = 256
    width: int = 128
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    scale: float = 255.0
    channels: Literal["rgb", "bgr"] = "rgb"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"

    def __post_init__(self) -> None:
        _check(Preprocessing, vars(self), "preprocessing.")

    def apply(self, pixels: Tensor) -> Tensor:
        """Normalise RGB pixels, ... x 3 x H x W: uint8, or floating point from 0 to 1."""
        if pixels.dtype == torch.uint8:
            pixels = pixels.float() / self.scale
        elif self.scale != 255.0:
            pixels = pixels * (255.0 / self.scale)
        mean, std = (torch.tensor(v, device=pixels.device).reshape(3, 1, 1) for v in (self.mean, self.std))
        normalised = (pixels - mean) / std
        return normalised.flip(-3) if self.channels == "bgr" else normalised


class _StatedAttribute(typing.TypedDict):
    """An `Attribute` in a card."""

    name: str
    values: list[str]
    identity: bool


@dataclass(frozen=True)
class Card:
    """What weights are.

    Args:
        name: how they are called.
        architecture: settings of the network, as in a recipe's `model`.
        preprocessing: what the network expects of an image.
        embedding_dim: length of an embedding.
        data: what they were trained on, initialisation included.
        licence: terms that come with that data.
        scores: one entry per evaluation: data, protocol, AP convention and values.
        training: the recipe they were trained by.
        cameras: of a camera embedding, the training cameras in its order; empty without one.
        dataset: name of the training data, whose cameras these are.
        flip: whether the scores average an image with its mirror.
        calibration: what its similarities mean, as `ranking.calibration.Calibration.to_dict` states it, and the `flip`
            and `scales` of the embeddings it rests on (by default this `flip`, and 1); empty where it was not
            calibrated.
        clip: frames that the network sees at once; 1 for a network of images.
        frames: of a tracklet, how many frames, evenly spread, are looked at; None: all.
        attributes: what its attribute heads tell, as `Attribute` states it; empty without any.
        sha256: of the safetensors file.
        version: of reidentify.
        kind: "embedding"; "pairs" for a network that compares two images, of which `embedding_dim` is the length of
            its last hidden layer; "pose" for one that finds joints, of which it is the number of pooled features; or
            "generation" for one that draws people from an encoder's features, of which it is the length.
    """

    name: str
    architecture: dict[str, Any]
    preprocessing: Preprocessing
    embedding_dim: int
    data: str
    licence: str
    scores: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    cameras: list[int] = field(default_factory=list)
    dataset: str = ""
    flip: bool = False
    calibration: dict[str, Any] = field(default_factory=dict)
    clip: int = 1
    frames: int | None = None
    attributes: list[dict[str, Any]] = field(default_factory=list)
    sha256: str = ""
    version: str = ""
    kind: Literal["embedding", "pairs", "pose", "generation"] = "embedding"

    def __post_init__(self) -> None:
        _check(Card, vars(self))
        _check(_SETTINGS[self.kind], self.architecture, "architecture.")
        if self.clip > 1 and self.architecture.get("architecture", "video") != "video":
            raise InputError(f"clip: a network of architecture {self.architecture['architecture']} sees one image")
        for attribute in self.attributes:
            _check(_StatedAttribute, attribute, "attributes.")
            if missing := {"name", "values", "identity"} - attribute.keys():
                raise InputError(f"attributes: one lacks {', '.join(sorted(missing))}")

    @property
    def schema(self) -> tuple[Attribute, ...]:
        """What its attribute heads tell, in order."""
        return tuple(Attribute(a["name"], tuple(a["values"]), a["identity"]) for a in self.attributes)

    @staticmethod
    def read(path: Path) -> Card:
        """The card in a JSON file.

        Raises:
            WeightsError: no card, not one of ours, or a value that makes no sense; the key is named.
        """
        try:
            raw = json.loads(path.read_text())
            _check(Card, raw)
            raw["preprocessing"] = Preprocessing(
                **{k: tuple(v) if isinstance(v, list) else v for k, v in raw["preprocessing"].items()}
            )
            return Card(**raw)
        except InputError as error:
            raise WeightsError(f"{path}: {error}") from None
        except FileNotFoundError:
            raise WeightsError(f"{path}: the card is missing; weights need it beside them to be used") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path}: not a card of reidentify's weights ({error})") from None

    def to_json(self) -> str:
        """The content of its file."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def card_path(weights: Path) -> Path:
    """`weights.safetensors` has its card in `weights.json`."""
    return weights.with_suffix(".json")


def save_weights(state: dict[str, Tensor], card: Card, path: Path, half: bool = False) -> Card:
    """Write weights and card, each whole or not at all.

    Args:
        state: the network's state without the classifier.
        card: its sha256 is filled in.
        path: of the safetensors file.
        half: store floating point in 16 bits.

    Returns:
        The card as written.
    """
    tensors = {k: (v.half() if half and v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}
    content = save(tensors)
    card = dataclasses.replace(card, sha256=hashlib.sha256(content).hexdigest())
    # The weights last: where they are, everything is.
    files.write(card_path(path), card.to_json())
    files.write(path, content)
    return card


def read_state(path: Path, card: Card | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in 32 bits.

    Raises:
        WeightsError: no such file, not safetensors, or not the file the card was written for.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    if card is not None and card.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != card.sha256:
        raise WeightsError(f"{path}: the file is not the one its card describes (sha256 differs); get it again")
    try:
        state = load_file(path)
    except Exception as error:  # safetensors raises a type of its own that it does not export
        raise WeightsError(f"{path}: not a safetensors file ({error})") from None
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def without_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a network that only embeds: class scores of the training identities mean nothing elsewhere."""
    return {k: v for k, v in state.items() if "classifier" not in k.split(".")}


def load_state(network: nn.Module, state: dict[str, Tensor], origin: str, strict: bool = True) -> None:
    """Load parameters into a network; a classifier of other identities is left out and said once.

    Args:
        network: to be filled.
        state: tensors by name.
        origin: named in messages.
        strict: every parameter other than the classifier's must be there and fit. Not strict: the network may have a
            neck that the weights lack, as when a checkpoint trained another way is the start of a training.

    Raises:
        WeightsError: weights of another architecture; it names the first difference.
    """
    own = network.state_dict()
    classes = {k for k in own.keys() | state.keys() if "classifier" in k.split(".")}
    other = [k for k in classes & own.keys() & state.keys() if own[k].shape[:1] != state[k].shape[:1]]
    if other:
        warnings.warn(
            f"{origin} classifies {len(state[other[0]])} identities and this network {len(own[other[0]])}: the"
            " classifier starts anew, everything else is loaded",
            ReidentifyWarning,
            stacklevel=2,
        )
    state = {k: v for k, v in state.items() if k not in classes or (k in own and k not in other)}
    wrong = [k for k in state if k in own and own[k].shape != state[k].shape]
    if wrong:
        k = wrong[0]
        raise WeightsError(
            f"{origin} are weights of another architecture: {k} is {_shape(state[k])} there and {_shape(own[k])} here"
        )
    fitting = {k: v for k, v in state.items() if k in own}
    missing = [k for k in own if k not in fitting and k not in classes and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    if strict and (missing or extra):
        raise WeightsError(
            f"{origin} are weights of another architecture: "
            + (f"{missing[0]} is missing" if missing else f"{extra[0]} is unknown here")
            + f" ({len(missing)} missing, {len(extra)} unknown)"
        )
    if not any(k not in classes for k in fitting):
        raise WeightsError(f"{origin} are weights of another architecture: no parameter has the name of one here")
    network.load_state_dict(fitting, strict=False)


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a scalar"
