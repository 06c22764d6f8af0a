"""Mining: the pairs of two people that a pairwise network takes most surely for one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from reidentify.data.console import tracked
from reidentify.data.pairs import positive_pairs
from reidentify.errors import InputError
from reidentify.pairs import BATCH, Encoded, PairModel
from reidentify.ranking.distance import DotProduct, as_array, blocks, smallest, unit
from reidentify.values import DISTRACTOR, Sightings


def hardest_negatives(
    model: PairModel,
    sightings: Sightings,
    count: int,
    *,
    nearest: int = 20,
    candidates: int | None = None,
    margin: float | None = None,
    seed: int = 0,
    cache: bool = True,
    progress: bool = True,
) -> NDArray[np.int64]:
    """Pairs of two people that the network takes most surely for one, out of a whole training set.

    Not every pair is scored, as a set of 10,000 images has some 50 million. A first pass proposes for every image its
    `nearest` images of other people: by the cosine similarity of the network's own maps, averaged over a grid of 6 x 2
    cells and centred, or of its embeddings if it is siamese. The network scores these proposals, each
    in one order. So a pair that the network mistakes and the first pass finds unlike is missed.

    With a `margin` the pairs are semi-hard (after Schroff et al., FaceNet, CVPR 2015, section 3.2): only those count
    whose P(same) lies below the mean of positive pairs (of 1,000 seeded ones), and by less than the margin.

    Args:
        model: the network.
        sightings: N images with files; junk and distractors are left out.
        count: pairs wanted at most.
        nearest: proposals for each image.
        candidates: score at most so many proposals, the most similar; None: all, up to N x nearest.
        margin: in probability, above 0.
        seed: of the positive pairs.
        cache, progress: as of `Encoded`.

    Returns:
        Up to `count` x 2 row numbers, int64, the smaller first, no pair twice; highest P(same) first.

    Raises:
        InputError: fewer than two identities, or a number below 1.
    """
    if min(count, nearest, 1 if candidates is None else candidates) < 1 or (margin is not None and margin <= 0):
        raise InputError("mining: the numbers of pairs, nearest images and candidates, and the margin must be above 0")
    known = np.flatnonzero(sightings.pids > DISTRACTOR)
    people = sightings[known]
    if len(people.identities) < 2:
        raise InputError("mining: there are fewer than two identities, so no pair shows two people")
    encoded = Encoded(model, people, cache=cache, progress=progress)
    pairs = _proposals(_pooled(encoded, progress), people.pids, nearest)[:candidates]
    probability = encoded.compared(pairs, symmetric=False, progress=progress)[:, 1]
    if margin is not None:
        positives = positive_pairs(people.pids)
        chosen = np.random.default_rng(seed).permutation(len(positives))[:1000]
        level = encoded.compared(positives[chosen], symmetric=False, progress=progress)[:, 1].mean()
        kept = (probability < level) & (probability > level - margin)
        pairs, probability = pairs[kept], probability[kept]
    return known[pairs[np.argsort(-probability, kind="stable")[:count]]]


def _pooled(encoded: Encoded, progress: bool) -> NDArray[np.float32]:
    """A short vector for every image: its maps averaged over a grid; of a siamese network its embedding."""
    chunks = [np.arange(i, min(i + BATCH, len(encoded))) for i in range(0, len(encoded), BATCH)]
    found: list[Tensor] = []
    for chunk in tracked(chunks, len(chunks), "Encoding", progress):
        parts = encoded.of(chunk)
        short = F.adaptive_avg_pool2d(parts["maps"].float(), (6, 2)) if "maps" in parts else parts["embedding"].float()
        found.append(short.flatten(1).cpu())
    vectors = torch.cat(found).numpy()
    return unit(vectors - vectors.mean(0))


def _proposals(vectors: NDArray[np.float32], pids: NDArray[np.int64], nearest: int) -> NDArray[np.int64]:
    """The nearest rows of other identities of every row, as different pairs, the most similar first. M x 2, int64."""
    scorer, keys, distances = DotProduct(vectors, vectors), [], []
    for rows in blocks(len(vectors), len(vectors)):
        block = np.array(as_array(scorer.block(rows, slice(None))))
        block[pids[rows, None] == pids] = np.nan
        columns, values = smallest(block, min(nearest, len(vectors)))
        own = np.broadcast_to(np.arange(len(vectors))[rows, None], columns.shape)
        there = columns >= 0
        low, high = np.minimum(own, columns)[there], np.maximum(own, columns)[there]
        keys.append(low * len(vectors) + high)
        distances.append(values[there])
    every, first = np.unique(np.concatenate(keys), return_index=True)
    order = np.argsort(np.concatenate(distances)[first], kind="stable")
    return np.stack(np.divmod(every[order], len(vectors)), axis=1)
