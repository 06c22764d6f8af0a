"""Evaluation and re-ranking side by side in one process: ours, torchreid's, and the work that cannot be avoided.

    python benchmarks/ranking.py [--torchreid CHECKOUT] [--query-embeddings Q.parquet --gallery-embeddings G.parquet]

1. From a matrix of distances: all contenders get the same float32 matrix, and their scores are compared. The matrix of
   a trained network comes from the embeddings given (`reidentify embed --data market1501 --split query`), else from
   random clusters; that of an untrained network is of random vectors.
2. From embeddings: the matrix product alone, block by block, beside a whole evaluation.
3. How the cost grows with queries x gallery; once more with every second row of the gallery a match.
4. k-reciprocal re-ranking (`reranking.py`): at 256-d and 512-d beside torchreid's, and at MSMT17's size.

Memory is by how much the peak of a process of its own lies above its inputs.

torchreid is optional: a checkout of github.com/KaiyangZhou/deep-person-reid whose evaluator was compiled
(`python setup.py build_ext --inplace` in torchreid/metrics/rank_cylib).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
from measure import memory, seconds
from numpy.typing import NDArray
from reranking import reranking, reranking_large
from rich.console import Console
from rich.table import Table

from reidentify import Embeddings, Sightings
from reidentify.ranking.distance import DotProduct, blocks
from reidentify.ranking.evaluate import evaluate
from reidentify.ranking.matches import match
from reidentify.ranking.metrics import score
from reidentify.ranking.protocol import MARKET1501

MARKET, MSMT17 = (3_368, 15_913), (11_659, 82_161)
Labels = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
Evaluator = Callable[[NDArray[np.float32], Labels], tuple[float, float]]


def ours(distances: NDArray[np.float32], labels: Labels) -> tuple[float, float]:
    """mAP and rank-1 by counting what is nearer than each match."""
    result = score(distances, *labels)
    return result.mAP, result.rank(1)


def sorting(distances: NDArray[np.float32], labels: Labels) -> tuple[float, float]:
    """mAP and rank-1 by sorting every row, as most evaluation code does."""
    query_pids, gallery_pids, query_camids, gallery_camids = labels
    precisions, firsts = [], []
    for q, row in enumerate(np.argsort(distances, axis=1, kind="stable")):
        kept = row[(gallery_pids[row] != query_pids[q]) | (gallery_camids[row] != query_camids[q])]
        hits = np.flatnonzero(gallery_pids[kept] == query_pids[q])
        if len(hits):
            precisions.append(np.mean((1 + np.arange(len(hits))) / (hits + 1)))
            firsts.append(hits[0] == 0)
    return float(np.mean(precisions)), float(np.mean(firsts))


def torchreid(checkout: str, distances: NDArray[np.float32], labels: Labels) -> tuple[float, float]:
    """The compiled evaluator of a checkout of torchreid."""
    sys.path.insert(0, f"{checkout}/torchreid/metrics/rank_cylib")
    try:
        from rank_cy import evaluate_cy
    except ImportError as error:
        raise SystemExit(f"{checkout}: the evaluator is not compiled there ({error})") from None
    finally:
        del sys.path[0]
    cmc, mean_precision = evaluate_cy(distances, *labels, 50)
    return float(mean_precision), float(cmc[0])


def random_side(rows: int, width: int, noise: float, seed: int, identities: int = 1500) -> Embeddings:
    """Unit vectors around so many identities under six cameras; much noise: as if untrained."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((identities + 1, width), np.float32)
    pids = rng.integers(1, identities + 1, rows)
    vectors = centres[pids] + noise * rng.standard_normal((rows, width), np.float32)
    return Embeddings(
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True), Sightings(pids, rng.integers(1, 7, rows))
    )


def sides(size: tuple[int, int], noise: float = 3.0, identities: int = 1500) -> tuple[Embeddings, Embeddings]:
    """Query and gallery of a size, 512-d."""
    return random_side(size[0], 512, noise, 1, identities), random_side(size[1], 512, noise, 2, identities)


def product(given: tuple[Embeddings, Embeddings]) -> None:
    """The distances alone, block by block, and nothing done with them."""
    query, gallery = given
    scorer = DotProduct(query.vectors, gallery.vectors)
    for rows in blocks(len(query), len(gallery)):
        scorer.block(rows, slice(0, len(gallery)))


def whole(given: tuple[Embeddings, Embeddings]) -> None:
    """The same with every score."""
    evaluate(*given)


def labels_of(query: Embeddings, gallery: Embeddings) -> Labels:
    """The labels in the order of `score`, in arrays that may be written to, as torchreid wants them."""
    pids, camids = zip(*((side.sightings.pids, side.sightings.camids) for side in (query, gallery)))
    return tuple(np.array(labels) for labels in (*pids, *camids))  # type: ignore[return-value]


def from_matrix(trained: tuple[Embeddings, Embeddings], peers: dict[str, Evaluator]) -> Table:
    """Every contender on the same matrices."""
    columns = "distances", "evaluator", "seconds", "ours is faster by", "largest difference", "GB above the matrix"
    table = Table(*columns, title="From a matrix")
    untrained = sides((len(trained[0]), len(trained[1])), noise=100.0)
    for name, (query, gallery) in (("trained", trained), ("random", untrained)):
        distances, labels = matrix(query, gallery)
        expected = ours(distances, labels)
        base = seconds(lambda d=distances, labels=labels: ours(d, labels))
        peak = memory(matrix, partial(apply, ours), query, gallery)
        table.add_row(name, "reidentify", f"{base:.3f}", "", "", f"{peak:.3f}")
        for peer, evaluator in peers.items():
            took = seconds(lambda d=distances, labels=labels, e=evaluator: e(d, labels), repeats=2)
            difference = max(abs(a - b) for a, b in zip(expected, evaluator(distances, labels)))
            peak = memory(matrix, partial(apply, evaluator), query, gallery)
            table.add_row(name, peer, f"{took:.3f}", f"{took / base:.1f} x", f"{difference:.1e}", f"{peak:.3f}")
    return table


def matrix(query: Embeddings, gallery: Embeddings) -> tuple[NDArray[np.float32], Labels]:
    """Distances and labels; junk is removed beforehand, as the peers want it."""
    kept = gallery[gallery.sightings.pids >= 0]
    return np.ascontiguousarray(1 - query.vectors @ kept.vectors.T), labels_of(query, kept)


def apply(evaluator: Evaluator, given: tuple[NDArray[np.float32], Labels]) -> None:
    """An evaluator on what `matrix` made."""
    evaluator(*given)


def from_embeddings(trained: tuple[Embeddings, Embeddings], large: bool) -> Table:
    """The matrix product alone beside a whole evaluation."""
    table = Table(
        "size", "product, s", "evaluation, s", "ratio", "memory above inputs, GB", title="From 512-d embeddings"
    )
    cases = {"Market-1501": (trained, MARKET)}
    if large:
        cases["MSMT17"] = (sides(MSMT17), MSMT17)
    for name, (given, size) in cases.items():
        alone, took = seconds(lambda g=given: product(g)), seconds(lambda g=given: whole(g))
        peak = memory(sides, whole, size)
        counts = f"{name}: {len(given[0]):,} x {len(given[1]):,}"
        table.add_row(counts, f"{alone:.2f}", f"{took:.2f}", f"{took / alone:.2f}", f"{peak:.2f}")
    return table


def growth() -> Table:
    """Four sizes, each with four times the pairs of the one before; with few matches, and with many."""
    table = Table("identities", "queries x gallery", "pairs", "evaluation, s", "ns per pair", title="Growth (512-d)")
    for identities in (1500, 2):
        for factor in (1, 2, 4, 8):
            size = 500 * factor, 4_000 * factor
            given = sides(size, identities=identities)
            took, pairs = seconds(lambda g=given: whole(g)), size[0] * size[1]
            counts = f"{identities:,}", f"{size[0]:,} x {size[1]:,}", f"{pairs:,}"
            table.add_row(*counts, f"{took:.3f}", f"{1e9 * took / pairs:.2f}")
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchreid", metavar="CHECKOUT")
    parser.add_argument("--query-embeddings", metavar="Q.parquet")
    parser.add_argument("--gallery-embeddings", metavar="G.parquet")
    parser.add_argument("--skip-msmt17", action="store_true", help="leave the largest size out")
    given = parser.parse_args()
    peers: dict[str, Evaluator] = {"sorting (NumPy)": sorting}
    if given.torchreid:
        peers["torchreid (Cython)"] = partial(torchreid, given.torchreid)
    if given.query_embeddings and given.gallery_embeddings:
        trained = Embeddings.load(given.query_embeddings), Embeddings.load(given.gallery_embeddings)
    else:
        trained = sides(MARKET)
    first = match(*labels_of(*trained), MARKET1501)
    console = Console()
    console.print(f"{len(trained[0]):,} queries, {first.positives.lengths.mean():.1f} matches each")
    console.print(from_matrix(trained, peers))
    console.print(from_embeddings(trained, not given.skip_msmt17))
    console.print(growth())
    for width in (256, 512):
        console.print(reranking(MARKET, width, given.torchreid))
    if not given.skip_msmt17:
        console.print(reranking_large(MSMT17))


if __name__ == "__main__":
    main()
