"""How much the embedding of one person varies over poses, compared with how it varies between people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError
from reidentify.ranking.matches import UNKNOWN
from reidentify.ranking.statistics import LEVEL, REPLICATES, Averages, intervals
from reidentify.values import DISTRACTOR, JUNK, ROUNDING

F64 = NDArray[np.float64]

APART = 0.5
SECONDS = 1.0


@dataclass(frozen=True)
class PoseInvariance:
    """How far an embedding depends on pose; both numbers are 0 for one that sees the person alone.

    Args:
        ratio: mean squared distance between embeddings of one person in different poses, divided by that between the
            person and the others of the same video; the mean over people in videos, so that somebody in two videos
            counts twice. 1: a person in another pose is as far as another person.
        correlation: Spearman's rank correlation between distance in pose and distance of embeddings over the pairs of
            pictures of one person in one video, 0 where one of the two does not vary; the mean as above.
        ratio_interval, correlation_interval: bootstrap intervals over people.
        people: with pairs in different poses, each counted once.
        pairs: of one person in different poses, of all people.
        apart: poses further apart than this are different ones; `seconds`: and the pictures at least so far apart.
    """

    ratio: float
    correlation: float
    ratio_interval: tuple[float, float]
    correlation_interval: tuple[float, float]
    people: int
    pairs: int
    apart: float
    seconds: float

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def pose_distances(keypoints: ArrayLike) -> F64:
    """How far every two of N poses are apart.

    Of two pictures the joints seen in both are compared: each set is moved to its centroid and scaled to a root mean
    square distance of 1 from it (Procrustes superimposition without rotation, for a lunge is not a bow; Dryden and
    Mardia, Statistical Shape Analysis, 1998, chapter 4), and the distance is the root mean square over these joints.

    Args:
        keypoints: N x J x 3: x, y in pixels, and visibility; a joint of visibility 0 or NaN is not seen.

    Returns:
        N x N, float64, from 0 to 2; NaN where fewer than half of the joints are seen in both pictures.

    Raises:
        InputError: another shape.
    """
    points = np.asarray(keypoints, np.float64)
    if points.ndim != 3 or points.shape[2] != 3:
        raise InputError(f"keypoints: expected N x J x 3, got {' x '.join(map(str, points.shape))}")
    seen = points[:, :, 2] > 0
    places = np.where(seen[..., None], points[..., :2], 0.0)
    distances = np.full((len(points), len(points)), np.nan)
    for row in range(len(points)):  # N x J numbers at a time
        both = (seen & seen[row])[..., None]
        count = both.sum(axis=1, keepdims=True)
        enough = np.flatnonzero(2 * count[:, 0, 0] >= points.shape[1])
        both, count = both[enough], count[enough]
        mine, theirs = (_shape(np.where(both, p, 0.0), both, count) for p in (places[row][None], places[enough]))
        distances[row, enough] = np.sqrt(((mine - theirs) ** 2).sum(axis=(1, 2)) / count[:, 0, 0])
    return distances


def _shape(places: F64, seen: NDArray[np.bool_], count: NDArray[np.int64]) -> F64:
    """M sets of joints about their centroids, in units of their root mean square distance from these."""
    centred = np.where(seen, places - places.sum(axis=1, keepdims=True) / count, 0.0)
    size = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True) / count)
    shape: F64 = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    return shape


def pose_invariance(
    vectors: ArrayLike,
    pids: ArrayLike,
    videos: ArrayLike,
    times: ArrayLike,
    keypoints: ArrayLike,
    *,
    apart: float = APART,
    seconds: float = SECONDS,
    level: float = LEVEL,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> PoseInvariance:
    """Compare how embeddings of one person in different poses differ with how those of different people do.

    Everything is compared within one video, so that background, light and camera are the same. Distances are squared
    distances of vectors of length 1, that is 2 - 2 cos. Distractors are others and nobody's pairs, for they are no one
    person; junk, and what no video is known of, is left out.

    Args:
        vectors: N x D.
        pids, videos, times: N; videos are -1 where unknown; times are in seconds, and a picture whose time is NaN is in
            no pair.
        keypoints: N x J x 3, as in `pose_distances`.
        apart: least distance in pose of two different poses.
        seconds: least time between two pictures of one person, so that near-duplicates do not count.
        level: of the intervals; `replicates` and `seed` of their bootstrap.

    Raises:
        InputError: lengths that differ, or fewer than two people who are seen in different poses beside others.
    """
    x, who, where, when, points = (np.asarray(a) for a in (vectors, pids, videos, times, keypoints))
    if len({len(a) for a in (x, who, where, when, points)}) > 1:
        raise InputError("vectors, pids, videos, times and keypoints: expected as many of each")
    x = x.astype(np.float64) / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    people, ratios, correlations, pairs = [], [], [], 0
    for video in np.unique(where[where != UNKNOWN]):
        here = np.flatnonzero((where == video) & (who != JUNK))
        for pid in np.unique(who[here][who[here] > DISTRACTOR]):
            mine, others = here[who[here] == pid], here[who[here] != pid]
            a, b = np.triu_indices(len(mine), 1)
            apart_in_time = np.abs(when[mine[a]] - when[mine[b]]) >= seconds - ROUNDING
            posed = pose_distances(points[mine])[a, b]
            used = apart_in_time & ~np.isnan(posed)
            between = (2 - 2 * x[mine] @ x[others].T).mean() if len(others) else 0.0
            within, posed = (2 - 2 * np.einsum("nd,nd->n", x[mine[a]], x[mine[b]]))[used], posed[used]
            different = posed > apart
            if not different.any() or between <= 0:
                continue
            people.append(int(pid))
            ratios.append(float(within[different].mean() / between))
            correlations.append(_rank_correlation(posed, within))
            pairs += int(different.sum())
    if len(set(people)) < 2:
        raise InputError(
            "pose invariance needs at least two people who are seen in different poses, each beside others in the same"
            " video; give pictures with joints of more people and moments"
        )
    values = {"ratio": np.array(ratios), "correlation": np.array(correlations)}
    bounds = intervals(Averages.of(np.array(people), values), level, replicates, seed)
    means = {name: float(column.mean()) for name, column in values.items()}
    return PoseInvariance(
        means["ratio"], means["correlation"], bounds["ratio"], bounds["correlation"], len(set(people)), pairs, apart,
        seconds,
    )  # fmt: skip


def _rank_correlation(a: F64, b: F64) -> float:
    """Spearman's rank correlation; 0 where one side does not vary, for then neither tells of the other."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(a), rankdata(b)])
    spread = ranks.std(axis=1)
    if not spread.all():
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])
