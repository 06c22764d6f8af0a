"""Scoring a distance matrix of Market-1501's size: ours beside the straightforward way, side by side in one process.

    python benchmarks/ranking.py [--queries 3368] [--gallery 15913]

The other column sorts every row of the gallery (`argsort`) and walks along it, as most evaluation code does. Both get
the same float32 distances; the scores are compared, and the table prints seconds, their ratio, and the difference.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from reidentify.ranking.metrics import score


def sorting(
    distances: NDArray[np.float32],
    query_pids: NDArray[np.int64],
    gallery_pids: NDArray[np.int64],
    query_camids: NDArray[np.int64],
    gallery_camids: NDArray[np.int64],
) -> tuple[float, float]:
    """mAP and rank-1 under the Market protocol by sorting."""
    precisions, firsts = [], []
    order = np.argsort(distances, axis=1, kind="stable")
    for q, row in enumerate(order):
        kept = row[(gallery_pids[row] != query_pids[q]) | (gallery_camids[row] != query_camids[q])]
        hits = np.flatnonzero(gallery_pids[kept] == query_pids[q])
        if len(hits):
            precisions.append(np.mean((1 + np.arange(len(hits))) / (hits + 1)))
            firsts.append(hits[0] == 0)
    return float(np.mean(precisions)), float(np.mean(firsts))


def data(queries: int, gallery: int, noise: float) -> tuple[NDArray[np.float32], tuple[NDArray[np.int64], ...]]:
    """Distances of random unit vectors around 751 identities; much noise: as if untrained."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((751, 128))
    query_pids, gallery_pids = rng.integers(1, 751, queries), rng.integers(0, 751, gallery)
    query_camids, gallery_camids = rng.integers(1, 7, queries), rng.integers(1, 7, gallery)

    def vectors(pids: NDArray[np.int64]) -> NDArray[np.float32]:
        v = centres[pids] + noise * rng.standard_normal((len(pids), 128))
        return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)

    distances = 1 - vectors(query_pids) @ vectors(gallery_pids).T
    return distances, (query_pids, gallery_pids, query_camids, gallery_camids)


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15913)
    given = parser.parse_args()
    table = Table("distances", "ours, s", "sorting, s", "times faster", "largest difference")
    for name, noise in (("as of a trained network", 1.0), ("as of an untrained network", 100.0)):
        distances, labels = data(given.queries, given.gallery, noise)
        start = time.perf_counter()
        result = score(distances, *labels)
        ours = time.perf_counter() - start
        start = time.perf_counter()
        ap, rank1 = sorting(distances, *labels)
        theirs = time.perf_counter() - start
        difference = max(abs(result.mAP - ap), abs(result.rank(1) - rank1))
        table.add_row(name, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}", f"{difference:.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
