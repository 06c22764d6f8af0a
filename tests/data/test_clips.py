"""Clip sampling: written-out frames, the rule for short tracklets, and the bounds of what is random."""

import numpy as np
import pytest

from reidentify import InputError, Sightings
from reidentify.data.clips import dense, evenly, sample


def test_evenly_spread_frames() -> None:
    frames, real = sample(11, 4, "evenly")
    assert frames.tolist() == [[0, 2, 5, 8]]
    assert real.all()


@pytest.mark.parametrize("method", ["evenly", "random", "consecutive", "restricted", "dense"])
def test_short_tracklets_repeat_their_last_frame(method: str) -> None:
    frames, real = sample(3, 5, method, np.random.default_rng(0))  # type: ignore[arg-type]
    assert frames.tolist() == [[0, 1, 2, 2, 2]]
    assert real.tolist() == [[True, True, True, False, False]]


def test_random_frames_are_in_order_and_distinct_and_all_come_up() -> None:
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        (frames,), real = sample(9, 4, "random", rng)
        assert (np.diff(frames) > 0).all()
        assert real.all()
        seen |= set(frames.tolist())
    assert seen == set(range(9))


def test_consecutive_windows_start_anywhere() -> None:
    rng, starts = np.random.default_rng(0), set()
    for _ in range(200):
        (frames,), _ = sample(7, 4, "consecutive", rng)
        assert np.diff(frames).tolist() == [1, 1, 1]
        starts.add(int(frames[0]))
    assert starts == {0, 1, 2, 3}


def test_restricted_takes_one_frame_of_each_chunk() -> None:
    rng, seen = np.random.default_rng(0), [set(), set(), set()]
    for _ in range(200):
        (frames,), _ = sample(10, 3, "restricted", rng)
        for chunk, frame in zip(seen, frames.tolist()):
            chunk.add(frame)
    assert seen == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9}]


def test_dense_windows_cover_every_frame_once() -> None:
    rows, frames, real = dense(np.array([5, 1, 4]), 2)
    assert rows.tolist() == [0, 0, 0, 1, 2, 2]
    assert frames.tolist() == [[0, 1], [2, 3], [4, 4], [5, 5], [6, 7], [8, 9]]
    assert real.tolist() == [[True, True], [True, True], [True, False], [True, False], [True, True], [True, True]]
    assert frames[real].tolist() == list(range(10))


def test_all_frames_in_one_clip() -> None:
    frames, real = sample(3, 1, "all")
    assert frames.tolist() == [[0, 1, 2]]
    assert real.all()


def test_tracklets_reduced_to_frames_evenly_spread() -> None:
    rows = Sightings([1, 2], frames=np.arange(9), offsets=[0, 7, 9])
    few = evenly(rows, 3)
    assert few.frames.tolist() == [0, 2, 4, 7, 8]
    assert few.lengths.tolist() == [3, 2]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="at least one frame"):
        sample(3, 0, "evenly")
    with pytest.raises(InputError, match="without a generator"):
        sample(3, 2, "random")
