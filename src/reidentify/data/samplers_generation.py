"""Batches in roles: an anchor with other images of its person, of other people, and with targets to draw."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.data.samplers import BatchSampler
from reidentify.errors import InputError, ReidentifyWarning
from reidentify.values import ROUNDING, Sightings


class AnchorSampler(BatchSampler):
    """Batches of anchors and of rows drawn for each of them, role-major: all anchors, then all rows of role 2, ...

    Each row is an anchor once per epoch, in random order; anchors that fill no whole batch, or are more than
    `per_epoch`, wait for another epoch. The batch of every process is role-major by itself. Identities with one row
    take no part, in any role.

    Args:
        pids: N, identity per row; any integers, without junk and distractors (as in `Benchmark.train`).
        anchors: A, anchors per batch and process.
        seed, rank, world_size: as of `BatchSampler`.

    Attributes:
        per_epoch: at most so many anchors of an epoch, of all processes; None for all rows.

    Raises:
        InputError: no identity has two rows, too few anchors for a batch, or A below 1.
    """

    def __init__(self, pids: ArrayLike, anchors: int = 16, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(seed, rank, world_size)
        if anchors < 1:
            raise InputError(f"a batch needs at least 1 anchor, got {anchors}")
        self.anchors = anchors
        self.per_epoch: int | None = None
        _, owners, sizes = np.unique(np.asarray(pids), return_inverse=True, return_counts=True)
        alone = int((sizes == 1).sum())
        if alone == len(sizes):
            raise InputError(
                f"each of the {alone} training identities has one image, so there is no second one to go with it: give"
                " two or more of each"
            )
        if alone:
            warnings.warn(
                f"{alone} of {len(sizes)} training identities have one image and are left out, as an anchor needs"
                " another image of its person",
                ReidentifyWarning,
                stacklevel=3,
            )
        # From here on a row is told by its place among the rows that take part, which are sorted by identity.
        order = np.argsort(owners, kind="stable")
        self.rows = order[sizes[owners[order]] > 1]
        _, self.people, counts = np.unique(owners[self.rows], return_inverse=True, return_counts=True)
        self._count = counts[self.people]
        self._first = (np.cumsum(counts) - counts)[self.people]
        if len(self) < 1:
            raise InputError(
                f"{len(self.rows)} training rows do not fill one batch of {anchors} anchors on {world_size} processes"
            )

    def __len__(self) -> int:
        shown = len(self.rows) if self.per_epoch is None else min(self.per_epoch, len(self.rows))
        return shown // (self.anchors * self.world_size)

    def _global_batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        size = self.anchors * self.world_size
        roles = self._roles(rng.permutation(len(self.rows))[: len(self) * size], rng)
        for i in range(len(self)):
            batch = self.rows[roles[..., i * size : (i + 1) * size]]
            yield np.moveaxis(batch.reshape(*batch.shape[:-1], self.world_size, self.anchors), -2, 0).reshape(-1)

    @abstractmethod
    def _roles(self, anchors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """The places of all roles, R x M (or more leading axes), for the places of M anchors."""

    def _others(self, places: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Two other rows of each one's person, different ones if there are two. 2 x M places."""
        first, count = self._first[places], self._count[places]
        step = rng.integers(1, count)  # ahead, in the circle of the person's rows
        second = rng.integers(1, np.maximum(count - 1, 2))
        second = np.where(count > 2, second + (second >= step), step)
        return np.asarray(first + (places - first + np.stack([step, second])) % count, np.int64)

    def _strangers(self, places: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """For each a row of another person, every such row equally probable. M places."""
        first, count = self._first[places], self._count[places]
        drawn = rng.integers(len(self.rows) - count)
        return np.where(drawn < first, drawn, drawn + count)

    def _require_strangers(self) -> None:
        if self.people[-1] == 0:
            raise InputError("only one training identity has two images, so there is no other person to compare with")


class InstanceSampler(AnchorSampler):
    """Anchors a, and two positives p1 and p2 of each: B = 3 A rows, all a, then all p1, then all p2.

    ST-ReIDNet's instance mode: negatives are the other people in the batch. Of an identity with two rows, p1 is p2.
    """

    def _roles(self, anchors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        return np.stack([anchors, *self._others(anchors, rng)])


class SpaceTimeSampler(AnchorSampler):
    """Anchors, positives and negatives, chosen by place and time (ST-ReIDNet): B = 3 A rows, role by role.

    With probability `inter_rate` the positive shows the person in the anchor's video at least `gap` seconds earlier or
    later, and the negative is a random image of a random other person in that video. A person who is seen in a video
    for less than two gaps needs a fifth of that time instead. Otherwise, and each of the two where it is impossible,
    the positive is any other image of the person, and the negative any image of another one. As published, but counted
    in seconds instead of images, and by row, so that labels numbered anew cannot point to people of another video.

    Args:
        pids: N, identity per row.
        videos: N, the video or camera of each row; below 0 where it is unknown, which is no video.
        times: N, seconds on a clock of the video; NaN where unknown.
        anchors: A, per batch and process.
        inter_rate: probability, 0 to 1.
        gap: seconds, above 0.
        seed, rank, world_size: as of `BatchSampler`.

    Raises:
        InputError: as `AnchorSampler`; one identity; columns of another length; or numbers outside their range.
    """

    def __init__(
        self,
        pids: ArrayLike,
        videos: ArrayLike,
        times: ArrayLike,
        anchors: int = 16,
        inter_rate: float = 0.7,
        gap: float = 4.0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(pids, anchors, seed, rank, world_size)
        self._require_strangers()
        if not 0 <= inter_rate <= 1 or not gap > 0:
            raise InputError(f"inter_rate must lie between 0 and 1 and gap above 0 seconds, got {inter_rate} and {gap}")
        every = len(np.asarray(pids))
        if not len(np.asarray(videos)) == len(np.asarray(times)) == every:
            raise InputError(f"videos and times: expected {every} entries each, one per row")
        self.inter_rate, self.gap = inter_rate, gap
        video, time = np.asarray(videos)[self.rows], np.asarray(times, np.float64)[self.rows]
        time[~np.isfinite(time)] = np.nan
        # A stay is a person in a video; the places, stay by stay in the order of time, unknown times last.
        self._by_stay = np.lexsort((time, self.people, video))
        keys = np.stack([video, self.people])[:, self._by_stay]
        self._begin = np.flatnonzero(np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)]))
        self._size = np.diff(np.append(self._begin, len(self.rows)))
        self._stay = np.empty(len(self.rows), np.int64)  # of each place
        self._stay[self._by_stay] = np.repeat(np.arange(len(self._begin)), self._size)
        _, first, stays = np.unique(keys[0, self._begin], return_index=True, return_counts=True)
        self._first_stay, self._stays = np.repeat(first, stays), np.repeat(stays, stays)  # of each stay's video
        self._known = video >= 0
        self._early = np.zeros(len(self.rows), np.int64)  # how many of the stay are a gap before each place, ...
        self._late = np.zeros(len(self.rows), np.int64)  # ... and how many a gap after it
        self._timed = np.zeros(len(self._begin), np.int64)  # how many of the stay have a time
        for stay, (begin, size) in enumerate(zip(self._begin.tolist(), self._size.tolist(), strict=True)):
            places = self._by_stay[begin : begin + size]
            places = places[~np.isnan(time[places])]
            self._timed[stay] = len(places)
            if len(places) < 2:
                continue
            since = time[places] - time[places[0]]
            needed = (gap if since[-1] >= 2 * gap - ROUNDING else since[-1] / 5) - ROUNDING
            if needed > 0:
                self._early[places] = np.searchsorted(since, since - needed, "right")
                self._late[places] = len(places) - np.searchsorted(since, since + needed, "left")

    @property
    def possible(self) -> tuple[float, float]:
        """For which share of the anchors place and time allow a positive, and for which a negative."""
        apart, others = self._early + self._late > 0, self._stays[self._stay] > 1
        return float((apart & self._known).mean()), float((others & self._known).mean())

    def _roles(self, anchors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        inter = (rng.random(len(anchors)) < self.inter_rate) & self._known[anchors]
        stay, early = self._stay[anchors], self._early[anchors]
        apart = early + self._late[anchors]
        drawn = rng.integers(np.maximum(apart, 1))
        # Those a gap later stand at the end of the stay's rows with times.
        drawn = np.where(drawn < early, drawn, self._timed[stay] - apart + drawn)
        same_video = self._by_stay[np.minimum(self._begin[stay] + drawn, len(self.rows) - 1)]
        positives = np.where(inter & (apart > 0), same_video, self._others(anchors, rng)[0])

        others = self._stays[stay] - 1
        chosen = self._first_stay[stay] + rng.integers(np.maximum(others, 1))
        chosen = np.where(others > 0, chosen + (chosen >= stay), stay)
        same_video = self._by_stay[self._begin[chosen] + rng.integers(self._size[chosen])]
        negatives = np.where(inter & (others > 0), same_video, self._strangers(anchors, rng))
        return np.stack([anchors, positives, negatives])


def place_and_time(sightings: Sightings) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The camera and the middle time of each row, as `SpaceTimeSampler` takes them. N each.

    Raises:
        InputError: no camera, or no time, is known.
    """
    times = sightings.row_times()
    if sightings.camids is None or (sightings.camids < 0).all():
        raise InputError(
            "sampling by space and time needs to know which camera or video each row comes from: give camids, or set"
            " sampler.kind=instances"
        )
    if times is None or np.isnan(times).all():
        raise InputError(
            "sampling by space and time needs to know when each row was seen: give times in seconds, or set"
            " sampler.kind=instances"
        )
    return sightings.camids, times


class TargetPairSampler(AnchorSampler):
    """Pairs (a, b) with an image to draw for each (FD-GAN): rows a, rows b, targets of a, targets of b, P of each.

    Every anchor gives one pair with another image of its person and `negatives` pairs with other people, so that
    P = A (1 + negatives); of each role the A pairs of one person come first. A target is another image of the same
    person; in a pair of one person both have the same one, which is neither of the two if the person has three images.

    Args:
        pids: N, identity per row.
        anchors: A, per batch and process.
        negatives: pairs of two people for each anchor.
        seed, rank, world_size: as of `BatchSampler`.

    Raises:
        InputError: as `AnchorSampler`; one identity where there are to be negatives; or fewer than 0 of these.
    """

    def __init__(
        self,
        pids: ArrayLike,
        anchors: int = 16,
        negatives: int = 3,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(pids, anchors, seed, rank, world_size)
        if negatives < 0:
            raise InputError(f"there cannot be {negatives} negative pairs for each anchor; give 0 or more")
        if negatives:
            self._require_strangers()
        self.negatives = negatives

    def _roles(self, anchors: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        partner, target = self._others(anchors, rng)
        pairs = [np.stack([anchors, partner, target, target])]
        for _ in range(self.negatives):
            stranger = self._strangers(anchors, rng)
            targets = (self._others(places, rng)[0] for places in (anchors, stranger))
            pairs.append(np.stack([anchors, stranger, *targets]))
        return np.stack(pairs, axis=1)
