"""Pictures in, joints out: pose networks in use, joints for data sets that have none, and how right joints are."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from reidentify.data.console import say, tracked
from reidentify.data.keypoints import file_stamps, image_sizes, keep_joints, kept_joints, resized
from reidentify.data.pixels import (
    DecodedOnTheFly,
    Picture,
    Pixels,
    Size,
    ahead,
    cache_folder,
    open_pixels,
    picture_array,
    to_array,
)
from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.joints import MARKET14, to_market14
from reidentify.models.pose import PoseNetwork, build_pose, decode
from reidentify.models.pose_settings import PoseSettings
from reidentify.models.weights import Card, Preprocessing, card_path, load_state, read_state
from reidentify.values import Sightings
from reidentify.zoo.locate import device_of, require_kind, weights_path

BATCH = 64
"""Images that the network sees at once."""
_DECODING = 2
"""Raised when the way from heat maps to joints changes, so that joints in the cache are found again."""

POSE = "pose-cpu"
"""The shipped pose network that finds the joints of pictures which come without."""


class PoseModel:
    """A pose network with what it takes to use it. Made by `load_pose`, or by `of_network`.

    Args:
        run: normalised images, N x 3 x H x W on the device -> N x 14 x 3 in their pixels.
        preprocessing: what the network expects of an image.
        device: where it runs.
        name: what it is called.
        key: what tells the network from others, its views of an image included.

    Attributes:
        key: what tells its joints from those of other networks, and of the same one used otherwise.
    """

    def __init__(
        self, run: Callable[[Tensor], Tensor], preprocessing: Preprocessing, device: torch.device, name: str, key: str
    ) -> None:
        self._run, self.preprocessing, self.device, self.name = run, preprocessing, device, name
        self.key = hashlib.sha256(f"{_DECODING} {key} {preprocessing}".encode()).hexdigest()

    @staticmethod
    def of_network(network: PoseNetwork, card: Card, device: torch.device) -> PoseModel:
        """A network on its device. With `card.flip` its maps are averaged with those of the mirror image."""
        network = network.eval().to(device).to(memory_format=torch.channels_last)

        def run(images: Tensor) -> Tensor:
            images = images.contiguous(memory_format=torch.channels_last)
            maps, visibility = heat_maps(network, images, card.flip)
            return decode(maps, visibility, (images.shape[-2], images.shape[-1]))

        return PoseModel(run, card.preprocessing, device, card.name, f"{card.sha256} flip={card.flip}")

    def __repr__(self) -> str:
        height, width = self.size
        return f"PoseModel({self.name}: {height}x{width}, {self.device})"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the network sees."""
        return self.preprocessing.height, self.preprocessing.width

    def find(self, images: Picture | Sequence[Picture], channels: Literal["rgb", "bgr"] = "rgb") -> NDArray[np.float32]:
        """The joints of persons, one person to a picture.

        Args:
            images: one or many of: a path, a PIL image, or an array H x W x 3 uint8.
            channels: order of the channels in arrays.

        Returns:
            N x 14 x 3, float32: x, y in pixels of each picture (of a file: as shown, upright), and visibility, 0 for a
            joint that is rather unseen than seen.

        Raises:
            ImageError: a file cannot be read.
            InputError: an array has another shape or type.
        """
        if channels not in ("rgb", "bgr"):
            raise InputError(f"channels must be rgb or bgr, got {channels!r}")
        many: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
        found = []
        for start in range(0, len(many), BATCH):
            small, sizes = [], []
            for picture in many[start : start + BATCH]:  # one at a time at its full size
                shown = picture_array(picture, channels)
                sizes.append(shown.shape[:2])
                small.append(to_array(Image.fromarray(shown), self.size, self.preprocessing.interpolation))
            found.append(self._joints(np.stack(small), np.array(sizes)))
        return np.concatenate(found) if found else np.zeros((0, len(MARKET14), 3), np.float32)

    def keypoints(self, sightings: Sightings, cache: bool = True, progress: bool = True) -> NDArray[np.float32]:
        """The joints of every frame.

        Args:
            sightings: rows with files, of which there must be one person in each.
            cache: decode once into the pixel cache, so that the next network need not.
            progress: show progress bars.

        Returns:
            F x 14 x 3, float32: x, y in pixels of the files, and visibility, as of `find`.

        Raises:
            ImageError: a file cannot be read.
            InputError: the rows name no files.
        """
        if sightings.files is None:
            raise InputError("these sightings name no files, so there is nothing to find joints in")
        names = sightings.files.tolist()
        sizes = image_sizes(names, progress)
        pixels: Pixels = DecodedOnTheFly(names, self.size, self.preprocessing.interpolation)
        if cache:
            pixels = open_pixels(names, self.size, self.preprocessing.interpolation, progress=progress)
        chunks = [np.arange(start, min(start + BATCH, len(names))) for start in range(0, len(names), BATCH)]
        found = np.zeros((len(names), len(MARKET14), 3), np.float32)
        for chunk, images in tracked(ahead(pixels.read, chunks), len(chunks), "Finding joints", progress):
            found[chunk] = self._joints(images, sizes[chunk])
        return found

    @torch.inference_mode()
    def _joints(self, images: NDArray[np.uint8], sizes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Joints of resized images, N x H x W x 3, in pixels of the sizes (N x 2: height, width) they had before."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(self.device)
        found = self._run(self.preprocessing.apply(pixels)).float().cpu().numpy()
        scale = (sizes[:, ::-1] / np.array(self.size[::-1]))[:, None]
        found[..., :2] = (found[..., :2] + 0.5) * scale - 0.5
        return found


def heat_maps(network: PoseNetwork, images: Tensor, flip: bool) -> tuple[Tensor, Tensor]:
    """Heat maps, N x 14 x h x w, and visibility, N x 14, of normalised images.

    Args:
        network: in evaluation mode.
        images: N x 3 x H x W.
        flip: average with the mirror image, whose maps are mirrored back, left and right joints exchanged.
    """
    output = network(images)
    maps, visibility = output.maps["joints"].float(), output.visibility.float()
    if not flip:
        return maps, visibility
    other, order = network(images.flip(-1)), MARKET14.mirrored
    maps = (maps + other.maps["joints"].float()[:, order].flip(-1)) / 2
    return maps, (visibility + other.visibility.float()[:, order]) / 2


def load_pose(
    weights: str | os.PathLike[str],
    device: str | torch.device | None = None,
    preprocessing: Preprocessing | None = None,
) -> PoseModel:
    """A pose network ready for use.

    Args:
        weights: the name of shipped weights, a run's folder, a `weights.safetensors` with its card beside it, or a
            foreign network: an ONNX file or an OpenVINO IR (`models.foreign_pose.ForeignPose`).
        device: e.g. "cuda:1"; None: the GPU if there is one, else the CPU; for a foreign network, what its runtime
            calls it, None: the CPU.
        preprocessing: for a foreign network without a card (a .json beside it): what it expects. None: RGB, ImageNet
            mean and standard deviation, size from the graph, and a warning that says so.

    Raises:
        WeightsError: nothing of that name, weights of another kind of network, or not those that the card describes.
    """
    path = weights_path(weights)
    if path.suffix.lower() in (".onnx", ".xml"):
        return _foreign(path, preprocessing, None if device is None else str(device))
    if preprocessing is not None:
        raise InputError(f"{path}: preprocessing is for foreign networks; these weights have theirs in their card")
    where = device_of(device)
    card = Card.read(card_path(path))
    require_kind(card, "pose", path)
    try:
        settings = PoseSettings(**card.architecture)
    except TypeError as error:
        raise WeightsError(f"{card_path(path)}: the architecture is not one of this version ({error})") from None
    network = build_pose(settings)
    load_state(network, read_state(path, card), str(path))
    if not card.sha256:  # of a card written by hand
        card = replace(card, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return PoseModel.of_network(network, card, where)


def _foreign(path: Path, stated: Preprocessing | None, device: str | None) -> PoseModel:
    from reidentify.models.foreign_pose import ForeignPose

    if stated is None and card_path(path).exists():
        stated = Card.read(card_path(path)).preprocessing
    network = ForeignPose(path, device, size=(stated.height, stated.width) if stated else None)
    if stated is None:
        stated = Preprocessing(*network.size)
        warnings.warn(
            f"{path.name} comes without a card: taking RGB, ImageNet mean and standard deviation, and"
            f" {stated.height}x{stated.width} from the graph",
            ReidentifyWarning,
            stacklevel=3,
        )
    digest = hashlib.sha256()
    # The weights of an OpenVINO graph lie beside it; those of an ONNX file may.
    for part in (path, path.with_suffix(".bin"), Path(f"{path}.data"), Path(f"{path}_data")):
        if part.is_file():
            digest.update(hashlib.sha256(part.read_bytes()).digest())
    return PoseModel(network, stated, torch.device("cpu"), path.stem, digest.hexdigest())


def with_joints(
    sightings: Sightings,
    weights: str = POSE,
    progress: bool = True,
    device: str | torch.device | None = None,
    cache: bool = True,
) -> Sightings:
    """The same rows with joints everywhere: a pose network finds those of frames of which none are known.

    A frame's joints are unknown where every visibility is NaN, as of the data sets without joints among several that
    are joined; a visibility of 0 says that a joint is not seen, and stays. What was found is kept in the cache by file,
    and read from there the next time.

    Args:
        sightings: rows with files.
        weights: as `load_pose` takes them.
        progress: show progress bars, and say that joints are looked for.
        device: where the pose network runs, as of `load_pose`.
        cache: read and keep what was found; False: find all that is unknown, and keep nothing.

    Returns:
        Sightings with `keypoints` F x 14 x 3.

    Raises:
        InputError: the rows name no files, or an unknown set of joints.
        ImageError: a file cannot be read.
        WeightsError: as `load_pose`.
    """
    joints = np.full((int(sightings.offsets[-1]), len(MARKET14), 3), np.nan, np.float32)
    if sightings.keypoints is not None:
        joints = to_market14(sightings.keypoints).copy()
    unknown = np.isnan(joints[..., 2]).all(1)
    if unknown.any():
        if sightings.files is None:
            raise InputError("these sightings name neither files nor joints, so joints cannot be found")
        names, places = np.unique(sightings.files[unknown], return_inverse=True)
        joints[unknown] = _found(load_pose(weights, device), names.tolist(), progress, cache)[places]
    return sightings.replace(keypoints=joints)


def _found(model: PoseModel, names: list[str], progress: bool, cache: bool) -> NDArray[np.float32]:
    """The joints of images, those from the cache that were found before."""
    stamps, path = file_stamps(names), cache_folder() / "joints" / f"{model.key[:32]}.parquet"
    joints = np.full((len(names), len(MARKET14), 3), np.nan, np.float32)
    if cache:
        joints = kept_joints(path, stamps)
    new = np.flatnonzero(np.isnan(joints[..., 2]).all(1))
    if len(new):
        if progress:
            kept = f"; they are kept in {path.parent}" if cache else ""
            say(f"finding the joints of {len(new):,} images with {model.name}{kept}")
        rows = Sightings(np.zeros(len(new), np.int64), files=np.array([names[i] for i in new], object))
        # Each image is looked at once, so its pixels need not be kept.
        joints[new] = model.keypoints(rows, cache=False, progress=progress)
        if cache:
            keep_joints(path, [stamps[i] for i in new], joints[new])
    return joints


Length = Literal["torso", "head"]


@dataclass(frozen=True)
class Pck:
    """The percentage of correct keypoints; see `pck`.

    Args:
        alpha: share of the reference length within which a joint is right.
        length: what the reference length is.
        images: images that were counted: those whose reference length is known.
        joints: by name, the share of right ones; NaN where none was counted.
        counted: by name, how many were counted.
    """

    alpha: float
    length: Length
    images: int
    joints: dict[str, float]
    counted: dict[str, int]

    @property
    def mean(self) -> float:
        """Mean over the joints that were counted; NaN if none was."""
        known = [value for value in self.joints.values() if value == value]
        return float(np.mean(known)) if known else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; None where nothing was counted."""
        joints = {name: None if value != value else value for name, value in self.joints.items()}
        mean = None if self.mean != self.mean else self.mean
        stated = {"alpha": self.alpha, "length": self.length, "images": self.images, "mean": mean}
        return {**stated, "joints": joints, "counted": self.counted}

    def __str__(self) -> str:
        head = f"PCK@{self.alpha:g} of the {self.length}: {100 * self.mean:.1f} % on {self.images:,} images"
        return "\n".join([head, *(f"  {name:<15}{100 * value:5.1f} %" for name, value in self.joints.items())])


def pck(found: ArrayLike, truth: ArrayLike, alpha: float = 0.2, length: Length = "torso") -> Pck:
    """The percentage of correct keypoints: of the joints that the truth shows, how many were found within `alpha` times
    a reference length of the person.

    The measure of this package is PCK@0.2 of the torso: the distance from the neck to the middle of the hips, or to the
    one hip that is seen. `length` "head" takes the distance from the top of the head to the neck, in the manner of PCKh
    (Andriluka et al., CVPR 2014, with alpha 0.5). Published definitions differ in the length (Yang and Ramanan, PAMI
    2013: the person's box; Sapp and Taskar, CVPR 2013: the torso's diagonal), so figures compare under one definition
    alone. How visible a joint was said to be does not matter: its place counts all the same.

    Args:
        found: N x 14 x 3, x, y in pixels and a visibility that is not looked at. NaN is wrong.
        truth: N x 14 x 3; joints of visibility 0 are not counted, nor images whose reference length is unknown because
            no joint at one of its ends is seen.
        alpha: share of the reference length.
        length: the reference length.

    Raises:
        InputError: other shapes, or an alpha that is not above 0.
    """
    a, b = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or a.shape[1:] != (len(MARKET14), 3):
        shapes = " and ".join(" x ".join(map(str, v.shape)) for v in (a, b))
        raise InputError(f"pck: expected joints N x 14 x 3 twice, got {shapes}")
    if not alpha > 0:
        raise InputError(f"pck: alpha must be above 0, got {alpha}")
    ends = [["neck"], ["right hip", "left hip"]] if length == "torso" else [["head top"], ["neck"]]
    places = [[MARKET14.index(name) for name in end] for end in ends]
    seen = b[..., 2] > 0
    known = np.all([seen[:, place].any(1) for place in places], axis=0)
    weight = seen[known].astype(float)[..., None]
    points = np.where(weight > 0, b[known][..., :2], 0)
    near, far = (points[:, place].sum(1) / weight[:, place].sum(1) for place in places)
    reference = np.linalg.norm(near - far, axis=1)
    distance = np.linalg.norm(a[known][..., :2] - b[known][..., :2], axis=2)
    right = distance <= alpha * reference[:, None]  # False for NaN
    seen = seen[known]
    counted = seen.sum(0)
    share = np.where(counted > 0, (right & seen).sum(0) / np.maximum(counted, 1), np.nan)
    names = MARKET14.joints
    return Pck(alpha, length, int(known.sum()), dict(zip(names, share.tolist())), dict(zip(names, counted.tolist())))


def joints_of(keypoints: ArrayLike) -> list[dict[str, float | str]]:
    """The joints of one person, 14 x 3, as plain data: name, x, y and visibility of each."""
    return [
        {"joint": name, "x": round(float(x), 2), "y": round(float(y), 2), "visibility": round(float(seen), 4)}
        for name, (x, y, seen) in zip(MARKET14.joints, np.asarray(keypoints))
    ]


def resized_joints(
    sightings: Sightings,
    size: Size,
    progress: bool = True,
    device: torch.device | None = None,
    cache: bool = True,
) -> NDArray[np.float32]:
    """The joints of every frame in pixels of the resized images, F x 14 x 3, float32, as `data.keypoints.resized`.

    Where a data set has none, the package's pose network finds them on `device`, and a line says so; `cache` as of
    `with_joints`.
    """
    return resized(with_joints(sightings, POSE, progress, device, cache), size, progress)
