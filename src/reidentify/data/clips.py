"""Clips: which frames of a tracklet a network sees at once."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.values import Sightings

Sampling: TypeAlias = Literal["evenly", "random", "consecutive", "restricted", "dense", "all"]

Clips: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.bool_]]"
"""Frames n x T, counted from the start of the tracklet, and which of them are real: a clip that is longer than its
tracklet repeats the last frame, and the repetitions are not."""


def sample(length: int, size: int, method: Sampling, rng: np.random.Generator | None = None) -> Clips:
    """Clips of a tracklet.

    Args:
        length: frames of the tracklet.
        size: T, frames of a clip.
        method: one clip: `evenly` (spread over the whole tracklet; torchreid takes every k-th frame from the start, k =
            length // size, and so may never see the end), `random` (any frames, in
            order), `consecutive` (a random window), `restricted` (one frame at random from each of T chunks of equal
            length; Li et al., "Diversity Regularized Spatiotemporal Attention for Video-based Person
            Re-identification", CVPR 2018, section 3.1), `all` (every frame, whatever `size`). Several clips: `dense`
            (windows one after another, the last one filled up). A tracklet of less than `size` frames is one clip of
            all its frames under every method.
        rng: of the random ones.

    Raises:
        InputError: a length or size below 1, or an unknown method.
    """
    if length < 1 or size < 1:
        raise InputError(f"clips need tracklets and clips of at least one frame, got {length} and {size}")
    if method == "dense":
        return dense(np.array([length]), size)[1:]
    if method == "all":
        return np.arange(length)[None], np.ones((1, length), bool)
    if length <= size:
        frames = np.minimum(np.arange(size), length - 1)
        return frames[None], (np.arange(size) < length)[None]
    if method == "evenly":
        frames = np.arange(size) * length // size
    elif rng is None or method not in ("random", "consecutive", "restricted"):
        raise InputError(f"clips: {method!r} is no way to sample, or a random one without a generator")
    elif method == "random":
        frames = np.sort(rng.permutation(length)[:size])
    elif method == "consecutive":
        frames = rng.integers(length - size + 1) + np.arange(size)
    else:
        bounds = np.arange(size + 1) * length // size
        frames = rng.integers(bounds[:-1], bounds[1:])
    return frames[None], np.ones((1, size), bool)


def dense(lengths: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Dense clips of many tracklets whose frames lie one after another.

    Args:
        lengths: N, frames of each tracklet.
        size: T, frames of a clip.

    Returns:
        The tracklet of each clip, n int64, rising; its frames among all frames, n x T int64; which of them are real,
        n x T bool.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    counts = -(-lengths // size)
    rows = np.repeat(np.arange(len(lengths)), counts)
    turn = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    frames = (offsets[rows] + size * turn)[:, None] + np.arange(size)
    last = offsets[rows + 1, None] - 1
    return rows, np.minimum(frames, last), frames <= last


def evenly(sightings: Sightings, count: int) -> Sightings:
    """Every tracklet reduced to `count` frames, evenly spread; shorter ones stay whole."""
    chosen = []
    for start, length in zip(sightings.offsets, sightings.lengths):
        frames, real = sample(int(length), count, "evenly")
        chosen.append(start + frames[real])
    taken = np.concatenate(chosen)
    columns = {k: v[taken] for k in Sightings.FRAMES if (v := getattr(sightings, k)) is not None}
    return sightings.replace(**columns, offsets=np.cumsum([0, *map(len, chosen)]))
