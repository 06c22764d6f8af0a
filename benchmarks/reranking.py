"""k-reciprocal re-ranking for the tables of `ranking.py`: ours, the matrix product it takes, and torchreid's.

All get the same random vectors around 751 identities, and re-rank on squared Euclidean distances that are squared
again, as torchreid does. The product alone is that of all rows with all rows, in the same blocks.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import memory
from numpy.typing import NDArray
from rich.table import Table

from reidentify.ranking.distance import DotProduct, blocks
from reidentify.ranking.rerank import KReciprocal, k_reciprocal

Vectors = NDArray[np.float32]
Sides = tuple[Vectors, Vectors]


def product(sides: Sides) -> None:
    """All rows with all rows, block by block."""
    vectors = np.concatenate(sides)
    for rows in blocks(len(vectors), len(vectors)):
        vectors[rows] @ vectors.T


def ours(sides: Sides) -> Vectors:
    """The whole matrix of results."""
    return k_reciprocal(*sides, base="sqeuclidean-squared")


def streamed(sides: Sides) -> None:
    """Results block by block, as an evaluation takes them; the matrix is not kept."""
    query, gallery = sides
    scorer = KReciprocal(base="sqeuclidean-squared").of_vectors(query, gallery)
    for rows in blocks(len(query), len(gallery)):
        scorer.block(rows, slice(0, len(gallery)))


def torchreid(checkout: str, sides: Sides) -> Vectors:
    """torchreid's re_ranking, with the distances it is fed; its file alone, as its package imports much else."""
    path = next(Path(checkout).rglob("rerank.py"), None)
    if path is None:
        raise SystemExit(f"{checkout}: holds no rerank.py of torchreid")
    spec = importlib.util.spec_from_file_location("torchreid_rerank", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    query, gallery = sides
    pairs = [(query, gallery), (query, query), (gallery, gallery)]
    return module.re_ranking(*(DotProduct(*p, "sqeuclidean").block(slice(None), slice(None)) for p in pairs))


def vectors(size: tuple[int, int], width: int) -> Sides:
    """Unit vectors around 751 identities."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((751, width), np.float32)

    def side(count: int) -> Vectors:
        v = centres[rng.integers(0, 751, count)] + rng.standard_normal((count, width), np.float32)
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    return side(size[0]), side(size[1])


def warmed(size: tuple[int, int], width: int, contender: Callable[[Sides], Any]) -> Sides:
    """The vectors, after the contender has imported and started what it needs once."""
    query, gallery = vectors(size, width)
    contender((query[:50], gallery[:50]))
    return query, gallery


def reranking(size: tuple[int, int], width: int, checkout: str | None = None) -> Table:
    """All contenders at one size and width, and how far torchreid's distances are from ours."""
    contenders: dict[str, Callable[[Sides], Any]] = {
        "matrix product alone": product,
        "reidentify": ours,
        "reidentify, by blocks": streamed,
    }
    if checkout:
        contenders["torchreid (NumPy)"] = partial(torchreid, checkout)
    sides, results = vectors(size, width), {}
    table = Table("", "seconds", "times the product", "times ours", "GB above the vectors")
    table.title = f"k-reciprocal re-ranking, {size[0]:,} x {size[1]:,}, {width}-d"
    seconds: dict[str, float] = {}
    for name, contender in contenders.items():
        start = time.perf_counter()
        results[name] = contender(sides)
        seconds[name] = time.perf_counter() - start
    for name, contender in contenders.items():
        peak = memory(warmed, contender, size, width, contender)
        ratios = (f"{seconds[name] / seconds[base]:.2f}" for base in ("matrix product alone", "reidentify"))
        table.add_row(name, f"{seconds[name]:.1f}", *ratios, f"{peak:.2f}")
    if checkout:
        difference = np.abs(results["reidentify"] - results["torchreid (NumPy)"])
        table.caption = (
            f"largest difference {difference.max():.1e}; {np.mean(difference > 1e-5):.1e} of the distances differ by"
            " more than 1e-5"
        )
    return table


def reranking_large(size: tuple[int, int], width: int = 512) -> Table:
    """Ours by blocks where the result is not kept, beside the product."""
    table = Table("", "seconds", "GB above the vectors", title=f"Re-ranking, {size[0]:,} x {size[1]:,}, {width}-d")
    sides = vectors(size, width)
    for name, contender in {"matrix product alone": product, "reidentify, by blocks": streamed}.items():
        start = time.perf_counter()
        contender(sides)
        took = time.perf_counter() - start
        table.add_row(name, f"{took:.1f}", f"{memory(warmed, contender, size, width, contender):.2f}")
    return table
