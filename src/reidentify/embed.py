"""Weights and pictures in, embeddings out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify.data.benchmark import Benchmark, camera_indices
from reidentify.data.clips import dense, evenly
from reidentify.data.console import tracked
from reidentify.data.pixels import (
    DecodedOnTheFly,
    Picture,
    Pictures,
    Pixels,
    ahead,
    open_pixels,
    picture_array,
)
from reidentify.errors import InputError, WeightsError
from reidentify.joints import MARKET14
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.output import Output
from reidentify.models.parts import compared
from reidentify.models.video import channels_last
from reidentify.models.views import views
from reidentify.models.weights import Card, Preprocessing, card_path, load_state, read_state
from reidentify.pose import POSE, resized_joints
from reidentify.ranking.parts import gathered
from reidentify.values import JUNK, Embeddings, Sightings
from reidentify.zoo.locate import device_of, require_kind, weights_path

if TYPE_CHECKING:
    from reidentify.pose import PoseModel

Run: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None, Tensor | None], Output]
"""Normalised images B x 3 x H x W, or clips B x T x 3 x H x W; cameras B; real frames B x T; joints B x 14 x 3 -> an
Output."""


class Model:
    """A network with what it takes to use it. Made by `load`, or from a network and its card by `of_network`.

    Attributes:
        card: what the weights are.
        network: the torch module; None for a foreign file.
        device: where it runs.
    """

    def __init__(self, run: Run, card: Card, device: torch.device, network: nn.Module | None = None) -> None:
        self._run, self.card, self.device, self.network = run, card, device, network
        self._pose: PoseModel | None = None

    @staticmethod
    def of_network(network: nn.Module, card: Card, device: torch.device) -> Model:
        """A network on its device, in evaluation mode."""

        def run(images: Tensor, camids: Tensor | None, valid: Tensor | None, keypoints: Tensor | None) -> Output:
            if keypoints is not None:
                return network(images, camids, keypoints)
            return network(images, camids) if valid is None else network(images, camids, valid)

        return Model(run, card, device, network)

    def __repr__(self) -> str:
        p = self.card.preprocessing
        return f"Model({self.card.name}: {p.height}x{p.width} {p.channels} -> {self.card.embedding_dim}, {self.device})"

    def embed(
        self,
        images: Picture | Sequence[Picture],
        channels: Literal["rgb", "bgr"] = "rgb",
        flip: bool | None = None,
        scales: Sequence[float] = (1.0,),
        batch_size: int = 64,
    ) -> NDArray[np.float32]:
        """Embed pictures of persons, one person each.

        For a network that is guided by joints a pose network finds them, in the pictures at their own size.

        Args:
            images: one or many of: a path, a PIL image, or an array H x W x 3 uint8.
            channels: order of the channels in arrays; OpenCV gives "bgr". Files and PIL images have their own.
            flip: average with the mirror image; None: as the card says.
            scales: average over these enlargements of the input size.
            batch_size: images per step.

        Returns:
            N x D, float32, rows of unit length: their dot product is the cosine similarity.

        Raises:
            ImageError: a file cannot be read.
            InputError: an array has another shape or type.
        """
        return self.embed_pictures(images, channels, flip, scales, batch_size, parts=False).vectors

    def embed_pictures(
        self,
        images: Picture | Sequence[Picture],
        channels: Literal["rgb", "bgr"] = "rgb",
        flip: bool | None = None,
        scales: Sequence[float] = (1.0,),
        batch_size: int = 64,
        parts: bool | None = None,
    ) -> Embeddings:
        """As `embed`, of people whom nobody knows (pid -1), and with `parts` as of `read`."""
        if channels not in ("rgb", "bgr"):
            raise InputError(f"channels must be rgb or bgr, got {channels!r}")
        many: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
        pixels = Pictures(many, channels, self._size, self.card.preprocessing.interpolation)
        people, options = Sightings(np.full(len(many), JUNK)), (flip, scales, batch_size, False)
        joints = self._joints(many, channels) if self.wants_keypoints else None
        vectors, visibility, _ = self._vectors(pixels, people.lengths, None, joints, self._parts(parts), *options)
        return Embeddings(vectors, people, visibility)

    def embed_sightings(self, sightings: Sightings, **options: Any) -> Embeddings:
        """Embed every row; see `read` for the options."""
        return self.read(sightings, **options)[0]

    def attributes_of(self, sightings: Sightings, **options: Any) -> dict[str, NDArray[np.float32]]:
        """What every row's attributes probably are; see `read`, whose options these are."""
        return self.read(sightings, **options)[1]

    def read(
        self,
        sightings: Sightings,
        flip: bool | None = None,
        scales: Sequence[float] = (1.0,),
        batch_size: int = 64,
        cache: bool = True,
        cameras: bool = True,
        progress: bool = True,
        parts: bool | None = None,
    ) -> tuple[Embeddings, dict[str, NDArray[np.float32]]]:
        """Embed every row, and tell its attributes.

        A network of images looks at every frame, one of clips at dense clips, one after another; a tracklet is the mean
        over its clips' embeddings of unit length, each counted as often as it has frames. What is kept grows with the
        rows, not with their frames.

        Args:
            sightings: rows with `files`.
            flip: average with the mirror image; None: as the card says.
            scales: average over these enlargements of the input size.
            batch_size: frames per step.
            cache: decode once into the pixel cache, so that the next network need not.
            cameras: for a network with a camera embedding, these are the cameras it was trained on; without that, or
                for a camera it does not know, nothing is added.
            progress: show progress bars.
            parts: of a network of body parts, take the vectors of the parts and how visible each is, so that two rows
                are compared by what both show; None: as `part_matching` of its card says.

        Returns:
            Vectors of unit length; and by attribute name the probability of each value, N x values, float32, where
            the network has attribute heads.
        """
        if sightings.files is None:
            raise InputError("these sightings name no files, so there is nothing to embed")
        size, interpolation = self._size, self.card.preprocessing.interpolation
        seen = sightings if self.card.frames is None else evenly(sightings, self.card.frames)
        assert seen.files is not None
        pixels: Pixels = DecodedOnTheFly(list(seen.files), size, interpolation)
        if cache:
            pixels = open_pixels(seen.files, size, interpolation, progress=progress)
        camids = None
        if cameras and self.card.cameras and seen.camids is not None:
            camids = torch.from_numpy(camera_indices(seen.camids, self.card.cameras))
        joints = resized_joints(seen, size, progress, self.device, cache) if self.wants_keypoints else None
        options = camids, joints, self._parts(parts), flip, scales, batch_size, progress
        vectors, visibility, attributes = self._vectors(pixels, seen.lengths, *options)
        return Embeddings(vectors, sightings, visibility), attributes

    @property
    def wants_keypoints(self) -> bool:
        """Whether the network is guided by joints."""
        return bool(getattr(self.network, "wants_keypoints", False))

    def _parts(self, asked: bool | None) -> bool:
        return bool(self.card.architecture.get("part_matching", False)) if asked is None else asked

    @property
    def _size(self) -> tuple[int, int]:
        return self.card.preprocessing.height, self.card.preprocessing.width

    def _vectors(
        self,
        pixels: Pixels,
        lengths: NDArray[np.int64],
        camids: Tensor | None,
        joints: NDArray[np.float32] | None,
        parts: bool,
        flip: bool | None,
        scales: Sequence[float],
        batch_size: int,
        progress: bool,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, dict[str, NDArray[np.float32]]]:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        if not scales or any(round(scale * min(self._size)) < 1 for scale in scales):
            raise InputError(f"scales must be positive enlargements of the input size, got {list(scales)}")
        flip = self.card.flip if flip is None else flip
        size = self.card.clip
        rows, frames, real = dense(lengths, size)
        weights = real.sum(1, keepdims=True).astype(np.float32)
        count = getattr(self.network, "body_parts", 0) if parts else 0
        if parts and not count:
            raise InputError(f"{self.card.name}: the network tells no body parts to compare")
        out = np.zeros((len(lengths), max(1, count) * self.card.embedding_dim), np.float32)
        visibility = np.zeros((len(lengths), count), np.float32)
        told = {a.name: np.zeros((len(lengths), len(a.values)), np.float32) for a in self.card.schema}
        chunks = [*_chunks(len(rows), max(1, batch_size // size))]
        decoded = ahead(lambda chunk: pixels.read(frames[chunk][real[chunk]]), chunks)
        for chunk, images in tracked(decoded, len(chunks), "Embedding", progress):
            read = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)
            owners = rows[chunk]
            cameras = None if camids is None else camids[owners].to(self.device)
            valid = None
            if size > 1:
                valid = torch.from_numpy(real[chunk]).to(self.device)
                clips = read.new_zeros(*valid.shape, *read.shape[1:])
                clips[valid] = read
                read = clips
            points = None if joints is None else torch.from_numpy(joints[frames[chunk, 0]]).to(self.device)
            vectors, visible, attributes = self._describe(read, cameras, flip, scales, valid, points, parts)
            if visible is not None:
                np.add.at(visibility, owners, visible.cpu().numpy() * weights[chunk])
            np.add.at(out, owners, vectors.cpu().numpy() * weights[chunk])
            for name, probabilities in attributes.items():
                np.add.at(told[name], owners, probabilities.cpu().numpy() * weights[chunk])
        for name, values in told.items():
            told[name] = np.asarray(values / lengths[:, None], np.float32)
        if parts:
            return *gathered(out, visibility, lengths), told
        if len(rows) > len(lengths):
            out /= np.linalg.norm(out, axis=1, keepdims=True)
        else:
            out /= weights
        return out, None, told

    def describe(
        self,
        images: Tensor,
        camids: Tensor | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        valid: Tensor | None = None,
        keypoints: Tensor | None = None,
    ) -> Tensor:
        """Embed RGB pixels, B x 3 x H x W or B x T x 3 x H x W uint8, on the model's device: B x D of unit length.

        For a network that is guided by joints these are `keypoints`, B x 14 x 3 in pixels of the images; without them a
        pose network finds them.

        The views (mirror image, enlargements) are added up first and scaled to unit length afterwards, for a network of
        stripes each stripe by itself (st-ReID's published test feature).
        """
        return self._describe(images, camids, flip, scales, valid, keypoints, False)[0]

    @torch.inference_mode()
    def _describe(
        self,
        images: Tensor,
        camids: Tensor | None,
        flip: bool,
        scales: Sequence[float],
        valid: Tensor | None,
        keypoints: Tensor | None,
        parts: bool,
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Vectors of B rows and attributes; of parts also their visibility, B x P, which is the length of each."""
        if self.wants_keypoints and keypoints is None:
            keypoints = self.find_joints(images)
        shown: list[Output] = []
        for view, joints in views(images, keypoints, flip, scales):
            shown.append(self._run(self.card.preprocessing.apply(view), camids, valid, joints))
        told = {
            a.name: torch.stack([self._probabilities(o.attributes[a.name].float()) for o in shown]).mean(0)
            for a in self.card.schema
        }
        if parts:
            vectors, visible = compared(shown)
            return vectors.flatten(1), visible, told
        stripes = getattr(self.network, "num_parts", 1)
        raw = [o.embedding if stripes == 1 or o.parts is None else o.parts.flatten(1) for o in shown]
        total = torch.stack([vectors.float() for vectors in raw]).sum(0).unflatten(1, (stripes, -1))
        return F.normalize(F.normalize(total, dim=2).flatten(1), dim=1), None, told

    def find_joints(self, images: Tensor) -> Tensor:
        """The joints of RGB pixels, B x 3 x H x W uint8, found by the package's pose network: B x 14 x 3."""
        pictures = list(images.permute(0, 2, 3, 1).cpu().numpy())
        return torch.from_numpy(self._pose_network().find(pictures)).to(images.device)

    def _joints(self, pictures: Sequence[Picture], channels: str) -> NDArray[np.float32]:
        """The joints of pictures, found at their own size, in pixels of the network's: N x 14 x 3."""
        found = np.zeros((len(pictures), len(MARKET14), 3), np.float32)
        for chunk in _chunks(len(pictures), 64):  # few are held in memory at full size
            shown = [picture_array(pictures[i], channels) for i in chunk]
            joints = self._pose_network().find(shown)
            scale = np.array([(self._size[1] / s.shape[1], self._size[0] / s.shape[0]) for s in shown])[:, None]
            joints[..., :2] = (joints[..., :2] + 0.5) * scale - 0.5
            found[chunk] = joints
        return found

    def _pose_network(self) -> PoseModel:
        from reidentify.pose import load_pose

        if self._pose is None:
            self._pose = load_pose(POSE, self.device)
        return self._pose

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Of the values of one attribute, B x values, by the loss that its head was trained with."""
        if self.card.training.get("loss", {}).get("attribute_kind") == "bce":
            each = logits.sigmoid()
            return each / each.sum(1, keepdim=True).clamp(min=1e-12)
        return logits.softmax(1)


def embed_sides(model: Model, benchmark: Benchmark, **options: Any) -> tuple[Embeddings, Embeddings]:
    """Query and gallery of a benchmark, embedded. `options` are those of `Model.read`."""
    return read_sides(model, benchmark, **options)[:2]


def read_sides(
    model: Model, benchmark: Benchmark, **options: Any
) -> tuple[Embeddings, Embeddings, dict[str, NDArray[np.float32]]]:
    """Query and gallery of a benchmark, embedded, and the attributes of `benchmark.test`, as by `Model.read`."""
    known = model.card.dataset.removesuffix("-holdout") == benchmark.name.removesuffix("-holdout")
    found, attributes = model.read(benchmark.test, cameras=known, **options)
    cut = len(benchmark.query)
    query, gallery = found[:cut], found[cut:]
    if benchmark.protocol.queries_in_gallery:
        gallery = Embeddings.concat([gallery, query])
    return query, gallery, attributes


def load(
    weights: str | os.PathLike[str],
    device: str | torch.device | None = None,
    preprocessing: Preprocessing | None = None,
) -> Model:
    """Weights ready for use.

    Args:
        weights: the name of shipped weights (`reidentify.zoo.names()`), a run's folder, a `weights.safetensors` with
            its card beside it, or a foreign network: an ONNX file or an OpenVINO IR (.xml).
        device: e.g. "cuda:1"; None: the GPU if there is one, else the CPU; for a foreign network, what its runtime
            calls it, None: the CPU.
        preprocessing: for a foreign network without a card (a .json beside it): what it expects. None: RGB, ImageNet
            mean and standard deviation, size from the graph, and a warning that says so.

    Raises:
        WeightsError: nothing of that name; or the file does not fit its card.
    """
    path = weights_path(weights)
    if path.suffix.lower() in (".onnx", ".xml"):
        from reidentify.models.foreign import open_foreign

        foreign, card = open_foreign(path, preprocessing, None if device is None else str(device))
        return Model(lambda images, *_: Output(torch.as_tensor(foreign(images))), card, torch.device("cpu"))
    where = device_of(device)
    if preprocessing is not None:
        raise InputError(f"{path}: preprocessing is for foreign networks; these weights have theirs in their card")
    card = Card.read(card_path(path))
    require_kind(card, "embedding", path)
    try:
        settings = ModelSettings(**card.architecture)
    except TypeError as error:
        raise WeightsError(f"{card_path(path)}: the architecture is not one of this version ({error})") from None
    network = build(settings, cameras=len(card.cameras), schema=card.schema)
    load_state(network, read_state(path, card), str(path))
    if network.embedding_dim != card.embedding_dim:
        raise WeightsError(
            f"{card_path(path)}: embedding_dim is {card.embedding_dim}, but the network's is {network.embedding_dim}"
        )
    return Model.of_network(channels_last(network.eval().to(where)), card, where)


def _chunks(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
