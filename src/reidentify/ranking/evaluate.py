"""The one entry to evaluation: query and gallery in, a Result out."""

from __future__ import annotations

import numpy as np

from reidentify.errors import InputError
from reidentify.ranking.distance import DotProduct, Scorer, blocks
from reidentify.ranking.matches import UNKNOWN, Matches, match, same_picture
from reidentify.ranking.metrics import Ranking
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS, Protocol
from reidentify.ranking.results import Result
from reidentify.values import Embeddings, Sightings


def evaluate(
    query: Embeddings | Sightings,
    gallery: Embeddings | Sightings,
    protocol: Protocol | None = None,
    *,
    scorer: Scorer | None = None,
    seed: int = 0,
) -> Result:
    """Rank the gallery for every query and score the ranking lists.

    Distances are computed and scored block by block; the whole matrix never exists. Of equal distances the earlier
    gallery row ranks first. Besides what the protocol ignores, a query's own picture (the same
    path) is never an answer.

    Args:
        query, gallery: Embeddings, compared by cosine distance; with a `scorer`, their Sightings are enough.
        protocol: the rule. None: `MARKET1501` where both sides know cameras, else `NO_CAMERAS`; `Result.rule` says
            which in words.
        scorer: what measures the distances instead; its rows are those of `query` and `gallery`.
        seed: of the draws, where the protocol draws its gallery.

    Raises:
        InputError: sightings without vectors and without a scorer, vectors of different width, an empty side, a
            protocol that needs cameras without them, or no query with a match (the message says why).
    """
    scorer = embedding_scorer(query, gallery) if scorer is None else scorer
    matches = match_sightings(sightings_of(query), sightings_of(gallery), protocol)
    ranking = Ranking(matches, seed)
    for rows in blocks(len(query), len(gallery)):
        ranking.add(rows, scorer.block(rows, slice(0, len(gallery))))
    return ranking.result()


def embedding_scorer(query: Embeddings | Sightings, gallery: Embeddings | Sightings) -> DotProduct:
    """Cosine distances of embeddings. Raises InputError for sightings without vectors."""
    if not isinstance(query, Embeddings) or not isinstance(gallery, Embeddings):
        raise InputError("sightings have no vectors to compare: give Embeddings on both sides, or a scorer")
    return DotProduct(query.vectors, gallery.vectors)


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
    )


def has_cameras(sightings: Sightings) -> bool:
    """Whether the camera of any row is known."""
    return sightings.camids is not None and bool(np.any(sightings.camids != UNKNOWN))


def sightings_of(side: Embeddings | Sightings) -> Sightings:
    """The sightings of either."""
    return side.sightings if isinstance(side, Embeddings) else side
