"""Commands about two pictures: how probable one person is, how to learn that, and how often a network is right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reidentify.commands.shared import Use, benchmark_of, kind_of, warn_of_training_people
from reidentify.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reidentify.data.benchmark import Benchmark
    from reidentify.embed import Model
    from reidentify.pairs import PairModel
    from reidentify.ranking.pairwise import Group, PairScores
    from reidentify.values import Sightings


def calibrate(weights: str, data: str, use: Use, root: str | None = None, picture: str | None = None) -> None:
    """Learn, from people the network has not seen, how probable "same person" is at which similarity.

    The calibration is written into the card beside the weights, where `reidentify verify` finds it. Of the data set
    that the network was trained on, the identities that its training set aside are taken; of another, its training
    identities, or all of them where it has none.

    Examples:
      reidentify calibrate runs/market --data market1501
      reidentify calibrate model.onnx --data my-people --picture reliability.png

    Args:
        weights: a run folder, a weights.safetensors, an ONNX file or an OpenVINO IR.
        data: a data set, or a path to your own data.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
        picture: a PNG file for the reliability curve.
    """
    from reidentify.calibrate import calibrate, unseen, write_card

    model = use.load(weights)
    benchmark = benchmark_of(data, root)
    found = calibrate(model, unseen(model.card, benchmark), benchmark.name, **use.options())
    print(found)
    print(write_card(weights, model.card, found, use.flip, use.scales or [1.0]))
    if picture:
        from reidentify.files import write
        from reidentify.report.charts import LIGHT
        from reidentify.report.verification import reliability

        write(Path(picture), reliability(found.reliability, found.calibration_error, LIGHT))
        print(picture)


def verify(weights: str, first: str, second: str, use: Use, prior: float = 0.5) -> None:
    """Say how probably two pictures show the same person, and what that rests on.

    An embedding network needs a calibration, and embeds the pictures as those of the calibration were, unless --flip or
    --scales say otherwise. A pairwise network compares the pictures in both orders.

    Examples:
      reidentify verify market-small a.jpg b.jpg
      reidentify verify runs/pairs a.jpg b.jpg

    Args:
        weights: the name of shipped weights, a run folder, or another network that `reidentify calibrate` was run on.
        first: a picture of one person.
        second: another.
        prior: how probable it is before looking; in a search among many people it is small. Of embedding networks.
    """
    if kind_of(weights) == "pairs":
        from reidentify import pairs

        if prior != 0.5:
            raise InputError("--prior: the probability of a pairwise network is not calibrated, so it takes no prior")
        print(pairs.verify(use.load_pairs(weights), first, second))
        return
    from reidentify.calibrate import verify

    print(verify(use.load(weights), first, second, prior=prior, flip=use.flip, scales=use.scales))


def pairs(
    weights: str,
    data: str,
    out: str,
    use: Use,
    split: Literal["train", "query", "gallery", "test", "all"] = "test",
    negatives: int = 1,
    positives: int | None = None,
    seed: int = 0,
    threshold_from: str | None = None,
    examples: int = 8,
    root: str | None = None,
) -> None:
    """Judge pairs of images one by one: confusion matrix, accuracy, ROC AUC, and pictures of what was judged how.

    The pairs are all that show one person, and for each of them random ones of two people: its first image with an
    image of another. Junk and distractors are left out. The network may be a pairwise one, whose probability is the
    mean of both orders, or an embedding network, whose similarity its calibration turns into a probability; on the same
    data with the same seed the pairs are the same. Either says "one person" from 50 % on.

    Accuracy on pairs depends on how many of either kind there are and says little of ranking: 1 % of false positives is
    a good pair score, and in a gallery of thousands it buries the right answer.

    Examples:
      reidentify pairs runs/pairs --data cuhk03-talk --out runs/pairs/cuhk03
      reidentify pairs market-small --data market1501 --split gallery --out runs/market-pairs
      reidentify pairs runs/pairs --data cuhk01 --split all --out runs/pairs/cuhk01

    Args:
        weights: the name of shipped weights, a run folder, or a weights.safetensors; for an embedding network also an
            ONNX file or an OpenVINO IR.
        data: a data set, or a path to your own data.
        out: folder for metrics.json, pairs.parquet (files, score and truth of every pair) and pairs.png.
        split: which images: of training; the queries; the gallery; both of these, an image that is in both once; or
            all three. Of market1501 the gallery holds 143,758 positive pairs, the queries 6,241.
        negatives: pairs of two people for each of one.
        positives: so many pairs of one person, drawn at random; default all, as where there are fewer.
        seed: of the draws.
        threshold_from: a folder written by this command with the same weights, say on training pairs: decide by the
            threshold with the best accuracy there. An embedding network without a calibration otherwise gets the best
            threshold for these very pairs, and that is said.
        examples: pairs of each kind in pairs.png, the most confident ones; 0 for no picture.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    import numpy as np

    from reidentify.data.console import say
    from reidentify.data.pairs import positive_pairs, with_negatives
    from reidentify.ranking import pairwise

    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out} is a file; give a folder with --out")
    for name, value, least in (("negatives", negatives, 1), ("positives", positives, 1), ("examples", examples, 0)):
        if value is not None and value < least:
            raise InputError(f"--{name}: expected {least} or more, got {value}")
    network = use.load_pairs(weights) if kind_of(weights) == "pairs" else use.load(weights)
    card = network.card
    benchmark = benchmark_of(data, root)
    rows = _rows(benchmark, split)
    if whose := _trained_on(card.dataset, benchmark.name, split):
        warn_of_training_people(card, whose, "figures")
    chosen = positive_pairs(rows.pids, f"{benchmark.name} ({split})")
    if positives is not None:
        if positives > len(chosen):
            say(f"--positives: of {positives:,} that were asked for there are {len(chosen):,}, and all are taken")
        chosen = chosen[np.sort(np.random.default_rng(seed).permutation(len(chosen))[:positives])]
    chosen, same = with_negatives(rows.pids, chosen, negatives, seed)
    scores = _scores(network, rows, chosen, use)
    if threshold_from is not None:
        decided = pairwise.threshold_from(threshold_from, card.name, card.sha256, scores.what)
    elif (decided := scores.threshold) is None:
        decided = (
            pairwise.best_threshold(scores.values, same),
            "the best accuracy on these very pairs, which flatters; calibrate the network, or give --threshold-from",
        )
    found = pairwise.PairScores(scores.values, rows.pids[chosen], decided[0], scores.what, decided[1])
    print(f"{card.name} on {benchmark.name} ({split}), trained on {card.dataset or card.data}")
    print(found)
    groups = _groups(found, rows, chosen, benchmark)
    _print(groups)
    stated = {
        "weights": card.name, "sha256": card.sha256, "data": benchmark.name, "split": split, "seed": seed,
        "negatives": negatives, "by_attribute": [asdict(group) for group in groups],
    }  # fmt: skip
    if examples:
        from reidentify.report.pairs import save

        print(save(Path(out) / "pairs.png", found, rows, chosen, examples))
    files = rows.files[rows.offsets[chosen]]
    found.save(out, {"file_a": files[:, 0], "file_b": files[:, 1]}, **stated)


def _trained_on(trained: str, tested: str, split: str) -> str:
    """What people of this split have to do with those that a network was trained on; empty if nothing."""
    from reidentify.data.benchmarks import bases, trained_on_tested

    if split == "train":
        return f"and the people of {tested} (train) are training people" if bases(trained) & bases(tested) else ""
    met = bases(trained) & bases(tested) if split == "all" else trained_on_tested(trained, tested)
    return f"whose people may be among those of {tested} ({split})" if met else ""


def _rows(benchmark: Benchmark, split: str) -> Sightings:
    """The images of a split that have an identity, each once."""
    from reidentify.data.pairs import distinct
    from reidentify.values import DISTRACTOR

    everything = benchmark.sightings
    taken = {"test": ("query", "gallery"), "all": ("train", "query", "gallery")}.get(split, (split,))
    assert everything.split is not None
    keep = (everything.pids > DISTRACTOR) & [s in taken for s in everything.split.tolist()]
    if not keep.any():
        raise InputError(f"--split {split}: {benchmark.name} has no such images of known people")
    rows = everything[keep]
    return rows[distinct(rows)]


def _scores(network: Model | PairModel, rows: Sightings, chosen: NDArray[np.int64], use: Use) -> _Scores:
    """What either kind of network says of pairs."""
    from reidentify.calibrate import calibration_of
    from reidentify.pairs import PairModel, score_pairs, score_similarities

    if isinstance(network, PairModel):
        found = score_pairs(network, rows, chosen, batch_size=use.batch_size)
        what = "the network's probability of one person, the mean of both orders"
        return _Scores(found, what, (0.5, "what the network thinks more probable than not"))
    if not network.card.calibration:
        return _Scores(score_similarities(network, rows, chosen, **use.options()), "the cosine similarity", None)
    calibration, flip, scales = calibration_of(network.card)
    if use.flip is not None or use.scales is not None:
        raise InputError(
            f"--flip and --scales: the calibration of {network.card.name} rests on views of its own; calibrate anew"
            " with others"
        )
    similarity = score_similarities(network, rows, chosen, **{**use.options(), "flip": flip, "scales": scales})
    rule = f"what the calibration thinks more probable than not at even odds; it {calibration.rests_on}"
    return _Scores(calibration.probability(similarity), "the calibrated probability of one person", (0.5, rule))


@dataclass(frozen=True)
class _Scores:
    """Scores of pairs, what they are, and the threshold that they come with, if any, with where it is from."""

    values: NDArray[np.floating]
    what: str
    threshold: tuple[float, str] | None


def _groups(found: PairScores, rows: Sightings, chosen: NDArray[np.int64], benchmark: Benchmark) -> list[Group]:
    """The pairs by the attributes of their sightings, where the data has such."""
    from reidentify.ranking.pairwise import by_attribute

    groups: list[Group] = []
    for attribute in benchmark.schema:
        if not attribute.identity:
            values = rows.attributes[attribute.name]
            groups += by_attribute(found, attribute.name, attribute.values, values[chosen[:, 0]], values[chosen[:, 1]])
    return groups


def _print(groups: list[Group]) -> None:
    if not groups:
        return
    from rich.markup import escape
    from rich.table import Table

    from reidentify.data.console import console

    table = Table("attribute", "values of the two images")
    for name in ("pairs", "accuracy %", "TPR %", "FPR %"):
        table.add_column(name, justify="right")
    for g in groups:
        rates = ("" if rate is None else f"{100 * rate:.2f}" for rate in (g.accuracy, g.tpr, g.fpr))
        table.add_row(escape(g.attribute), escape(g.values), f"{g.pairs:,}", *rates)
    console().print(table)
