"""Generators in use: a picture of a person and a pose in, a picture of that person in that pose out."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from reidentify.data.console import tracked
from reidentify.data.keypoints import image_sizes
from reidentify.data.pixels import to_array
from reidentify.errors import InputError, WeightsError
from reidentify.joints import SETS, to_market14
from reidentify.models.baseline import Baseline
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.generation.generator import Generator
from reidentify.models.generation.settings import GenerationSettings, GeneratorSettings
from reidentify.models.posemaps import seen
from reidentify.models.weights import Card, card_path, load_state, read_state
from reidentify.zoo.locate import device_of, require_kind, weights_path

BATCH = 32
"""Pictures that are drawn at once."""
GENERATOR = "generator.safetensors"
"""All networks of a training, in the folder of its run; the encoder alone lies beside it."""


class GeneratorModel:
    """An encoder and the generator that draws what it saw, ready for use; `load_generator` makes it of weights.

    Args:
        encoder: a picture to its features; put into evaluation mode on the device.
        generator: features, a pose and noise to a picture; likewise.
        card: what the weights are.
        device: where they run.
    """

    def __init__(self, encoder: Baseline, generator: Generator, card: Card, device: torch.device) -> None:
        self.encoder, self.generator = encoder.eval().to(device), generator.eval().to(device)
        self.card, self.device = card, device

    def __repr__(self) -> str:
        height, width = self.size
        return f"GeneratorModel({self.card.name}: {height}x{width}, {self.joints} joints, {self.device})"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that are seen and drawn."""
        return self.generator.size

    @property
    def joints(self) -> int:
        """How many joints a pose has for the generator."""
        return self.generator.settings.joints

    def fitted(self, keypoints: ArrayLike) -> NDArray[np.float32]:
        """Joints, ... x J x 3, in the set that the generator reads: for one of 14 any of `reidentify.joints`, by name.

        Raises:
            InputError: another set of joints.
        """
        joints = np.asarray(keypoints, np.float32)
        if joints.shape[-2:-1] == (self.joints,):
            return joints
        if self.joints != 14:
            raise InputError(f"{self.card.name} draws poses of {self.joints} joints, got {joints.shape[-2]}")
        return to_market14(joints)

    @torch.inference_mode()
    def draw(
        self, pixels: NDArray[np.uint8], keypoints: ArrayLike, seed: int = 0, progress: bool = False
    ) -> NDArray[np.uint8]:
        """Draw people in other poses.

        Args:
            pixels: N x H x W x 3, uint8, RGB: one person in each; resized to `size` if they have another.
            keypoints: N x J x 3, the pose in which each is drawn: x, y in these pixels (from wherever the pose was
                taken, scaled to H x W), and visibility: above 0 the joint is seen. `fitted` says which J.
            seed: of the noise that the generator is given.
            progress: show a progress bar.

        Returns:
            N x height x width x 3, uint8, RGB.

        Raises:
            InputError: arrays of another shape or type, another set of joints, or a pose of which no joint is seen.
        """
        images, given = np.asarray(pixels), np.asarray(keypoints, np.float32)
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise InputError(f"people to draw must be N x H x W x 3 uint8, got {_shape(images)} {images.dtype}")
        if given.ndim != 3 or len(given) != len(images) or given.shape[2] != 3:
            raise InputError(f"poses for {len(images)} people must be {len(images)} x J x 3, got {_shape(given)}")
        joints = scaled_joints(self.fitted(given), images.shape[1:3], self.size)
        unseen = np.flatnonzero(~shows_joint(joints, self.size))
        if len(unseen):
            raise InputError(f"pose {unseen[0] + 1} of {len(joints)} has no joint that is seen within the picture")
        poses = torch.from_numpy(joints)
        noise = self.generator.noise(len(images), torch.Generator().manual_seed(seed))
        out = np.empty((len(images), *self.size, 3), np.uint8)
        starts = range(0, len(images), BATCH)
        for start in tracked(starts, len(starts), "Drawing", progress):
            chunk = slice(start, start + BATCH)
            ready = torch.from_numpy(resized_pixels(images[chunk], self.size, self.card.preprocessing.interpolation))
            features = self.encoder.features(self.card.preprocessing.apply(ready.permute(0, 3, 1, 2).to(self.device)))
            maps = self.generator.pose(poses[chunk].to(self.device))
            out[chunk] = to_pixels(self.generator(features, maps, noise[chunk]))
        return out


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Generated images, N x 3 x H x W from -1 to 1, as pictures: N x H x W x 3, uint8."""
    levels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def resized_pixels(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    """Pictures, N x H x W x 3, uint8, resized as files are; a new array."""
    return np.stack([to_array(Image.fromarray(one), size, interpolation) for one in pixels])


def scaled_joints(keypoints: NDArray[np.float32], given: Sequence[int], size: Sequence[int]) -> NDArray[np.float32]:
    """Joints, ... x 3, in pixels of a picture of height and width `given`, in those of the picture resized to `size`.

    A pixel's centre has whole coordinates, so a point x of a picture of width w comes to (x + 0.5) * W / w - 0.5.
    """
    out = np.array(keypoints, np.float32)
    scale = np.array([size[1] / given[1], size[0] / given[0]], np.float32)
    out[..., :2] = (out[..., :2] + 0.5) * scale - 0.5
    return out


def shows_joint(keypoints: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether of each pose, ... x J x 3, at least one joint is seen within the picture of height and width `size`."""
    return np.asarray((seen(torch.from_numpy(keypoints), size) > 0).any(-1).numpy())


def load_generator(weights: str | os.PathLike[str], device: str | torch.device | None = None) -> GeneratorModel:
    """A generator ready for use.

    Args:
        weights: a run's folder, or a `generator.safetensors` with its card beside it.
        device: e.g. "cuda:1"; None: the GPU if there is one, else the CPU.

    Raises:
        WeightsError: nothing of that name; weights of another kind of network; or the file does not fit its card.
    """
    path = Path(weights) / GENERATOR
    path = path if path.is_file() else weights_path(weights)
    where, card = device_of(device), Card.read(card_path(path))
    require_kind(card, "generation", path)
    try:
        settings = GenerationSettings(**card.architecture)
        seen_by, drawn_by = ModelSettings(**settings.encoder), GeneratorSettings(**settings.generator)
    except TypeError as error:
        raise WeightsError(f"{card_path(path)}: the architecture is not one of this version ({error})") from None
    encoder = build(seen_by, cameras=len(card.cameras), schema=card.schema)
    if not isinstance(encoder, Baseline):
        raise WeightsError(f"{card_path(path)}: the encoder is of architecture {seen_by.architecture}, not baseline")
    size = card.preprocessing.height, card.preprocessing.width
    generator = Generator(encoder.embedding_dim, size, drawn_by)
    state = read_state(path, card)
    for name, network in (("encoder", encoder), ("generator", generator)):
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        load_state(network, own, f"{path} ({name})")
    return GeneratorModel(encoder, generator, card, where)


@dataclass(frozen=True)
class Pose:
    """A pose to draw people in.

    Args:
        name: of the file it was taken from.
        joints: J x 3, float32: x, y in pixels of a picture, and visibility.
        size: height and width of that picture.
    """

    name: str
    joints: NDArray[np.float32]
    size: tuple[int, int]


def read_poses(path: str | os.PathLike[str]) -> list[Pose]:
    """The poses in a JSON file as `reidentify pose --json` prints it, or as written by hand.

    Each entry holds `joints` (of each its name as `joint`, `x`, `y` and `visibility`) and the height and width of their
    picture as `size`; without that, the picture at `path` is looked at for its size. The set of `reidentify.joints` is
    the smallest that has all the names; joints of it that are not named are unseen.

    Raises:
        InputError: no such file, other content, a name that no set has, or a joint named twice; the entry is named.
        ImageError: an entry states no size, and its picture is not there.
    """
    try:
        told = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise InputError(f"{os.fspath(path)}: no such file") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{os.fspath(path)}: not a JSON file of joints ({error})") from None
    if not isinstance(told, list) or not told:
        raise InputError(f"{os.fspath(path)}: expected a list of poses, as `reidentify pose --json` prints it")
    return [_pose(entry, f"{os.fspath(path)}, entry {i + 1}") for i, entry in enumerate(told)]


def _pose(entry: Any, where: str) -> Pose:
    try:
        rows = [(str(one["joint"]), [float(one[k]) for k in ("x", "y", "visibility")]) for one in entry["joints"]]
        name, size = str(entry.get("path", "")), entry.get("size")
        height, width = (None, None) if size is None else map(int, size)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not a pose as `reidentify pose --json` prints it ({error!r})") from None
    named = _named(rows, where)
    if height is None or width is None:
        if not name:
            raise InputError(f"{where}: give the height and width of the picture as size, or its file as path")
        height, width = image_sizes([name], progress=False)[0].tolist()
    if min(height, width) < 1:
        raise InputError(f"{where}: a picture of {height} x {width} pixels has no room for a pose")
    return Pose(name or where, named, (height, width))


def _named(rows: list[tuple[str, list[float]]], where: str) -> NDArray[np.float32]:
    """Joints in the order of the set whose names they have, J x 3."""
    names = [name for name, _ in rows]
    nearest = min(SETS.values(), key=lambda joints: (len({*names} - {*joints.joints}), len(joints)))
    for i, name in enumerate(names):
        if name not in nearest.joints:
            near = difflib.get_close_matches(name, nearest.joints, 1, 0)[0]
            raise InputError(f"{where}: the joints of {nearest.name} have no {name}, did you mean {near}?")
        if name in names[:i]:
            raise InputError(f"{where}: the joint {name} is named twice")
    found = np.zeros((len(nearest), 3), np.float32)
    for name, values in rows:
        found[nearest.index(name)] = values
    return found


def _shape(array: NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape))
