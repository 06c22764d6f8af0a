"""Which rows make up a training batch: P identities x K instances, or a plain shuffle."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError, ReidentifyWarning


class BatchSampler(ABC):
    """Batches of row numbers, the same for every process up to the slice that is its own.

    A batch depends on the seed, the epoch and the rank alone: a resumed run sees what an uninterrupted one would have.
    Every process draws the whole epoch and keeps its part of each global batch, so that all see the same number of
    batches and never the same row for the same purpose.
    """

    def __init__(self, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise InputError(f"rank must lie between 0 and world_size - 1 = {world_size - 1}, got {rank}")
        self.seed, self.rank, self.world_size, self.epoch = seed, rank, world_size, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    @property
    def sampler(self) -> BatchSampler:
        """Itself: pytorch-lightning calls `set_epoch` on the `sampler` of a batch sampler, and on nothing else."""
        return self

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        for batch in self._global_batches(rng):
            share = len(batch) // self.world_size
            yield batch[self.rank * share : (self.rank + 1) * share].tolist()

    @abstractmethod
    def _global_batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """The batches of all processes together, in rank order."""

    @abstractmethod
    def __len__(self) -> int: ...


class ShuffleSampler(BatchSampler):
    """Every row once per epoch in random order; the remainder that fills no whole batch is left for another epoch.

    Args:
        rows: number of training rows.
        batch_size: rows per batch and process.
    """

    def __init__(self, rows: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(seed, rank, world_size)
        self.rows, self.batch_size = rows, batch_size
        if len(self) < 1:
            raise InputError(f"{rows} training rows do not fill one batch of {batch_size} on {world_size} processes")

    def __len__(self) -> int:
        return self.rows // (self.batch_size * self.world_size)

    def _global_batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        order, size = rng.permutation(self.rows), self.batch_size * self.world_size
        for i in range(len(self)):
            yield order[i * size : (i + 1) * size]


class PKSampler(BatchSampler):
    """P identities x K instances per batch and process (Hermans et al. 2017, section 3).

    An identity enters an epoch about as often as it has groups of K instances, so an epoch shows about as many rows
    as there are. An identity with fewer than K instances repeats some. If there are fewer identities than a batch
    asks for, the batch holds them all, with a warning.

    Args:
        pids: N, identity per row.
        identities: P.
        instances: K.
        camids: N, camera per row. Given: an identity's K instances come from as many cameras as possible.
        sources: N, data set per row. Given: every process's batch holds the same number of identities of each source
            (a remainder goes to the first), and the epoch is as long as the largest source makes it.
    """

    def __init__(
        self,
        pids: ArrayLike,
        identities: int = 16,
        instances: int = 4,
        camids: ArrayLike | None = None,
        sources: ArrayLike | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch: Literal["rows", "identities"] = "rows",
    ) -> None:
        super().__init__(seed, rank, world_size)
        if identities < 1 or instances < 1:
            raise InputError(f"a batch needs at least 1 identity x 1 instance, got {identities} x {instances}")
        self.pids = np.asarray(pids)
        self.instances = instances
        self.camids = None if camids is None else np.asarray(camids)
        _, owner = np.unique(self.pids, return_inverse=True)
        self._rows = [np.flatnonzero(owner == i) for i in range(owner.max() + 1)] if len(owner) else []
        wanted = identities * world_size
        if len(self._rows) < world_size:
            raise InputError(f"{len(self._rows)} training identities are too few for {world_size} processes")
        if len(self._rows) < wanted:
            warnings.warn(
                f"a batch asks for {wanted} identities and the training split has {len(self._rows)}: batches hold"
                f" {len(self._rows) // world_size} per process",
                ReidentifyWarning,
                stacklevel=2,
            )
            wanted = len(self._rows) // world_size * world_size
        shows = [max(1, round(len(rows) / instances)) for rows in self._rows]
        self._groups = np.array(shows if epoch == "rows" else [1] * len(shows))
        tags = np.zeros(len(self.pids)) if sources is None else np.asarray(sources)
        source = np.array([tags[rows[0]] for rows in self._rows])
        names, counts = np.unique(source, return_counts=True)
        share = wanted // world_size
        if share < len(names):
            raise InputError(f"a batch of {share} identities cannot hold all {len(names)} sources: raise identities")
        quota = np.full(len(names), share // len(names))
        quota[: share - quota.sum()] += 1
        quota *= world_size
        short = counts < quota
        if short.any():
            raise InputError(
                f"source {names[short][0]} has {counts[short][0]} identities, fewer than the {quota[short][0]} that a"
                " source-balanced batch takes from each: lower identities or turn source balance off"
            )
        self._members = [np.flatnonzero(source == name) for name in names]
        self._quota = quota
        self._length = max(1, *(int(self._groups[m].sum() // q) for m, q in zip(self._members, quota, strict=True)))

    def __len__(self) -> int:
        return self._length

    def _global_batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        queues: list[deque[int]] = [deque() for _ in self._rows]
        remaining = self._groups.copy()
        for _ in range(self._length):
            drawn = [self._draw(rng, remaining, m, q) for m, q in zip(self._members, self._quota, strict=True)]
            shares = zip(*(np.split(identities, self.world_size) for identities in drawn), strict=True)
            chosen = np.concatenate([identities for share in shares for identities in share])
            yield np.concatenate([self._take(rng, queues, identity) for identity in chosen])

    def _draw(
        self, rng: np.random.Generator, remaining: NDArray[np.int64], members: NDArray[np.int64], count: int
    ) -> NDArray[np.int64]:
        """`count` distinct identities, each with a chance in proportion to the groups it still has to show."""
        if (remaining[members] > 0).sum() < count:
            remaining[members] += self._groups[members]
        # Exponential clocks: the smallest of E / weight are a weighted draw without replacement.
        weight = np.maximum(remaining[members], 1e-12)
        chosen = members[np.argsort(rng.exponential(size=len(members)) / weight)[:count]]
        remaining[chosen] -= 1
        return chosen

    def _take(self, rng: np.random.Generator, queues: list[deque[int]], identity: int) -> NDArray[np.int64]:
        rows, queue, taken = self._rows[identity], queues[identity], list[int]()
        while len(taken) < self.instances:
            if not queue:
                queue.extend(self._order(rng, rows).tolist())
            # A refill in the middle of a group may offer a row the group has already: put it off while others remain.
            row = queue.popleft()
            if row in taken and any(other not in taken for other in queue):
                queue.append(row)
            else:
                taken.append(row)
        return np.array(taken)

    def _order(self, rng: np.random.Generator, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = rng.permutation(rows)
        if self.camids is None:
            return rows
        cameras = rng.permutation(np.unique(self.camids[rows]))
        turn = np.empty(len(rows), np.int64)  # how many rows of the same camera come before
        place = np.empty(len(rows), np.int64)
        for i, camera in enumerate(cameras):
            at = np.flatnonzero(self.camids[rows] == camera)
            turn[at], place[at] = np.arange(len(at)), i
        return rows[np.lexsort((place, turn))]
