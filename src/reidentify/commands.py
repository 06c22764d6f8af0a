"""The commands: typed functions whose text is their help. `cli` parses for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import reidentify
from reidentify.errors import InputError
from reidentify.values import Embeddings, Sightings

if TYPE_CHECKING:
    from reidentify.data.benchmark import Benchmark
    from reidentify.embed import Model
    from reidentify.ranking.protocol import Protocol


def list_(root: str | None = None) -> None:
    """List the data sets, and which of them are under the data root.

    Example: reidentify data list

    Args:
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from rich.table import Table

    from reidentify.data.benchmarks import facts, names
    from reidentify.data.console import console
    from reidentify.data.root import data_root

    table = Table("name", "data set", "at hand", "direct download", title=f"Data sets (root: {data_root(root)})")
    for name in names():
        fact = facts(name)
        here = any((data_root(root) / folder).exists() for folder in (fact.folder, name))
        table.add_row(name, fact.title, "yes" if here else "", "yes" if fact.downloads else "")
    console().print(table)


def get(name: str, root: str | None = None) -> None:
    """Download and unpack a data set, where its publisher allows that; otherwise say where to ask for it.

    Example: reidentify data get viper

    Args:
        name: of the data set, as `reidentify data list` shows it.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.data.obtain import get

    for path in get(name, root):
        print(path)


def check(name: str, root: str | None = None) -> int:
    """Compare a data set with its published counts and decode every image; the unreadable ones are listed.

    Example: reidentify data check market1501

    Args:
        name: of a data set, or a path to your own data.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.data.console import console
    from reidentify.data.inspect import check

    report = check(_benchmark(name, root))
    console().print(report)
    return 0 if report.ok else 1


def stats(name: str, root: str | None = None) -> None:
    """Show identities, images, cameras and images per identity of each split.

    Example: reidentify data stats market1501

    Args:
        name: of a data set, or a path to your own data.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.data.console import console
    from reidentify.data.inspect import stats

    console().print(stats(_benchmark(name, root)))


def import_(source: str, out: str, fraction: float = 0.5, seed: int = 0) -> None:
    """Turn your own data into a data set with a seeded split in which no person is in both train and test.

    Example: reidentify data import people.csv --out people, then: reidentify train market-cpu --data people --out run

    Args:
        source: a folder per identity, a folder with Market-style names, or a table (CSV or Parquet) with the columns
            path, pid and, if known, camid, time (seconds) and split.
        out: a new folder.
        fraction: share of the identities that is trained on.
        seed: of the split.
    """
    from reidentify.data.own import import_data

    print(import_data(source, out, fraction, seed))


def street(
    out: str, identities: int = 20, cameras: int = 6, minutes: float = 2.0, seed: int = 0, video: bool = True
) -> None:
    """Render a street: people under several cameras, with complete ground truth.

    Example: reidentify street --out street --identities 50 --cameras 6 --minutes 8 --video false

    Args:
        out: a new folder for crops, tracklets and tables.
        identities: number of people, 2 to 9999.
        cameras: number of cameras, 2 to 99.
        minutes: length of the recording, 2 to 1440.
        seed: the same seed renders the same bytes.
        video: also write an MP4 video per camera, which takes about two minutes per camera and minute on one core.
    """
    from reidentify.street import render

    print(render(out, identities=identities, cameras=cameras, minutes=minutes, seed=seed, video=video))


def train(recipe: str, data: str, out: str, root: str | None = None, set: list[str] | None = None) -> None:
    """Train a network by a recipe. An unfinished run of the same recipe in the same folder is resumed.

    Example: reidentify train market-cpu --data market1501 --out runs/market --set optimiser.epochs=20

    Args:
        recipe: the name of a shipped recipe (`reidentify recipes`), or a YAML file.
        data: a data set, several joined by +, or a path to your own data.
        out: the run folder.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
        set: changes to the recipe, key=value each; docs/recipes.md lists the keys.
    """
    from reidentify.training.recipe import read_recipe

    read = read_recipe(recipe, set or [])
    benchmark = _benchmark(data, root)
    from reidentify.ranking.results import Result
    from reidentify.training.run import train

    weights = train(read, benchmark, out)
    if (Path(out) / "metrics.json").exists():
        print(Result.load(out))
    print(weights)


def recipes() -> None:
    """List the shipped recipes.

    Example: reidentify recipes
    """
    from rich.table import Table

    from reidentify.data.console import console
    from reidentify.training.recipe import names, read_recipe

    table = Table("recipe", "what it trains")
    for name in names():
        table.add_row(name, read_recipe(name).description)
    console().print(table)


@dataclass(frozen=True)
class Use:
    """How a network is used.

    Args:
        device: e.g. cpu or cuda:1; default the GPU if there is one.
        flip: average with the mirror image; default as the weights' card says.
        scales: average over these enlargements of the input size.
        batch_size: images per step.
        channels: of a foreign network: order of the channels it wants.
        scale: of a foreign network: what pixel values are divided by first; 255 maps to 0..1, 1 leaves 0..255.
        mean: of a foreign network: of red, green and blue, subtracted after that; default ImageNet's, or 0 0 0 with
            --scale.
        std: of a foreign network: divided by after that; default ImageNet's, or 1 1 1 with --scale.
        size: of a foreign network: input height and width; default from the graph.
    """

    device: str | None = None
    flip: bool | None = None
    scales: list[float] = field(default_factory=lambda: [1.0])
    batch_size: int = 64
    channels: Literal["rgb", "bgr"] | None = None
    scale: float | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    size: list[int] | None = None

    def load(self, weights: str) -> Model:
        """The network, with the preprocessing that the options state."""
        from reidentify.embed import load
        from reidentify.models.foreign import ForeignNetwork
        from reidentify.models.weights import Card, Preprocessing, card_path

        stated: dict[str, Any] = {k: getattr(self, k) for k in ("channels", "scale", "mean", "std")}
        stated = {k: tuple(v) if isinstance(v, list) else v for k, v in stated.items() if v is not None}
        if not stated and not self.size:
            return load(weights, self.device)
        if self.scale is not None:
            stated = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), **stated}
        card = card_path(Path(weights))
        known = Card.read(card).preprocessing if card.exists() else None
        size = self.size or (known and (known.height, known.width)) or ForeignNetwork(weights).size
        return load(weights, self.device, replace(known or Preprocessing(), height=size[0], width=size[1], **stated))

    def options(self) -> dict[str, Any]:
        """What `Model.embed_sightings` takes."""
        return {"flip": self.flip, "scales": self.scales, "batch_size": self.batch_size}


def embed(
    weights: str,
    images: list[str],
    output: str,
    use: Use,
    data: str | None = None,
    split: Literal["train", "query", "gallery"] = "gallery",
    root: str | None = None,
) -> None:
    """Embed pictures of persons and write the vectors with their paths to a Parquet file.

    Examples:
      reidentify embed market-small crops/*.jpg -o crops.parquet
      reidentify embed market-small --data market1501 --split query -o query.parquet

    Args:
        weights: the name of shipped weights, a run folder, a weights.safetensors, an ONNX file or an OpenVINO IR.
        images: picture files, or folders of them; who they show is not known.
        output: the Parquet file.
        data: a data set, or a path to your own data, instead of images: identities, cameras and times are written too.
        split: which part of the data set.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    import numpy as np

    from reidentify.data.root import image_files

    if bool(data) == bool(images):
        raise InputError("embed needs either images or --data NAME")
    if data:
        rows = getattr(_benchmark(data, root), split)
    else:
        found = [image_files(Path(path), recursive=True) if Path(path).is_dir() else [Path(path)] for path in images]
        files = np.array([str(file) for some in found for file in some], object)
        rows = Sightings(np.zeros(len(files), np.int64), files=files)
    if not len(rows):
        raise InputError(f"{f'the {split} of {data}' if data else ', '.join(images)}: no images there")
    use.load(weights).embed_sightings(rows, **use.options(), cache=bool(data)).save(output)
    print(output)


def evaluate(
    out: str,
    use: Use,
    weights: str | None = None,
    data: str | None = None,
    root: str | None = None,
    query: str | None = None,
    gallery: str | None = None,
    query_embeddings: str | None = None,
    gallery_embeddings: str | None = None,
    report: bool = True,
) -> None:
    """Rank a gallery for every query and score the ranking lists: CMC, mAP, mINP.

    Examples:
      reidentify evaluate market-small --data market1501 --out runs/market
      reidentify evaluate market-small --query people/query --gallery people/gallery --out runs/people
      reidentify evaluate --query-embeddings q.parquet --gallery-embeddings g.parquet --out runs/mine

    Args:
        out: folder for metrics.json, per_query.parquet and report.html.
        weights: the name of shipped weights, a run folder, a weights.safetensors, an ONNX file or an OpenVINO IR.
        data: a data set, or a path to your own data.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
        query: a folder of query images, instead of a data set.
        gallery: a folder of gallery images, instead of a data set.
        query_embeddings: a Parquet file of embeddings, instead of weights and data.
        gallery_embeddings: likewise.
        report: write report.html and its pictures.
    """
    from reidentify.data.own import read_pair
    from reidentify.embed import embed_sides

    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out} is a file; give a folder with --out")
    if query_embeddings and gallery_embeddings:
        if weights or data or query or gallery:
            raise InputError("evaluate takes embeddings, or weights and images, not both")
        title = f"{query_embeddings} in {gallery_embeddings}"
        _scored(Embeddings.load(query_embeddings), Embeddings.load(gallery_embeddings), None, out, title, report)
        return
    if weights is None or not (data or (query and gallery)):
        raise InputError(
            "evaluate needs WEIGHTS with --data NAME or with --query DIR --gallery DIR, or else --query-embeddings FILE"
            " --gallery-embeddings FILE"
        )
    if data and (query or gallery):
        raise InputError("evaluate takes --data, or --query and --gallery, not both")
    benchmark = _benchmark(data, root) if data else read_pair(query or "", gallery or "")
    if not len(benchmark.query) or not len(benchmark.gallery):
        raise InputError(f"{benchmark.name} has no query and gallery to evaluate on")
    model = use.load(weights)
    sides = embed_sides(model, benchmark, **use.options())
    _scored(*sides, benchmark.protocol, out, f"{model.card.name} on {benchmark.name}", report)


def demo(out: str = "runs/demo", root: str | None = None) -> None:
    """Render the street, train a small network on it, and report how well it finds people again.

    Example: reidentify demo

    Args:
        out: the run folder; a finished one is reported anew, an unfinished one resumed.
        root: the data root, where the street is kept; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.embed import embed_sides, load
    from reidentify.training.recipe import read_recipe
    from reidentify.training.run import WEIGHTS, train

    benchmark = _benchmark("street", root)
    if not (Path(out) / WEIGHTS).exists():
        train(read_recipe("demo"), benchmark, out)
    sides = embed_sides(load(out), benchmark)
    _scored(*sides, benchmark.protocol, out, "The street: people the network has never seen", True)


def convert(source: str, out: str) -> None:
    """Turn torchreid's OSNet, a checkpoint or an ONNX file, into weights with a card.

    Example: reidentify convert osnet_x1_0_msmt17.pth --out weights/osnet-x1.0-msmt17.safetensors

    Args:
        source: the checkpoint.
        out: the safetensors file; its card is written beside it.
    """
    from reidentify.models.convert import convert

    print(convert(Path(source), Path(out)))


def _benchmark(name: str, root: str | None) -> Benchmark:
    """A data set; the street is rendered when it is first asked for."""
    from reidentify.data.benchmarks import benchmark
    from reidentify.data.root import data_root

    if any(part.partition("@")[0] in ("street", "street-tracklets") for part in name.split("+")):
        from reidentify.street import ensure

        ensure(data_root(root))
    return benchmark(name, root)


def _scored(
    query: Embeddings, gallery: Embeddings, protocol: Protocol | None, out: str, title: str, report: bool
) -> None:
    """Evaluate, print, and write the results."""
    result = reidentify.evaluate(query, gallery, protocol)
    result.save(out)
    print(result)
    if report:
        from reidentify.report import write

        print(f"report: {write(result, query, gallery, out, title=title)}")


Command: TypeAlias = "Callable[..., int | None]"
COMMANDS: dict[str, Command | dict[str, Command]] = {
    "demo": demo,
    "data": {"list": list_, "get": get, "check": check, "stats": stats, "import": import_},
    "street": street,
    "recipes": recipes,
    "train": train,
    "embed": embed,
    "evaluate": evaluate,
    "convert": convert,
}
