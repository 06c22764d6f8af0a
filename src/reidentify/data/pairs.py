"""Pairs of rows: all that show one person, random ones of two, and batches of both for training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.data.samplers import BatchSampler
from reidentify.errors import InputError
from reidentify.values import DISTRACTOR, Sightings

Policy = Literal["all", "balanced"]


def positive_pairs(pids: ArrayLike, data: str = "the data") -> NDArray[np.int64]:
    """Every pair of rows of one identity, junk and distractors left out.

    Args:
        pids: N, identity per row.
        data: what the rows are called in the error.

    Returns:
        P x 2, int64, the smaller row number first; identity by identity in rising order.

    Raises:
        InputError: no identity has two rows.
    """
    labels = np.asarray(pids)
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] > DISTRACTOR]
    runs = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    pairs = [np.stack([run[i] for i in np.triu_indices(len(run), 1)], axis=1) for run in runs]
    found = np.concatenate(pairs).astype(np.int64)
    if not len(found):
        people = len(order)
        raise InputError(
            f"{data}: no pair of images shows one person, as each of the {people} identities has one image: give two or"
            " more of each"
            if people
            else f"{data}: no row has an identity, so there are no pairs"
        )
    return found


def negative_pairs(pids: ArrayLike, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Different pairs of rows of two identities, drawn uniformly; junk and distractors left out.

    Args:
        pids: N, identity per row.
        count: how many.
        seed: of the draw.

    Returns:
        `count` x 2, int64, the smaller row number first; in random order.

    Raises:
        InputError: there are fewer such pairs.
    """
    labels = np.asarray(pids)
    rows, rng = np.flatnonzero(labels > DISTRACTOR), np.random.default_rng(seed)
    sizes = np.unique(labels[rows], return_counts=True)[1]
    there = (len(rows) ** 2 - int((sizes**2).sum())) // 2
    if count > there:
        raise InputError(f"{count:,} pairs of two people were asked for, and there are {there:,}")
    if 2 * count > there:  # so many that drawing anew what was drawn before would take long
        first, second = np.triu_indices(len(rows), 1)
        apart = labels[rows[first]] != labels[rows[second]]
        every = np.stack([rows[first[apart]], rows[second[apart]]], axis=1)
        return np.asarray(every[rng.permutation(there)[:count]], np.int64)
    keys = np.empty(0, np.int64)
    while len(keys) < count:
        drawn = np.sort(rng.integers(len(rows), size=(2 * (count - len(keys)) + 16, 2)), axis=1)
        drawn = rows[drawn[labels[rows[drawn[:, 0]]] != labels[rows[drawn[:, 1]]]]]
        keys = np.concatenate([keys, drawn[:, 0] * len(labels) + drawn[:, 1]])
        keys = keys[np.sort(np.unique(keys, return_index=True)[1])][:count]  # each once, in the order drawn
    return np.stack(np.divmod(keys, len(labels)), axis=1).astype(np.int64)


def distinct(sightings: Sightings) -> NDArray[np.int64]:
    """The rows without those that repeat an earlier one: the same file, and the same frame and box where known.

    A tracklet is taken by its first frame. Some data sets give one image as a query and as part of the gallery.
    """
    first = sightings.offsets[:-1]
    columns = [c[first] for c in (sightings.files, sightings.frames, sightings.boxes) if c is not None]
    if sightings.files is None:
        return np.arange(len(sightings))
    seen: dict[tuple[object, ...], int] = {}
    for row in range(len(sightings)):
        seen.setdefault(tuple(c[row].tobytes() if c.ndim > 1 else c[row] for c in columns), row)
    return np.array([*seen.values()], np.int64)


def strangers(pids: ArrayLike, anchors: ArrayLike, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each anchor a random row of another identity, every such row equally probable.

    This is how Ahmed et al. (CVPR 2015) and others pair: for each positive pair (a, b) a negative one (a, stranger).

    Args:
        pids: N, identity per row; rows of junk and distractors are never drawn.
        anchors: M, row numbers.
        rng: draws.

    Returns:
        M row numbers, int64.

    Raises:
        InputError: an anchor's identity is the only one.
    """
    labels, asked = np.asarray(pids), np.asarray(anchors, np.int64)
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] > DISTRACTOR]
    first, last = (np.searchsorted(labels[order], labels[asked], side) for side in ("left", "right"))
    others = len(order) - (last - first)
    if (others < 1).any():
        raise InputError("there is only one identity, so no pair shows two people: give images of others too")
    drawn = rng.integers(others)
    return np.asarray(order[np.where(drawn < first, drawn, drawn + last - first)], np.int64)


def with_negatives(
    pids: ArrayLike, positives: NDArray[np.int64], per_positive: int = 1, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Positive pairs, followed by the negative ones of the rule in `strangers`.

    Args:
        pids: N, identity per row.
        positives: P x 2.
        per_positive: negatives for each positive.
        seed: of the draw.

    Returns:
        P (1 + per_positive) x 2 row numbers, and which of the pairs show one person.
    """
    anchors = np.tile(positives[:, 0], per_positive)
    negatives = np.stack([anchors, strangers(pids, anchors, np.random.default_rng(seed))], axis=1)
    pairs = np.concatenate([positives, negatives])
    return pairs, np.arange(len(pairs)) < len(positives)


class PairSampler(BatchSampler):
    """Batches of training pairs (row a, row b, whether they are of one person).

    An epoch holds positive pairs, all or a random `pairs` of them, and for each of them `negatives` of two people, new
    ones every epoch. Which image of a pair comes first is random. Pairs that fill no whole batch are left out, others
    in every epoch. The batches are a function of seed, epoch and rank, as `BatchSampler` says.

    Args:
        pids: N, identity per row.
        batch_size: pairs per batch and process.
        policy: "all": positives and negatives shuffled together. "balanced": one negative for each positive, and every
            batch holds as many of both.
        negatives: policy "all": negatives for each positive.
        pairs: positives per epoch, drawn without replacement; None, or more than there are: all.
        seed, rank, world_size: as of `BatchSampler`.
        data: what the rows are called in errors.

    Raises:
        InputError: no identity has two rows; there is one identity; too few pairs for a batch; or settings that make
            no sense.
    """

    def __init__(
        self,
        pids: ArrayLike,
        batch_size: int,
        policy: Policy = "all",
        negatives: int = 1,
        pairs: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        data: str = "the training rows",
    ) -> None:
        super().__init__(seed, rank, world_size)
        self.pids, self.batch_size, self.balanced = np.asarray(pids), batch_size, policy == "balanced"
        self.positives = positive_pairs(self.pids, data)
        if len(np.unique(self.pids[self.pids > DISTRACTOR])) < 2:
            raise InputError(f"{data}: there is only one identity, so no pair shows two people")
        if batch_size < 1 or (self.balanced and batch_size % 2):
            even = "an even number, for a balanced batch holds as many pairs of one person as of two" * self.balanced
            raise InputError(f"a batch of pairs needs {even or 'at least one pair'}; got {batch_size}")
        if negatives < 1:
            raise InputError(f"there must be at least 1 negative pair for each positive, got {negatives}")
        if pairs is not None and pairs < 1:
            raise InputError(f"an epoch needs at least 1 positive pair, got {pairs}")
        self.negatives = 1 if self.balanced else negatives
        self.count = len(self.positives) if pairs is None else min(pairs, len(self.positives))
        self._hard, self._share = np.empty((0, 2), np.int64), 0.0
        if len(self) < 1:
            raise InputError(
                f"{data}: {self.count * (1 + self.negatives):,} pairs do not fill one batch of {batch_size} on"
                f" {world_size} processes"
            )

    def set_hard(self, pairs: NDArray[np.int64], share: float) -> None:
        """From now on take a share of the negatives from pairs that were mined.

        Each is shown once in an epoch at most, so that few pairs, of whom some may be labelled wrongly, do not make up
        a training: with fewer than the share asks for, the rest stays random; with more, some are drawn.

        Args:
            pairs: M x 2 row numbers of two people each; with none, all negatives are random again.
            share: of all negatives, 0 to 1.

        Raises:
            InputError: another shape, a pair of one person, or a share beyond 0 to 1.
        """
        given = np.asarray(pairs, np.int64).reshape(-1, 2) if len(pairs) else np.empty((0, 2), np.int64)
        if not 0 <= share <= 1:
            raise InputError(f"the share of hard negatives must lie between 0 and 1, got {share}")
        if (self.pids[given[:, 0]] == self.pids[given[:, 1]]).any():
            raise InputError("a hard negative pair shows one person: give pairs of two")
        self._hard, self._share = given, share

    def __len__(self) -> int:
        return self.count * (1 + self.negatives) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[list[tuple[int, int, bool]]]:  # type: ignore[override]
        batches: Iterator[Any] = super().__iter__()
        for batch in batches:
            yield [(a, b, bool(same)) for a, b, same in batch]

    def _global_batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        chosen = rng.permuted(self.positives[rng.permutation(len(self.positives))[: self.count]], axis=1)
        anchors = np.tile(chosen[:, 0], self.negatives)
        others = np.stack([anchors, strangers(self.pids, anchors, rng)], axis=1)
        hard = min(round(self._share * len(others)), len(self._hard))
        if hard:
            others[rng.permutation(len(others))[:hard]] = self._hard[rng.permutation(len(self._hard))[:hard]]
        pairs = np.concatenate([chosen, others])
        rows = np.column_stack([rng.permuted(pairs, axis=1), np.arange(len(pairs)) < self.count])
        if self.balanced:  # one of each in turn, so that every process has as many of both
            order = np.stack([np.arange(self.count), self.count + rng.permutation(self.count)], axis=1).reshape(-1)
        else:
            order = rng.permutation(len(rows))
        size = self.batch_size * self.world_size
        for i in range(len(self)):
            yield rows[order[i * size : (i + 1) * size]]
