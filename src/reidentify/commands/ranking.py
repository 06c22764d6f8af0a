"""Commands that judge: evaluate, compare two evaluations, calibrate, verify, and the demo."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import reidentify
from reidentify.commands.shared import Use, benchmark_of
from reidentify.errors import InputError
from reidentify.values import Embeddings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reidentify.data.benchmark import Benchmark
    from reidentify.ranking.distance import Scorer
    from reidentify.ranking.protocol import Protocol
    from reidentify.ranking.results import Result
    from reidentify.values import Attribute


@dataclass(frozen=True)
class Ranked:
    """How the gallery is ranked.

    Args:
        protocol: the rule of evaluation by name (market1501, no-cameras, cuhk03-classic, single-shot, mars-official,
            mars-torchreid, market1501-tracklets, ls-vid); default the data set's own.
        multi_query: a query asks with the mean of all images of its person and camera (multi-query of Market-1501).
        expand: average a query with so many of its nearest gallery images first (average query expansion).
        augment: average a gallery image with so many of its nearest others first (database augmentation).
        spacetime: a folder written by `reidentify spacetime fit` or by a training with space-time: rank by appearance
            and by time and place.
        rerank: re-rank by k-reciprocal neighbours; settings may follow, as in --rerank k1=20 k2=6 lambda_value=0.3
            base=sqeuclidean.
    """

    protocol: str | None = None
    multi_query: bool = False
    expand: int | None = None
    augment: int | None = None
    spacetime: str | None = None
    rerank: list[str] | None = None

    def rule(self) -> Protocol | None:
        """The protocol of that name."""
        from reidentify.ranking.protocol import PROTOCOLS

        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise InputError(f"--protocol: expected one of {', '.join(PROTOCOLS)}, got {self.protocol!r}")
        return PROTOCOLS.get(self.protocol or "")

    def words(self) -> str:
        """What is done besides comparing embeddings."""
        done = {
            "multi-query": self.multi_query,
            f"query expansion by {self.expand}": self.expand,
            f"database augmentation by {self.augment}": self.augment,
            f"space and time from {self.spacetime}": self.spacetime,
            f"k-reciprocal re-ranking {' '.join(self.rerank or [])}".rstrip(): self.rerank is not None,
        }
        return ", ".join(text for text, asked in done.items() if asked)

    def sides(self, query: Embeddings, gallery: Embeddings) -> tuple[Embeddings, Embeddings]:
        """Query and gallery with the vectors that are compared."""
        from reidentify.ranking import expansion

        if self.multi_query:
            query = expansion.multi_query(query, gallery)
        if self.augment is not None:
            gallery = expansion.database_augmentation(gallery, self.augment)
        if self.expand is not None:
            query = expansion.average_query_expansion(query, gallery, self.expand)
        return query, gallery

    def options(self) -> dict[str, Any]:
        """What `reidentify.evaluate` takes."""
        options: dict[str, Any] = {}
        if self.spacetime is not None:
            from reidentify.ranking import fusion

            options["spacetime"] = fusion.load(self.spacetime)
        if self.rerank is not None:
            options |= {"rerank": self._reranker(), "progress": True}
        return options

    def _reranker(self) -> Any:
        import yaml

        from reidentify.ranking.rerank import KReciprocal

        settings: dict[str, Any] = {}
        for text in self.rerank or []:
            key, equals, value = text.partition("=")
            if text == "k-reciprocal":
                continue
            if not equals or key not in KReciprocal.__dataclass_fields__:
                known = ", ".join(KReciprocal.__dataclass_fields__)
                raise InputError(f"--rerank: expected settings KEY=VALUE ({known}), got {text!r}")
            try:
                settings[key] = yaml.safe_load(value)
            except yaml.YAMLError:
                raise InputError(f"--rerank: {value!r} is not a value of {key}") from None
        return KReciprocal(**settings)


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

    Args:
        out: folder for metrics.json, per_query.parquet and report.html; attributes.json too, where the network tells
            attributes and the data has them.
        weights: the name of shipped weights, a run folder, a weights.safetensors, an ONNX file or an OpenVINO IR.
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
    import warnings

    from reidentify.data.benchmarks import trained_on_tested
    from reidentify.data.own import read_pair
    from reidentify.embed import read_sides
    from reidentify.errors import ReidentifyWarning

    if Path(out).exists() and not Path(out).is_dir():
        raise InputError(f"{out} is a file; give a folder with --out")
    device = use.device if use.device and use.device.startswith("cuda") else None
    # Mistakes among the options are said before anything is embedded.
    task = _Evaluation(Path(out), ranked, ranked.rule(), ranked.options(), device, verification, report)
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
        task.over_splits(use, weights, data.removesuffix("@all"), root)
        return
    benchmark = task.under_rule(benchmark_of(data, root) if data else read_pair(query or "", gallery or ""))
    model = use.load(weights)
    if trained_on_tested(model.card.dataset, benchmark.name):
        warnings.warn(
            f"{model.card.name} was trained on {model.card.dataset}, whose people may be among those searched for in"
            f" {benchmark.name}: the scores flatter",
            ReidentifyWarning,
            stacklevel=2,
        )
    *sides, told = read_sides(model, benchmark, **use.options())
    task.run(*sides, benchmark.protocol, f"{model.card.name} on {benchmark.name}")
    task.attributes(told, benchmark, model.card.schema)


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

    def under_rule(self, benchmark: Benchmark) -> Benchmark:
        """The benchmark under the protocol that was asked for, if any."""
        benchmark.require_sides()
        return benchmark if self.rule is None else benchmark.replace(protocol=self.rule)

    def ranking(
        self, query: Embeddings, gallery: Embeddings, protocol: Protocol | None
    ) -> tuple[Result, Embeddings, Embeddings, Scorer | None]:
        """The result; what was compared, and by what if not by cosine."""
        from reidentify.ranking.evaluate import scorer_for

        query, gallery = self.ranked.sides(query, gallery)
        scorer = scorer_for(query, gallery, device=self.device, **self.options) if self.options else None
        device = None if scorer else self.device
        result = reidentify.evaluate(query, gallery, self.rule or protocol, scorer=scorer, device=device)
        return replace(result, ranking=self.ranked.words()), query, gallery, scorer

    def run(self, query: Embeddings, gallery: Embeddings, protocol: Protocol | None, title: str) -> None:
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
        """Print and write how well the network tells the attributes that the data has labels of, if there are any."""
        from reidentify.attributes import scores
        from reidentify.files import write

        (self.out / "attributes.json").unlink(missing_ok=True)
        common = [a for a in schema if a in benchmark.schema]
        if common:
            found = scores(told, benchmark.test.attributes, common)
            print(found)
            write(self.out / "attributes.json", json.dumps(found.to_dict(), indent=2) + "\n")

    def over_splits(self, use: Use, weights: str, data: str, root: str | None) -> None:
        """The mean over the random splits of a data set, without a report."""
        from reidentify.data.benchmarks import facts
        from reidentify.embed import embed_sides
        from reidentify.ranking.results import METRICS, Result

        model, results = use.load(weights), []
        for split in range(facts(data).splits):
            benchmark = self.under_rule(benchmark_of(f"{data}@{split}", root))
            result, *_ = self.ranking(*embed_sides(model, benchmark, **use.options()), benchmark.protocol)
            print(f"{data}@{split}: rank-1 {result.rank(1):.4f}, mAP {result.mAP:.4f}")
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

    The pictures are embedded as those of the calibration were, unless --flip or --scales say otherwise.

    Example: reidentify verify market-small a.jpg b.jpg

    Args:
        weights: the name of shipped weights, a run folder, or another network that `reidentify calibrate` was run on.
        first: a picture of one person.
        second: another.
        prior: how probable it is before looking; in a search among many people it is small.
    """
    from reidentify.calibrate import verify

    print(verify(use.load(weights), first, second, prior=prior, flip=use.flip, scales=use.scales))


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

    benchmark = benchmark_of("street", root)
    if not (Path(out) / WEIGHTS).exists():
        train(read_recipe("demo"), benchmark, out)
    sides = embed_sides(load(out), benchmark)
    task = _Evaluation(Path(out), Ranked(), None, {}, None, True, True)
    task.run(*sides, benchmark.protocol, "The street: people the network has never seen")
