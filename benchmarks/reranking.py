"""k-reciprocal re-ranking: ours, the matrix product it cannot do without, and torchreid's dense NumPy code.

    python benchmarks/reranking.py [--queries 3368] [--gallery 15913] [--width 512] [--torchreid PATH]
    python benchmarks/reranking.py --msmt17

All get the same vectors: random ones around 751 identities, or with `--embeddings QUERY GALLERY` those of two files.
Times are taken in this process, one after another; for the memory each runs once more in a process of its own, and
what is stated is how far its peak rises above the vectors. The product alone is that of all rows with all rows, in the
same blocks. All re-rank on squared Euclidean distances that are squared again, as torchreid does. torchreid is a
checkout of github.com/KaiyangZhou/deep-person-reid, or what is installed; without either it is left out. `--msmt17`
measures ours at MSMT17's size, where the result is not kept: 3.8 GB.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from reidentify import Embeddings
from reidentify.ranking.distance import DotProduct, blocks
from reidentify.ranking.rerank import KReciprocal, k_reciprocal

Vectors = NDArray[np.float32]


def product(query: Vectors, gallery: Vectors, given: argparse.Namespace) -> None:
    """All rows with all rows, block by block."""
    vectors = np.concatenate([query, gallery])
    for rows in blocks(len(vectors), len(vectors)):
        vectors[rows] @ vectors.T


def ours(query: Vectors, gallery: Vectors, given: argparse.Namespace) -> Vectors:
    """The whole matrix of results."""
    return k_reciprocal(query, gallery, base="sqeuclidean-squared")


def streamed(query: Vectors, gallery: Vectors, given: argparse.Namespace) -> None:
    """Results block by block, as an evaluation takes them."""
    scorer = KReciprocal(base="sqeuclidean-squared").of_vectors(query, gallery)
    for rows in blocks(len(query), len(gallery)):
        scorer.block(rows, slice(0, len(gallery)))


def torchreid(query: Vectors, gallery: Vectors, given: argparse.Namespace) -> Vectors:
    """torchreid's re_ranking, with the distances it is fed."""
    spec = importlib.util.spec_from_file_location("torchreid_rerank", torchreid_file(given))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pairs = [(query, gallery), (query, query), (gallery, gallery)]
    return module.re_ranking(*(DotProduct(*p, "sqeuclidean").block(slice(None), slice(None)) for p in pairs))


def torchreid_file(given: argparse.Namespace) -> Path | None:
    """Its rerank.py, taken alone: the package imports much that re-ranking does not need."""
    installed = None if given.torchreid else importlib.util.find_spec("torchreid")
    roots = [given.torchreid] if given.torchreid else installed.submodule_search_locations if installed else []
    return next((path for root in roots for path in sorted(Path(root).rglob("rerank.py"))), None)


def data(given: argparse.Namespace) -> tuple[Vectors, Vectors]:
    """Unit vectors around 751 identities, or those of two files."""
    if given.embeddings:
        query, gallery = (Embeddings.load(path).vectors for path in given.embeddings)
        return query, gallery
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((751, given.width), np.float32)

    def vectors(count: int) -> Vectors:
        v = centres[rng.integers(0, 751, count)] + rng.standard_normal((count, given.width), np.float32)
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    return vectors(given.queries), vectors(given.gallery)


def peak(contender: Callable, given: argparse.Namespace) -> float:
    """MiB by which the largest resident size rises above that of the vectors alone."""
    query, gallery = data(given)
    contender(query[:50], gallery[:50], given)  # what is imported and started once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew

    def resident(name: str) -> float:
        return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024

    before = resident("VmRSS")
    contender(query, gallery, given)
    return resident("VmHWM") - before


def main() -> None:
    """Time all, then measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15913)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--embeddings", nargs=2, metavar=("QUERY", "GALLERY"))
    parser.add_argument("--torchreid", metavar="PATH")
    parser.add_argument("--msmt17", action="store_true")
    given = parser.parse_args()
    contenders = {"product alone": product, "ours": ours, "ours, by blocks": streamed}
    if given.msmt17:
        given.queries, given.gallery = 11659, 82161
        del contenders["ours"]
    elif torchreid_file(given):
        contenders["torchreid"] = torchreid
    else:
        print("torchreid is not installed; give --torchreid PATH to compare")

    vectors = data(given)
    seconds: dict[str, float] = {}
    results: dict[str, Vectors] = {}
    for name, contender in contenders.items():
        start = time.perf_counter()
        results[name] = contender(*vectors, given)
        seconds[name] = time.perf_counter() - start
    table = Table("", "seconds", "times the product", "peak, MiB", title=f"{len(vectors[0])} x {len(vectors[1])}")
    for name, contender in contenders.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            memory = pool.submit(peak, contender, given).result()
        table.add_row(name, f"{seconds[name]:.1f}", f"{seconds[name] / seconds['product alone']:.2f}", f"{memory:.0f}")
    Console().print(table)
    if "torchreid" in results:
        difference = np.abs(results["ours"] - results["torchreid"])
        print(
            f"torchreid takes {seconds['torchreid'] / seconds['ours']:.1f} times as long; largest difference"
            f" {difference.max():.1e}, and {np.mean(difference > 1e-5):.1e} of the distances differ by more than 1e-5"
        )


if __name__ == "__main__":
    main()
