"""The one entry to evaluation: query and gallery in, a Result out; and to search, where nobody's identity is known."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.ranking.cascade import Cascade
from reidentify.ranking.distance import Scorer, blocks, nearest, on_device
from reidentify.ranking.matches import UNKNOWN, Matches, match, same_picture
from reidentify.ranking.metrics import Ranking
from reidentify.ranking.parts import appearance
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS, Protocol
from reidentify.ranking.results import Result
from reidentify.values import Embeddings, Sightings

if TYPE_CHECKING:
    import torch

Vectors: TypeAlias = "NDArray[np.float32] | torch.Tensor"


class Fusion(typing.Protocol):
    """Appearance together with something else that sightings tell, as time and place: see `fusion`."""

    def scorer(self, query: Embeddings, gallery: Embeddings, device: str | None = None) -> Scorer:
        """What measures the distances between two sides; torch computes similarities on `device`, if one is given."""
        ...


class Reranker(typing.Protocol):
    """Makes distances anew from the distances among query and gallery together: see `rerank.KReciprocal`."""

    def of_vectors(self, query_vectors: Vectors, gallery_vectors: Vectors, *, progress: bool = False) -> Scorer:
        """From vectors, Q x D and G x D."""
        ...

    def of_scorer(self, everything: Scorer, queries: int, gallery: int, *, progress: bool = False) -> Scorer:
        """From a scorer whose query and gallery rows are both the Q query rows followed by the G gallery rows."""
        ...


def evaluate(
    query: Embeddings | Sightings,
    gallery: Embeddings | Sightings,
    protocol: Protocol | None = None,
    *,
    scorer: Scorer | None = None,
    spacetime: Fusion | None = None,
    rerank: Literal["k-reciprocal"] | Reranker | None = None,
    rescore: tuple[Scorer, int] | None = None,
    device: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Result:
    """Rank the gallery for every query and score the ranking lists.

    Distances are computed and scored block by block; the whole matrix never exists. Of equal distances the earlier
    gallery row ranks first. Besides what the protocol ignores, a query's own picture (the same
    path) is never an answer.

    Args:
        query, gallery: Embeddings, compared by cosine distance, or by the body parts that both show where they tell the
            visibility of these (`ranking.parts`); with a `scorer`, their Sightings are enough.
        protocol: the rule. None: `MARKET1501` where both sides know cameras, else `NO_CAMERAS`; `Result.rule` says
            which in words.
        scorer: what measures the distances instead; its rows are those of `query` and `gallery`.
        spacetime: a fusion of appearance with time and place, `ranking.fusion.load(path)` for instance.
        rerank: `"k-reciprocal"`, or a configured `ranking.rerank.KReciprocal`; with `spacetime`, of the joint distance.
            All gallery rows take part, junk too, as in a search that knows no labels.
        rescore: the cascade: another scorer, and how many of the nearest rows it ranks anew.
        device: where torch computes the distances of embeddings, e.g. "cuda"; with `spacetime` the look-up of
            intervals, and re-ranking after it, stay on the CPU. None: NumPy, on the CPU.
        seed: of the draws, where the protocol draws its gallery.
        progress: show a progress bar while re-ranking and in the second step of a cascade.

    Raises:
        InputError: sightings without vectors and without a scorer, vectors of different width, an empty side, a
            protocol that needs cameras without them, options that exclude each other, or no query with a match (the
            message says why).
    """
    matches = match_sightings(sightings_of(query), sightings_of(gallery), protocol)
    matches.require()
    options: dict[str, Any] = {"scorer": scorer, "spacetime": spacetime, "rerank": rerank, "rescore": rescore}
    final = scorer_for(query, gallery, matches, **options, device=device, progress=progress)
    ranking = Ranking(matches, seed)
    for rows in blocks(len(query), len(gallery)):
        ranking.add(rows, final.block(rows, slice(0, len(gallery))))
    return ranking.result()


def scorer_for(
    query: Embeddings | Sightings,
    gallery: Embeddings | Sightings,
    matches: Matches | None = None,
    *,
    scorer: Scorer | None = None,
    spacetime: Fusion | None = None,
    rerank: Literal["k-reciprocal"] | Reranker | None = None,
    rescore: tuple[Scorer, int] | None = None,
    device: str | None = None,
    progress: bool = False,
) -> Scorer:
    """What measures the distances, with the options of `evaluate`; `matches`, if any, tell a cascade what is left out.

    Raises:
        InputError: sightings without vectors, or options that exclude each other.
    """
    if scorer is not None and (spacetime is not None or rerank is not None):
        raise InputError("a scorer of your own cannot be combined with spacetime or rerank, which compare embeddings")
    if scorer is None:
        if not isinstance(query, Embeddings) or not isinstance(gallery, Embeddings):
            raise InputError("sightings have no vectors to compare: give Embeddings on both sides, or a scorer")
        scorer = _embedding_scorer(query, gallery, spacetime, rerank, device, progress)
    return scorer if rescore is None else Cascade(scorer, *rescore, len(gallery), matches, progress)


def search(
    query: Embeddings,
    gallery: Embeddings,
    k: int = 10,
    *,
    spacetime: Fusion | None = None,
    rerank: Literal["k-reciprocal"] | Reranker | None = None,
    rescore: tuple[Scorer, int] | None = None,
    device: str | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k gallery rows most probably of each query's person; nobody's identity has to be known.

    Args:
        query, gallery: Embeddings; for `spacetime` with cameras and times, else time says nothing.
        k: rows per query.
        spacetime, rerank, rescore, device: as in `evaluate`.

    Returns:
        Gallery rows, Q x min(k, G) int64, nearest first, and their distances, float64.

    Raises:
        InputError: k below 1, or vectors of different width.
    """
    scorer = scorer_for(query, gallery, spacetime=spacetime, rerank=rerank, rescore=rescore, device=device)
    return nearest(scorer, np.arange(len(query)), len(gallery), k)


def _embedding_scorer(
    query: Embeddings,
    gallery: Embeddings,
    spacetime: Fusion | None,
    rerank: Literal["k-reciprocal"] | Reranker | None,
    device: str | None,
    progress: bool,
) -> Scorer:
    if isinstance(rerank, str):
        if rerank != "k-reciprocal":
            raise InputError(f"unknown re-ranking {rerank!r}: expected k-reciprocal, or a configured object")
        from reidentify.ranking.rerank import KReciprocal

        rerank = KReciprocal()
    if rerank is None:
        if spacetime is not None:
            return spacetime.scorer(query, gallery, device)
        return appearance(query, gallery, device)
    if spacetime is None and query.visibility is None and gallery.visibility is None:
        sides = query.vectors, gallery.vectors
        if device is None:
            return rerank.of_vectors(*sides, progress=progress)
        first, second = (on_device(device, side) for side in sides)
        return rerank.of_vectors(first, second, progress=progress)
    everyone = Embeddings.concat([query, gallery])
    if spacetime is None:
        scorer = appearance(everyone, everyone, device)
    else:
        scorer = spacetime.scorer(everyone, everyone, device)
    return rerank.of_scorer(scorer, len(query), len(gallery), progress=progress)


def match_sightings(query: Sightings, gallery: Sightings, protocol: Protocol | None = None) -> Matches:
    """Who is right and who is ignored between two sides, under the protocol that `evaluate` would choose."""
    known = has_cameras(query) and has_cameras(gallery)
    return match(
        query.pids,
        gallery.pids,
        query.camids if known else None,
        gallery.camids if known else None,
        protocol or (MARKET1501 if known else NO_CAMERAS),
        own=same_picture(query, gallery),
        query_times=query.row_times(),
        gallery_times=gallery.row_times(),
    )


def has_cameras(sightings: Sightings) -> bool:
    """Whether the camera of any row is known."""
    return sightings.camids is not None and bool(np.any(sightings.camids != UNKNOWN))


def sightings_of(side: Embeddings | Sightings) -> Sightings:
    """The sightings of either."""
    return side.sightings if isinstance(side, Embeddings) else side
