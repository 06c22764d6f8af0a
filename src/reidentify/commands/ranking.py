"""Commands that rank: evaluate, compare two evaluations, and the demo."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import reidentify
from reidentify.commands.ranked import Ranked, Side
from reidentify.commands.shared import Use, benchmark_of, kind_of, warn_of_training_people
from reidentify.errors import InputError
from reidentify.values import Embeddings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reidentify.data.benchmark import Benchmark
    from reidentify.embed import Model
    from reidentify.pairs import PairModel
    from reidentify.ranking.distance import Scorer
    from reidentify.ranking.protocol import Protocol
    from reidentify.ranking.results import Result
    from reidentify.values import Attribute


def evaluate(
    out: str,
    use: Use,
    ranked: Ranked,
    weights: str | None = None,
    data: str | None = None,
    root: str | None = None,
    query: str | None = None,
    gallery: str | None = None,
    query_embeddings: str | None = None,
    gallery_embeddings: str | None = None,
    verification: bool = False,
    report: bool = True,
) -> None:
    """Rank a gallery for every query and score the ranking lists: CMC, mAP, mINP, with 95 % intervals.

    Examples:
      reidentify evaluate market-small --data market1501 --out runs/market
      reidentify evaluate market-small --data market1501 --out runs/market-reranked --rerank
      reidentify evaluate model.onnx --data viper@all --out runs/viper
      reidentify evaluate market-small --query people/query --gallery people/gallery --out runs/people
      reidentify evaluate --query-embeddings q.parquet --gallery-embeddings g.parquet --out runs/mine
      reidentify evaluate market-small --data market1501 --rescore runs/pairs --rescore-top 50 --out runs/cascade
      reidentify evaluate runs/pairs --data cuhk03-talk --protocol single-shot --between 1 2 --out runs/pairs-ranked

    A pairwise network compares every query with every gallery image, which suits small galleries; for larger ones let
    an embedding network rank, and the pairwise one --rescore.

    Args:
        out: folder for metrics.json, per_query.parquet and report.html; attributes.json too, where the network tells
            attributes and the data has them.
        weights: the name of shipped weights, a run folder, a weights.safetensors, an ONNX file or an OpenVINO IR; of
            an embedding or a pairwise network.
        data: a data set, or a path to your own data; NAME@all averages over all random splits.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
        query: a folder of query images, instead of a data set.
        gallery: a folder of gallery images, instead of a data set.
        query_embeddings: a Parquet file of embeddings, instead of weights and data.
        gallery_embeddings: the same for the gallery.
        verification: also say how well a threshold tells same from different (ROC, EER) and who is not there at all
            (open-set search).
        report: write report.html and its pictures.
    """
    from reidentify.data.own import read_pair

    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out} is a file; give a folder with --out")
    device = use.device if use.device and use.device.startswith("cuda") else None
    # Mistakes among the options are said before anything is embedded.
    pairwise = weights is not None and kind_of(weights) == "pairs"
    ranked.check(weights, pairwise)
    task = _Evaluation(Path(out), ranked, ranked.rule(), ranked.options(), device, verification, report, use.batch_size)
    if query_embeddings and gallery_embeddings:
        if weights or data or query or gallery:
            raise InputError("evaluate takes embeddings, or weights and images, not both")
        if task.rule is not None and task.rule.queries_in_gallery:
            raise InputError(f"--protocol {task.rule.name} puts the queries into the gallery: evaluate --data instead")
        sides = Embeddings.load(query_embeddings), Embeddings.load(gallery_embeddings)
        task.run(*sides, None, f"{query_embeddings} in {gallery_embeddings}")
        return
    if weights is None or not (data or (query and gallery)):
        raise InputError(
            "evaluate needs WEIGHTS with --data NAME or with --query DIR --gallery DIR, or else --query-embeddings FILE"
            " --gallery-embeddings FILE"
        )
    if data and (query or gallery):
        raise InputError("evaluate takes --data, or --query and --gallery, not both")
    if data and data.endswith("@all"):
        if verification:
            raise InputError("--verification is of one split at a time: give NAME@0, not NAME@all")
        task.over_splits(use, weights, pairwise, data.removesuffix("@all"), root)
        return
    benchmark = task.under_rule(benchmark_of(data, root) if data else read_pair(query or "", gallery or ""))
    network = _Network(use, weights, pairwise)
    card = network.model.card
    task = task.by(network, use, [benchmark.name], benchmark.name)
    *sides, told = network.read(benchmark)
    task.run(*sides, benchmark.protocol, f"{card.name} on {benchmark.name}")
    task.attributes(told, benchmark, card.schema)


class _Network:
    """A network of either kind, and what it makes of a benchmark before distances are measured."""

    def __init__(self, use: Use, weights: str, pairwise: bool) -> None:
        self.pairwise = use.load_pairs(weights) if pairwise else None
        self.model: Model | PairModel = self.pairwise or use.load(weights)
        self._options = use.options()

    def read(self, benchmark: Benchmark) -> tuple[Side, Side, dict[str, NDArray[np.float32]]]:
        """Query and gallery, and the attributes that were told: embedded, or for a pairwise network as they are."""
        from reidentify.embed import Model, read_sides

        if isinstance(self.model, Model):
            return read_sides(self.model, benchmark, **self._options)
        return benchmark.query, benchmark.gallery, {}


@dataclass(frozen=True)
class _Evaluation:
    """An evaluation and the folder it goes to."""

    out: Path
    ranked: Ranked
    rule: Protocol | None
    options: dict[str, Any]
    device: str | None
    verification: bool
    report: bool
    batch_size: int | None = None
    pairwise: PairModel | None = None
    rescorer: PairModel | None = None

    def by(self, network: _Network, use: Use, tested: Sequence[str], title: str) -> _Evaluation:
        """The evaluation by a network and the one that ranks anew, if any, with a warning where one was trained on
        people of the data sets or splits that are `tested`."""
        from reidentify.data.benchmarks import trained_on_tested

        rescorer = self.ranked.rescorer(use)
        for model in (network.model, rescorer):
            if model is None:
                continue
            met = sum(trained_on_tested(model.card.dataset, name) for name in tested)
            if met:
                place = title if len(tested) == 1 else f"{met} of the {len(tested)} splits of {title}"
                whose = f"whose people may be among those searched for in {place}"
                warn_of_training_people(model.card, whose, "scores")
        return replace(self, pairwise=network.pairwise, rescorer=rescorer)

    def under_rule(self, benchmark: Benchmark) -> Benchmark:
        """The benchmark under the protocol that was asked for, if any."""
        benchmark.require_sides()
        return benchmark if self.rule is None else benchmark.replace(protocol=self.rule)

    def ranking(
        self, query: Side, gallery: Side, protocol: Protocol | None
    ) -> tuple[Result, Side, Side, Scorer | None]:
        """The result; what was compared, and by what if not by cosine."""
        from reidentify.ranking.evaluate import match_sightings, scorer_for, sightings_of

        query, gallery = self.ranked.sides(query, gallery)
        options, matches = dict(self.options), None
        if self.pairwise is not None or self.rescorer is not None:
            from reidentify.data.console import say
            from reidentify.pairs import PairScorer

            rows = sightings_of(query), sightings_of(gallery)
            if self.pairwise is not None:
                options["scorer"] = PairScorer(self.pairwise, *rows, batch_size=self.batch_size)
            if self.rescorer is not None:
                say(f"{len(query):,} queries are compared with {self.ranked.top} images each, in both orders")
                matches = match_sightings(*rows, self.rule or protocol)
                careful = PairScorer(self.rescorer, *rows, batch_size=self.batch_size, cascaded=True)
                options |= {"rescore": (careful, self.ranked.top), "progress": True}
        scorer = scorer_for(query, gallery, matches, device=self.device, **options) if options else None
        device = None if scorer else self.device
        result = reidentify.evaluate(query, gallery, self.rule or protocol, scorer=scorer, device=device)
        return replace(result, ranking=self.ranked.words()), query, gallery, scorer

    def run(self, query: Side, gallery: Side, protocol: Protocol | None, title: str) -> None:
        """Rank, print, and write the results; metrics.json last, so that where it is, the report is."""
        from reidentify.ranking.results import METRICS

        result, query, gallery, scorer = self.ranking(query, gallery, protocol)
        (self.out / METRICS).unlink(missing_ok=True)
        print(result)
        judged: dict[str, Any] = {}
        if self.verification:
            from reidentify.ranking.open_set import open_set
            from reidentify.ranking.verify import verification

            judged = {
                judge.__name__: judge(query, gallery, result.protocol, scorer=scorer)
                for judge in (verification, open_set)
            }
        for found in judged.values():
            found.save(self.out)
            print(found)
        page = None
        if self.report:
            from reidentify.report import write

            page = write(result, query, gallery, self.out, title=title, scorer=scorer, **judged)
        result.save(self.out)
        if page is not None:
            print(f"report: {page}")

    def attributes(
        self, told: Mapping[str, NDArray[np.float32]], benchmark: Benchmark, schema: Sequence[Attribute]
    ) -> None:
        """Print and write how well the network tells the attributes that the data has labels of, if there are any, and
        say which of them cannot be scored."""
        from reidentify.attributes import comparable, scores
        from reidentify.files import write

        (self.out / "attributes.json").unlink(missing_ok=True)
        common, others = comparable(schema, benchmark.schema, benchmark.name)
        if common:
            found = scores(told, benchmark.test.attributes, common)
            print(found)
            write(self.out / "attributes.json", json.dumps(found.to_dict(), indent=2) + "\n")
        if schema and others:
            print(others)

    def over_splits(self, use: Use, weights: str, pairwise: bool, data: str, root: str | None) -> None:
        """The mean over the random splits of a data set, without a report."""
        from reidentify.data.benchmarks import facts
        from reidentify.ranking.results import METRICS, Result

        splits, results = [f"{data}@{split}" for split in range(facts(data).splits)], []
        network = _Network(use, weights, pairwise)
        task = self.by(network, use, splits, data)
        for name in splits:
            benchmark = self.under_rule(benchmark_of(name, root))
            result, *_ = task.ranking(*network.read(benchmark)[:2], benchmark.protocol)
            print(f"{name}: rank-1 {result.rank(1):.4f}, mAP {result.mAP:.4f}")
            results.append(result)
        joined = Result.join(results)
        (self.out / "attributes.json").unlink(missing_ok=True)
        (self.out / METRICS).unlink(missing_ok=True)
        joined.save(self.out)
        print(joined)


def compare(first: str, second: str) -> None:
    """Compare two evaluations of the same queries: differences with intervals and a paired test.

    Example: reidentify compare runs/plain/metrics.json runs/reranked/metrics.json

    Args:
        first: metrics.json of an evaluation, or its folder; per_query.parquet lies beside it.
        second: the same of another evaluation on the same data under the same protocol.
    """
    from reidentify.ranking.results import Result

    print(Result.load(first).compare(Result.load(second), (first, second)))


def demo(out: str = "runs/demo", root: str | None = None) -> None:
    """Render the street, train a small network on it, and report how well it finds people again.

    Example: reidentify demo

    Args:
        out: the run folder; a finished one is reported anew, an unfinished one resumed.
        root: the data root, where the street is kept; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
    """
    from reidentify.embed import embed_sides, load
    from reidentify.training.recipe import read_recipe
    from reidentify.training.run import train
    from reidentify.training.session import WEIGHTS

    benchmark = benchmark_of("street", root)
    if not (Path(out) / WEIGHTS).exists():
        train(read_recipe("demo"), benchmark, out)
    sides = embed_sides(load(out), benchmark)
    task = _Evaluation(Path(out), Ranked(), None, {}, None, True, True)
    task.run(*sides, benchmark.protocol, "The street: people the network has never seen")
