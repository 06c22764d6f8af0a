"""Commands that make networks and run them: train, embed, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reidentify.commands.shared import Use, benchmark_of, rows_of
from reidentify.errors import InputError


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
    benchmark = benchmark_of(data, root)
    from reidentify.ranking.results import Result
    from reidentify.training.run import train

    weights = train(read, benchmark, out)
    if (Path(out) / "metrics.json").exists():
        print(Result.load(out))
    print(weights)


def find_lr(
    recipe: str,
    data: str,
    output: str = "lr.png",
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    root: str | None = None,
    set: list[str] | None = None,
) -> None:
    """Find a learning rate: train for some steps while the rate rises, and draw the loss over it.

    The rate printed is where the loss falls fastest; many take a third of it. Nothing of the training is kept.

    Example: reidentify find-lr fused --data cuhk03-talk -o lr.png

    Args:
        recipe: the name of a shipped recipe (`reidentify recipes`), or a YAML file.
        data: a data set, several joined by +, or a path to your own data.
        output: the picture.
        lowest: the first rate.
        highest: the last rate.
        steps: batches, at least 20.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
        set: changes to the recipe, key=value each.
    """
    from reidentify.training.recipe import read_recipe

    read = read_recipe(recipe, set or [])
    benchmark = benchmark_of(data, root)
    from reidentify import files
    from reidentify.report.charts import LIGHT
    from reidentify.report.rates import range_test
    from reidentify.training.rates import find_rate

    found = find_rate(read, benchmark, lowest, highest, steps)
    files.write(Path(output), range_test(found.rates, found.losses, found.suggestion, read.optimiser.lr, LIGHT))
    print(f"{found.suggestion:.2e}: the loss falls fastest there ({recipe} has {read.optimiser.lr:.2e}); {output}")


def curves(runs: list[str], output: str = "curves.png", value: str = "validation/mAP") -> None:
    """Draw one value of several trainings over their epochs; runs that differ in their seed alone are averaged.

    The value at the last epoch is printed.

    Examples:
      reidentify curves runs/a runs/b -o curves.png
      reidentify curves runs/mined-* runs/plain-* --value validation/accuracy

    Args:
        runs: run folders.
        output: the picture.
        value: a column of their history.csv.
    """
    from reidentify import files
    from reidentify.report.charts import LIGHT
    from reidentify.report.runs import chart
    from reidentify.report.runs import curves as read

    found = read(runs, value)
    files.write(Path(output), chart(found, value, LIGHT))
    for curve in found:
        last = curve.values[:, -1]
        spread = f" (runs from {last.min():.3f} to {last.max():.3f})" if len(last) > 1 else ""
        print(f"{curve.name}: {value} {last.mean():.3f} at epoch {curve.epochs[-1]}{spread}")
    print(output)


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
        images: picture files, or folders of them; who they show is not known. For a network of clips a folder with
            pictures is a tracklet.
        output: the Parquet file.
        data: a data set, or a path to your own data, instead of images: identities, cameras and times are written too.
        split: which part of the data set.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    if bool(data) == bool(images):
        raise InputError("embed needs either images or --data NAME")
    rows = getattr(benchmark_of(data, root), split) if data else None
    if rows is not None and not len(rows):
        raise InputError(f"the {split} of {data}: no images there")
    model = use.load(weights)
    if rows is None:
        rows = rows_of(images, tracklets=model.card.clip > 1)[1]
    model.embed_sightings(rows, **use.options(), cache=bool(data)).save(output)
    print(output)


def convert(source: str, out: str) -> None:
    """Turn torchreid's OSNet, a checkpoint or an ONNX file, into weights with a card.

    Example: reidentify convert osnet_x1_0_msmt17.pth --out weights/osnet-x1.0-msmt17.safetensors

    Args:
        source: the checkpoint.
        out: the safetensors file; its card is written beside it.
    """
    from reidentify.models.convert import convert

    print(convert(Path(source), Path(out)))
