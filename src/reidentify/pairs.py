"""Pairwise networks in use: two pictures in, the probability that they show one person out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reidentify.batch import Batch
from reidentify.data.console import tracked
from reidentify.data.keypoints import image_sizes, resized
from reidentify.data.pixels import DecodedOnTheFly, Pixels, open_pixels
from reidentify.embed import Model
from reidentify.errors import InputError, WeightsError
from reidentify.models.pairs import PairNetwork, build_pairs
from reidentify.models.pairs.settings import PairSettings
from reidentify.models.weights import Card, card_path, load_state, read_state
from reidentify.ranking.distance import Rows
from reidentify.ranking.parts import pair_similarities
from reidentify.values import Sightings
from reidentify.zoo.locate import device_of, require_kind, weights_path

MEMORY = 2 << 30
"""Bytes that encoded images may take: some 48,000 images at 25 maps of 37 x 12. Of more, some are encoded again."""
REMEMBERED = 1 << 27
"""Distances that a scorer keeps at most (512 MiB)."""
BATCH, BATCH_CUDA = 32, 128
"""Pairs compared at once, on a CPU and on a GPU: few enough that what lies between the layers stays small."""


class PairModel:
    """A pairwise network with what it takes to use it; made by `load_pairs`.

    Args:
        network: is put into evaluation mode on the device.
        card: what the weights are.
        device: where it runs.
    """

    def __init__(self, network: PairNetwork, card: Card, device: torch.device) -> None:
        self.network, self.card, self.device = network.eval().to(device), card, device

    def __repr__(self) -> str:
        height, width = self.size
        return f"PairModel({self.card.name}: {height}x{width}, {self.device})"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images that the network sees."""
        return self.card.preprocessing.height, self.card.preprocessing.width

    @torch.inference_mode()
    def probabilities(self, a: dict[str, Tensor], b: dict[str, Tensor], symmetric: bool = True) -> Tensor:
        """Probabilities that encoded images show two people (column 0) and one person (column 1). B x 2, float32.

        Args:
            a, b: B images each, as `PairNetwork.encode` gives them.
            symmetric: the mean of both orders; else a comes first.
        """
        found = self.network.compare(a, b).float().softmax(1)
        return (found + self.network.compare(b, a).float().softmax(1)) / 2 if symmetric else found


def load_pairs(weights: str | os.PathLike[str], device: str | torch.device | None = None) -> PairModel:
    """A pairwise network ready for use.

    Args:
        weights: the name of shipped weights, a run's folder, or a `weights.safetensors` with its card beside it.
        device: e.g. "cuda:1"; None: the GPU if there is one, else the CPU.

    Raises:
        WeightsError: nothing of that name; weights of another kind of network; or the file does not fit its card.
    """
    path, where = weights_path(weights), device_of(device)
    if path.suffix.lower() in (".onnx", ".xml"):
        raise WeightsError(
            f"{path}: a foreign network embeds images one by one; a pairwise one must be of this package"
        )
    card = Card.read(card_path(path))
    require_kind(card, "pairs", path)
    try:
        settings = PairSettings(**card.architecture)
    except TypeError as error:
        raise WeightsError(f"{card_path(path)}: the architecture is not one of this version ({error})") from None
    network = build_pairs(settings, card.preprocessing)
    load_state(network, read_state(path, card), str(path))
    return PairModel(network, card, where)


def images_of(sightings: Sightings) -> list[str]:
    """The file of every row.

    Raises:
        InputError: rows without files, or of several frames.
    """
    if sightings.files is None:
        raise InputError("these sightings name no files, so there is nothing to compare")
    if not sightings.is_images:
        raise InputError("a pairwise network compares images, and these rows are tracklets: give a data set of images")
    return sightings.files.tolist()


class Encoded:
    """Images as a pairwise network encodes them, each when first asked for.

    They are kept within `memory` bytes, those used last; where all find room, each is encoded once.

    Args:
        model: the network.
        sightings: N images with files. They are resized to what the network sees. A network that wants joints takes
            theirs; where they have none, a pose network finds them on the model's device.
        memory: bytes.
        cache: decode into the pixel cache, so that the next network need not; joints that are found likewise.
        progress: show progress bars.
        batch_size: pairs compared at once; None: `BATCH`, on a GPU `BATCH_CUDA`.

    Raises:
        InputError: rows without files, or of several frames; or a batch size below 1.
    """

    def __init__(
        self,
        model: PairModel,
        sightings: Sightings,
        memory: int = MEMORY,
        cache: bool = True,
        progress: bool = True,
        batch_size: int | None = None,
    ) -> None:
        files = images_of(sightings)
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        default = BATCH_CUDA if model.device.type == "cuda" else BATCH
        self._batch = default if batch_size is None else batch_size
        self._model, self._memory, size = model, memory, model.size
        interpolation = model.card.preprocessing.interpolation
        self._pixels: Pixels = DecodedOnTheFly(files, size, interpolation)
        if cache:
            self._pixels = open_pixels(files, size, interpolation, progress=progress)
        self._keypoints: NDArray[np.float32] | None = None
        if model.network.wants_keypoints:
            from reidentify.pose import with_joints

            posed = with_joints(sightings, progress=progress, device=model.device, cache=cache)
            self._keypoints = resized(posed, size, progress)
        self._kept: dict[str, Tensor] = {}
        self._slots = np.full(len(sightings), -1)
        self._owners, self._used, self._time = np.empty(0, np.int64), np.empty(0, np.int64), 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def capacity(self) -> int:
        """How many images are kept at most; 0 before the first is encoded."""
        return len(self._owners)

    def of(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The encoded images of some rows, at most 2 `batch_size` different ones, in the order asked for."""
        needed = np.unique(rows)
        self._time += 1
        here = self._slots[needed]
        self._used[here[here >= 0]] = self._time
        missing = needed[here < 0]
        if len(missing):
            self._put(missing, self._encode(missing))
        slots = torch.from_numpy(self._slots[rows]).to(self._model.device)
        return {name: kept[slots] for name, kept in self._kept.items()}

    @torch.inference_mode()
    def _encode(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        device = self._model.device
        pixels = torch.from_numpy(self._pixels.read(rows)).permute(0, 3, 1, 2)[:, None].to(device)
        keypoints = None
        if self._keypoints is not None:
            keypoints = torch.from_numpy(self._keypoints[rows])[:, None].to(device)
        labels = torch.zeros(len(rows), dtype=torch.int64, device=device)
        return self._model.network.encode(Batch(pixels, labels, keypoints=keypoints))

    def _put(self, rows: NDArray[np.int64], found: dict[str, Tensor]) -> None:
        if not self.capacity:
            each = sum(tensor[0].nbytes for tensor in found.values())
            capacity = min(len(self), max(2 * self._batch, self._memory // max(each, 1)))
            self._kept = {name: tensor.new_empty(capacity, *tensor.shape[1:]) for name, tensor in found.items()}
            self._owners, self._used = np.full(capacity, -1), np.zeros(capacity, np.int64)
        slots = np.argsort(self._used, kind="stable")[: len(rows)]  # what was used now is at the end
        gone = self._owners[slots]
        self._slots[gone[gone >= 0]] = -1
        self._slots[rows], self._owners[slots], self._used[slots] = slots, rows, self._time
        places = torch.from_numpy(slots).to(self._model.device)
        for name, tensor in found.items():
            self._kept[name][places] = tensor

    def compared(self, pairs: NDArray[np.int64], symmetric: bool = True, progress: bool = True) -> NDArray[np.float32]:
        """Probabilities that pairs of rows show two people and one person. P x 2 from P x 2 row numbers."""
        out = np.empty((len(pairs), 2), np.float32)
        if not len(pairs):  # as where a scorer knows all distances
            return out
        self.of(pairs[0])  # now the capacity is known
        order, rows = np.arange(len(pairs)), np.unique(pairs)
        if len(rows) > self.capacity:  # pairs of the same two groups of images follow one another
            groups = np.sort(np.searchsorted(rows, pairs) // (self.capacity // 2), axis=1)
            order = np.lexsort((groups[:, 1], groups[:, 0]))
        chunks = [order[i : i + self._batch] for i in range(0, len(order), self._batch)]
        for chunk in tracked(chunks, len(chunks), "Comparing", progress):
            both = self.of(pairs[chunk].T.reshape(-1))
            a, b = ({name: tensor[half] for name, tensor in both.items()} for half in _halves(len(chunk)))
            out[chunk] = self._model.probabilities(a, b, symmetric).cpu().numpy()
        return out


def _halves(count: int) -> tuple[slice, slice]:
    return slice(0, count), slice(count, 2 * count)


def score_pairs(
    model: PairModel,
    sightings: Sightings,
    pairs: NDArray[np.int64],
    *,
    symmetric: bool = True,
    memory: int = MEMORY,
    cache: bool = True,
    progress: bool = True,
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """How probably pairs of images show one person, as the network was trained.

    Args:
        model: the network.
        sightings: images with files.
        pairs: P x 2 row numbers.
        symmetric: the mean of both orders, which takes twice as long; else the first image comes first.
        memory: bytes that encoded images may take; within that each is encoded once.
        cache, progress, batch_size: as of `Encoded`.

    Returns:
        P, float32, from 0 to 1.
    """
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    if not len(pairs):
        return np.empty(0, np.float32)
    rows, places = np.unique(pairs, return_inverse=True)  # only what is compared is decoded
    encoded = Encoded(model, sightings[rows], memory, cache, progress, batch_size)
    return encoded.compared(places.reshape(-1, 2), symmetric, progress)[:, 1]


def score_similarities(
    model: Model, sightings: Sightings, pairs: NDArray[np.int64], **options: Any
) -> NDArray[np.float32]:
    """The cosine similarity of pairs of rows, P x 2, by an embedding network. P, float32.

    `options` are those of `Model.read`.
    """
    rows, places = np.unique(pairs, return_inverse=True)
    # Two pictures are compared without their cameras, as in a calibration.
    found = model.embed_sightings(sightings[rows], cameras=False, **options)
    a, b = places.reshape(-1, 2).T
    return pair_similarities(found, a, b)


class PairScorer:
    """A pairwise network as a `Scorer`: a distance is the probability of two people, the mean of both orders.

    It is 1 - P(same), computed so that it does not round to 0 where the network is sure. Distances that were asked for
    once are remembered, unless query and gallery make more than `REMEMBERED` pairs, so that a report costs nothing
    after an evaluation. Encoded images are kept as by `Encoded`.

    Args:
        model: the network.
        query, gallery: images with files.
        symmetric, memory, cache, progress, batch_size: as of `score_pairs`.
        cascaded: a cascade asks, for one query at a time, and shows the progress of comparing.
    """

    def __init__(
        self,
        model: PairModel,
        query: Sightings,
        gallery: Sightings,
        *,
        symmetric: bool = True,
        memory: int = MEMORY,
        cache: bool = True,
        progress: bool = True,
        batch_size: int | None = None,
        cascaded: bool = False,
    ) -> None:
        for side in (query, gallery):
            images_of(side)
        self._sides, self._symmetric, self._progress = (len(query), len(gallery)), symmetric, progress and not cascaded
        self._encoded = Encoded(model, Sightings.concat([query, gallery]), memory, cache, progress, batch_size)
        # Zeros take no memory before they are written over, and a distance of 0 that is measured again is 0 again.
        self._known = np.zeros(self._sides, np.float32) if len(query) * len(gallery) <= REMEMBERED else None

    def block(self, query_rows: Rows, gallery_rows: Rows) -> NDArray[np.float32]:
        """Distances of some query rows to some gallery rows. len(query_rows) x len(gallery_rows), float32, 0 to 1."""
        queries, answers = (np.arange(count)[rows] for count, rows in zip(self._sides, (query_rows, gallery_rows)))
        grid = np.ix_(queries, answers)
        out = np.zeros((len(queries), len(answers)), np.float32) if self._known is None else self._known[grid]
        new = out == 0
        i, j = np.nonzero(new)
        pairs = np.stack([queries[i], self._sides[0] + answers[j]], axis=1)
        out[new] = self._encoded.compared(pairs, self._symmetric, self._progress and len(pairs) > 10 * BATCH)[:, 0]
        if self._known is not None:
            self._known[grid] = out
        return out


@dataclass(frozen=True)
class PairVerdict:
    """What a pairwise network says of two pictures.

    Args:
        probability: that they show one person, by the network's softmax, the mean of both orders.
        orders: the probability in each order.
        rests_on: what the number is, in words.
    """

    probability: float
    orders: tuple[float, float]
    rests_on: str

    def __str__(self) -> str:
        """The verdict and what it rests on."""
        first, second = (100 * p for p in self.orders)
        shown = f"same person: {100 * self.probability:.1f} % (mean of both orders, {first:.1f} % and {second:.1f} %)"
        return f"{shown}\n{self.rests_on}"


def verify(model: PairModel, first: str | os.PathLike[str], second: str | os.PathLike[str]) -> PairVerdict:
    """Say how probably two picture files show one person.

    Raises:
        ImageError: a file cannot be read.
    """
    files = [os.fspath(first), os.fspath(second)]
    both = Encoded(model, Sightings([0, 0], files=files), cache=False, progress=False)  # type: ignore[arg-type]
    there, back = both.compared(np.array([[0, 1], [1, 0]]), symmetric=False, progress=False)[:, 1].tolist()
    height, width = model.size
    sizes = " and ".join(f"{h}x{w}" for h, w in image_sizes(files, progress=False).tolist())
    return PairVerdict(
        (there + back) / 2,
        (there, back),
        f"The probability is the softmax of {model.card.name}{_trained(model.card)}; it was not calibrated on other"
        f" people.\n"
        f"The pictures, {sizes} (height x width), were resized to {height}x{width}.",
    )


def _trained(card: Card) -> str:
    """How many negatives the network saw for each positive, and which, as far as its card says."""
    stated = card.training.get("pairs", {})
    negatives = 1 if stated.get("sampling") == "balanced" else stated.get("negatives")
    if negatives is None:
        return ""
    text = f", which was trained on {negatives} pair{'s' * (negatives > 1)} of two people for each of one"
    kind, share = stated.get("mining", "none"), stated.get("mined_share", 0)
    return text if kind == "none" else f"{text}, of them up to {100 * share:.0f} % mined ({kind} negatives)"
