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
from reidentify.data.console import tracked
from reidentify.data.pixels import DecodedOnTheFly, Pixels, open_pixels, to_array
from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.output import Output
from reidentify.models.weights import Card, Preprocessing, card_path, load_state, read_state
from reidentify.values import Embeddings, Sightings

Picture: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[np.uint8]"
Run: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
"""Normalised images B x 3 x H x W and cameras B (or None) -> embeddings B x D."""


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

        def run(images: Tensor, camids: Tensor | None) -> Tensor:
            output: Output = network(images, camids)
            return output.embedding if output.parts is None else output.parts.flatten(1)

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
        return self._vectors(pixels, None, flip, scales, batch_size, progress=False)

    def embed_sightings(
        self,
        sightings: Sightings,
        flip: bool | None = None,
        scales: Sequence[float] = (1.0,),
        batch_size: int = 64,
        cache: bool = True,
        cameras: bool = True,
        progress: bool = True,
    ) -> Embeddings:
        """Embed every row; a tracklet is the mean of its frames' embeddings.

        Args:
            sightings: rows with `files`.
            flip: average with the mirror image; None: as the card says.
            scales: average over these enlargements of the input size.
            batch_size: frames per step.
            cameras: for a network with a camera embedding, these are the cameras it was trained on; without that, or
                for a camera it does not know, nothing is added.
            cache: decode once into the pixel cache, so that the next network need not.
            progress: show progress bars.

        Returns:
            Vectors of unit length.
        """
        if sightings.files is None:
            raise InputError("these sightings name no files, so there is nothing to embed")
        size, interpolation = self._size, self.card.preprocessing.interpolation
        files = sightings.files
        pixels: Pixels = DecodedOnTheFly(list(files), size, interpolation)
        if cache:
            pixels = open_pixels(files, size, interpolation, progress=progress)
        camids = None
        if cameras and self.card.cameras and sightings.camids is not None:
            rows = camera_indices(sightings.camids, self.card.cameras)
            camids = torch.from_numpy(rows[sightings.frame_rows()])
        frames = self._vectors(pixels, camids, flip, scales, batch_size, progress)
        if not sightings.is_images:
            frames = np.add.reduceat(frames, sightings.offsets[:-1], axis=0)
            frames /= np.linalg.norm(frames, axis=1, keepdims=True)
        return Embeddings(frames, sightings)

    @property
    def _size(self) -> tuple[int, int]:
        return self.card.preprocessing.height, self.card.preprocessing.width

    def _vectors(
        self,
        pixels: Pixels,
        camids: Tensor | None,
        flip: bool | None,
        scales: Sequence[float],
        batch_size: int,
        progress: bool,
    ) -> NDArray[np.float32]:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        if not scales or any(round(scale * min(self._size)) < 1 for scale in scales):
            raise InputError(f"scales must be positive enlargements of the input size, got {list(scales)}")
        flip = self.card.flip if flip is None else flip
        out = np.empty((len(pixels), self.card.embedding_dim), np.float32)
        chunks = [*_chunks(len(pixels), batch_size)]
        for rows in tracked(chunks, len(chunks), "Embedding", progress):
            images = torch.from_numpy(pixels.read(rows)).permute(0, 3, 1, 2).to(self.device)
            cameras = None if camids is None else camids[rows].to(self.device)
            out[rows] = self.describe(images, cameras, flip, scales).cpu().numpy()
        return out

    @torch.inference_mode()
    def describe(
        self, images: Tensor, camids: Tensor | None = None, flip: bool = False, scales: Sequence[float] = (1.0,)
    ) -> Tensor:
        """Embed RGB pixels, B x 3 x H x W uint8, on the model's device: B x D of unit length.

        The views (mirror image, enlargements) are added up first and scaled to unit length afterwards, for a network of
        stripes each stripe by itself (st-ReID's published test feature).
        """
        total: Tensor | float = 0.0
        for scale in scales:
            shown = images
            if scale != 1.0:
                size = [round(n * scale) for n in images.shape[-2:]]
                resized = F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
                shown = resized.round().clamp(0, 255).to(torch.uint8)
            ready = self.card.preprocessing.apply(shown)
            for view in (ready, ready.flip(-1)) if flip else (ready,):
                total = total + self._run(view, camids).float()
        assert isinstance(total, Tensor)
        parts = total.unflatten(1, (getattr(self.network, "num_parts", 1), -1))
        return F.normalize(F.normalize(parts, dim=2).flatten(1), dim=1)


def embed_sides(model: Model, benchmark: Benchmark, **options: Any) -> tuple[Embeddings, Embeddings]:
    """Query and gallery of a benchmark, embedded. `options` are those of `Model.embed_sightings`."""
    known = model.card.dataset.removesuffix("-holdout") == benchmark.name.removesuffix("-holdout")
    rows = Sightings.concat([benchmark.query, benchmark.gallery])
    found, cut = model.embed_sightings(rows, cameras=known, **options), len(benchmark.query)
    return found[:cut], found[cut:]


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
    network = build(settings, cameras=len(card.cameras))
    load_state(network, read_state(path, card), str(path))
    if network.embedding_dim != card.embedding_dim:
        raise WeightsError(
            f"{card_path(path)}: embedding_dim is {card.embedding_dim}, but the network's is {network.embedding_dim}"
        )
    network = network.eval().to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model.of_network(network, card, where)


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
    return Model(lambda images, _: torch.as_tensor(network(images)), card, torch.device("cpu"))


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
