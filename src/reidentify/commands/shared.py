"""What several commands share: a data set by name, pictures as rows, and how a network is used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reidentify.errors import InputError, ReidentifyWarning

if TYPE_CHECKING:
    from reidentify.data.benchmark import Benchmark
    from reidentify.embed import Model
    from reidentify.models.weights import Card, Preprocessing
    from reidentify.pairs import PairModel
    from reidentify.values import Sightings


@dataclass(frozen=True)
class Foreign:
    """What a foreign network expects of images.

    Args:
        channels: of a foreign network: order of the channels it wants.
        scale: of a foreign network: what pixel values are divided by first; 255 maps to 0..1, 1 leaves 0..255.
        mean: of a foreign network: of red, green and blue, subtracted after that; default ImageNet's, or 0 0 0 with
            --scale.
        std: of a foreign network: divided by after that; default ImageNet's, or 1 1 1 with --scale.
        size: of a foreign network: input height and width; default from the graph.
    """

    channels: Literal["rgb", "bgr"] | None = None
    scale: float | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    size: list[int] | None = None

    def preprocessing(self, weights: str) -> Preprocessing | None:
        """What the options state, completed from the card if there is one; None: they state nothing."""
        from reidentify.models.foreign import Graph
        from reidentify.models.weights import Card, Preprocessing, card_path

        stated: dict[str, Any] = {k: getattr(self, k) for k in ("channels", "scale", "mean", "std")}
        stated = {k: tuple(v) if isinstance(v, list) else v for k, v in stated.items() if v is not None}
        if not stated and not self.size:
            return None
        if self.scale is not None:
            stated = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), **stated}
        card = card_path(Path(weights))
        known = Card.read(card).preprocessing if card.exists() else None
        size = self.size or (known and (known.height, known.width)) or Graph(weights).size
        return replace(known or Preprocessing(), height=size[0], width=size[1], **stated)


@dataclass(frozen=True)
class Use(Foreign):
    """How a network is used.

    Args:
        device: e.g. cpu or cuda:1; default the GPU if there is one.
        flip: average with the mirror image; default as the weights' card says.
        scales: average over these enlargements of the input size; default the input size alone.
        batch_size: images per step, by default 64; of a pairwise network pairs, by default 32, on a GPU 128.
    """

    device: str | None = None
    flip: bool | None = None
    scales: list[float] | None = None
    batch_size: int | None = None

    def load(self, weights: str) -> Model:
        """The network, with the preprocessing that the options state."""
        from reidentify.embed import load

        return load(weights, self.device, self.preprocessing(weights))

    def load_pairs(self, weights: str) -> PairModel:
        """A pairwise network; the options that state views or preprocessing are not for it.

        Raises:
            InputError: one of them is given.
        """
        from reidentify.pairs import load_pairs

        for name in ("flip", "scales", "channels", "scale", "mean", "std", "size"):
            if getattr(self, name) is not None:
                raise InputError(f"--{name}: {weights} is a pairwise network, which sees pictures as its card says")
        return load_pairs(weights, self.device)

    def options(self) -> dict[str, Any]:
        """What `Model.embed_sightings` takes."""
        batch = 64 if self.batch_size is None else self.batch_size
        return {"flip": self.flip, "scales": self.scales or [1.0], "batch_size": batch}


def kind_of(weights: str) -> str:
    """The kind of network that weights are of, by their card; a foreign network without one embeds."""
    from reidentify.models.weights import Card, card_path
    from reidentify.zoo.locate import weights_path

    path = weights_path(weights)
    foreign = path.suffix.lower() in (".onnx", ".xml")
    return "embedding" if foreign and not card_path(path).exists() else Card.read(card_path(path)).kind


def warn_of_training_people(card: Card, whose: str, figures: str) -> None:
    """Warn that a network was trained on people that it is tested on."""
    import warnings

    warnings.warn(
        f"{card.name} was trained on {card.dataset}, {whose}: the {figures} flatter", ReidentifyWarning, stacklevel=3
    )


def benchmark_of(name: str, root: str | None) -> Benchmark:
    """A data set; the street is rendered when it is first asked for, unless `root` holds one of other settings."""
    from reidentify.data.benchmarks import benchmark
    from reidentify.data.root import data_root

    asked = {part.partition("@")[0] for part in name.split("+")}
    for folder, names in {"street": {"street", "street-tracklets"}, "street-dance": {"street-dance"}}.items():
        if asked & names:
            from reidentify.street import ensure

            if root is None or not any((Path(root) / place / "street.json").is_file() for place in (folder, ".")):
                ensure(data_root(root), dance=folder == "street-dance")
    return benchmark(name, root)


def files_of(places: list[str]) -> list[str]:
    """The picture files that are named, and those of the folders that are named, in the order of their names.

    Raises:
        InputError: there is none, or a name is not valid UTF-8.
    """
    from reidentify.data.own_table import natural
    from reidentify.data.root import image_files, readable

    found: list[list[str]] = []
    for place in map(Path, places):
        inside = image_files(place, recursive=True) if place.is_dir() else [readable(place)]
        found.append(sorted(map(str, inside), key=natural))  # frame 10 after frame 9
    if not any(found):
        raise InputError(f"{', '.join(places)}: no images there")
    return [file for some in found for file in some]


def rows_of(places: list[str], tracklets: bool) -> tuple[list[str], Sightings]:
    """Pictures as rows of persons who are not known.

    Args:
        places: picture files, or folders of them.
        tracklets: every folder with pictures in it is a tracklet, and every picture that is named by itself; else every
            picture is a row.

    Returns:
        A name for each row, and the rows.

    Raises:
        InputError: as `files_of`.
    """
    from reidentify.values import Sightings

    frames: dict[str, list[str]] = {}
    for place in places:
        for file in files_of([place]):
            whole = tracklets and Path(place).is_dir()
            frames.setdefault(str(Path(file).parent) if whole else file, []).append(file)
    offsets = [0]
    for some in frames.values():
        offsets.append(offsets[-1] + len(some))
    files = [file for some in frames.values() for file in some]
    return list(frames), Sightings([0] * len(frames), files=files, offsets=offsets)  # type: ignore[arg-type]
