"""Weights and pictures in, embeddings out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from reidentify import zoo
from reidentify.data.benchmark import Benchmark
from reidentify.data.clips import dense, evenly
from reidentify.data.console import tracked
from reidentify.data.pixels import DecodedOnTheFly, Pixels, ahead, open_pixels, to_array
from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.output import Output
from reidentify.models.video import channels_last
from reidentify.models.weights import Card, Preprocessing, card_path, load_state, read_state
from reidentify.values import Embeddings, Sightings

Picture: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[np.uint8]"
Run: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None], Output]
"""Normalised images B x 3 x H x W, or clips B x T x 3 x H x W; cameras B; real frames B x T -> an Output."""


class Model:
    """A network with what it takes to use it. Made by `load`, or from a network and its card by `of_network`.

    Attributes:
        card: what the weights are.
        network: the torch module; None for a foreign file.
        device: where it runs.
    """

    def __init__(self, run: Run, card: Card, device: torch.device, network: nn.Module | None = None) -> None:
        self._run, self.card, self.device, self.network = run, card, device, network

    @staticmethod
    def of_network(network: nn.Module, card: Card, device: torch.device) -> Model:
        """A network on its device, in evaluation mode."""

        def run(images: Tensor, camids: Tensor | None, valid: Tensor | None) -> Output:
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
        if channels not in ("rgb", "bgr"):
            raise InputError(f"channels must be rgb or bgr, got {channels!r}")
        many = list(images) if isinstance(images, (list, tuple)) else [images]
        pixels = _Pictures(many, channels, self._size, self.card.preprocessing.interpolation)
        return self._vectors(pixels, np.ones(len(many), np.int64), None, flip, scales, batch_size, progress=False)[0]

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
        vectors, attributes = self._vectors(pixels, seen.lengths, camids, flip, scales, batch_size, progress)
        return Embeddings(vectors, sightings), attributes

    @property
    def _size(self) -> tuple[int, int]:
        return self.card.preprocessing.height, self.card.preprocessing.width

    def _vectors(
        self,
        pixels: Pixels,
        lengths: NDArray[np.int64],
        camids: Tensor | None,
        flip: bool | None,
        scales: Sequence[float],
        batch_size: int,
        progress: bool,
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        if not scales or any(round(scale * min(self._size)) < 1 for scale in scales):
            raise InputError(f"scales must be positive enlargements of the input size, got {list(scales)}")
        flip = self.card.flip if flip is None else flip
        size = self.card.clip
        rows, frames, real = dense(lengths, size)
        weights = real.sum(1, keepdims=True).astype(np.float32)
        out = np.zeros((len(lengths), self.card.embedding_dim), np.float32)
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
            vectors, attributes = self._describe(read, cameras, flip, scales, valid)
            np.add.at(out, owners, vectors.cpu().numpy() * weights[chunk])
            for name, probabilities in attributes.items():
                np.add.at(told[name], owners, probabilities.cpu().numpy() * weights[chunk])
        if len(rows) > len(lengths):
            out /= np.linalg.norm(out, axis=1, keepdims=True)
        else:
            out /= weights
        return out, {name: total / lengths[:, None] for name, total in told.items()}

    def describe(
        self,
        images: Tensor,
        camids: Tensor | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        valid: Tensor | None = None,
    ) -> Tensor:
        """Embed RGB pixels, B x 3 x H x W or B x T x 3 x H x W uint8, on the model's device: B x D of unit length.

        The views (mirror image, enlargements) are added up first and scaled to unit length afterwards, for a network of
        stripes each stripe by itself (st-ReID's published test feature).
        """
        return self._describe(images, camids, flip, scales, valid)[0]

    @torch.inference_mode()
    def _describe(
        self, images: Tensor, camids: Tensor | None, flip: bool, scales: Sequence[float], valid: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        views: list[Output] = []
        for scale in scales:
            shown = images
            if scale != 1.0:
                size = [round(n * scale) for n in images.shape[-2:]]
                flat = images.reshape(-1, *images.shape[-3:]).float()
                resized = F.interpolate(flat, size, mode="bilinear", antialias=True, align_corners=False)
                shown = resized.round().clamp(0, 255).to(torch.uint8).reshape(*images.shape[:-2], *size)
            ready = self.card.preprocessing.apply(shown)
            views += [self._run(view, camids, valid) for view in ([ready, ready.flip(-1)] if flip else [ready])]
        parts = getattr(self.network, "num_parts", 1)
        raw = [o.embedding if o.parts is None else o.parts.flatten(1) for o in views]
        total = torch.stack([vectors.float() for vectors in raw]).sum(0).unflatten(1, (parts, -1))
        vectors = F.normalize(F.normalize(total, dim=2).flatten(1), dim=1)
        told = {
            a.name: torch.stack([self._probabilities(o.attributes[a.name].float()) for o in views]).mean(0)
            for a in self.card.schema
        }
        return vectors, told

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
        return _foreign(path, preprocessing, None if device is None else str(device))
    where = _device(device)
    if preprocessing is not None:
        raise InputError(f"{path}: preprocessing is for foreign networks; these weights have theirs in their card")
    card = Card.read(card_path(path))
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


def weights_path(weights: str | os.PathLike[str]) -> Path:
    """The file of weights that are named as `load` takes them.

    Raises:
        WeightsError: there is none.
    """
    path = Path(weights)
    path = path / "weights.safetensors" if path.is_dir() else path
    if path.is_file() or path.suffix.lower() in (".onnx", ".xml"):
        return path
    shipped = zoo.path(os.fspath(weights))
    if shipped is None:
        known = ", ".join(zoo.names())
        raise WeightsError(f"{os.fspath(weights)}: no such file, and no shipped weights have that name ({known})")
    return shipped


def _device(name: str | torch.device | None) -> torch.device:
    """A device that can be used here."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise InputError(f"device {name}: {str(error).splitlines()[0]}") from None
    return device


def _foreign(path: Path, preprocessing: Preprocessing | None, device: str | None) -> Model:
    from reidentify.models.foreign import ForeignNetwork

    card = Card.read(card_path(path)) if preprocessing is None and card_path(path).exists() else None
    stated = preprocessing or (card.preprocessing if card else None)
    network = ForeignNetwork(path, device, size=(stated.height, stated.width) if stated else None)
    height, width = network.size
    if stated is None:
        stated = Preprocessing(height, width)
        warnings.warn(
            f"{path.name} comes without a card: taking RGB, ImageNet mean and standard deviation, {height}x{width} from"
            " the graph, no flip",
            ReidentifyWarning,
            stacklevel=3,
        )
    if card is None:
        probe = network(torch.zeros(1, 3, height, width))
        card = Card(path.stem, {}, stated, int(probe.shape[1]), "unknown", "unknown")
    return Model(lambda images, _, __: Output(torch.as_tensor(network(images))), card, torch.device("cpu"))


def camera_indices(camids: NDArray[np.int64], cameras: Sequence[int]) -> NDArray[np.int64]:
    """The place of each camera among `cameras`, -1 for one that is not there. N, int64."""
    places = {camera: place for place, camera in enumerate(cameras)}
    return np.array([places.get(camera, -1) for camera in camids.tolist()], np.int64)


class _Pictures:
    """Pictures in memory or in files, read on demand."""

    def __init__(self, pictures: list[Any], channels: str, size: tuple[int, int], interpolation: str) -> None:
        self.pictures, self.channels, self.size, self.interpolation = pictures, channels, size, interpolation

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, indices: ArrayLike) -> NDArray[np.uint8]:
        return np.stack([self._one(self.pictures[i]) for i in np.atleast_1d(np.asarray(indices))])

    def _one(self, picture: Any) -> NDArray[np.uint8]:
        if isinstance(picture, (str, os.PathLike)):
            return DecodedOnTheFly([os.fspath(picture)], self.size, self.interpolation).read([0])[0]
        if isinstance(picture, np.ndarray):
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
                got = " x ".join(map(str, picture.shape))
                raise InputError(f"an image array must be H x W x 3 uint8, got {got} {picture.dtype}")
            rgb = picture if self.channels == "rgb" else picture[:, :, ::-1]
            picture = Image.fromarray(np.ascontiguousarray(rgb))
        if not isinstance(picture, Image.Image):
            raise InputError(f"an image must be a path, a PIL image or an array, got {type(picture).__name__}")
        return to_array(picture, self.size, self.interpolation)


def _chunks(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
