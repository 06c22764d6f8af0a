"""Tracks that are lost and found again, by hand."""

import numpy as np
import pytest

from reidentify.errors import InputError
from reidentify.ranking.resumption import Resumptions, resumptions

ONE, TWO = (1.0, 0.0), (0.0, 1.0)
Row = tuple[int, float, tuple[float, float]]


def found(rows: list[Row], cut: bool = False, seed: int = 0) -> Resumptions:
    """From person, time and vector of each picture, all of one video."""
    pids, times, vectors = (list(column) for column in zip(*rows))
    return resumptions(vectors, pids, [3] * len(rows), times, cut=cut, seed=seed)


def steady(pid: int, begin: float, end: float, vector: tuple[float, float], step: float = 0.5) -> list[Row]:
    return [(pid, float(t), vector) for t in np.arange(begin, end + 1e-9, step)]


def test_the_first_second_after_a_gap_asks() -> None:
    """Person 1 is away from 1 to 3 seconds; the first second back is (1, 0), (1, 0) and (0, 1), later all (0, 1)."""
    back: list[Row] = [(1, 3.0, ONE), (1, 3.5, ONE), (1, 4.0, TWO), *steady(1, 4.5, 8, TWO)]
    rows = [*steady(1, 0, 1, ONE), *back, *steady(2, 0, 8, TWO)]
    rng = np.random.default_rng(0)
    one = found([rows[k] for k in rng.permutation(len(rows))])  # in any order
    assert one.pids.tolist() == [1]
    assert one.gaps.tolist() == [2.0]
    assert one.correct.tolist() == [True]
    assert one.candidates.tolist() == [2]
    wrong = [(pid, time, TWO if pid == 1 and time >= 3 else vector) for pid, time, vector in rows]
    assert found(wrong).correct.tolist() == [False]


def test_the_last_seconds_are_remembered() -> None:
    """What person 1 showed more than 5 seconds before being lost is forgotten; else (0, 1) would outweigh (1, 0)."""
    rows = [*steady(1, 0, 20, TWO), *steady(1, 20.5, 25, ONE), *steady(1, 28, 30, ONE), *steady(2, 0, 30, (0.6, 0.8))]
    assert found(rows).correct.tolist() == [True]


def test_only_the_past_is_known() -> None:
    """Person 2 looks as person 1 does now, but comes later; person 3 looked like it, but in a track before the last."""
    rows = [
        *steady(1, 0, 4, (0.8, 0.6)), *steady(1, 8, 10, ONE),
        *steady(2, 8.5, 12, ONE), *steady(3, 0, 2, ONE), *steady(3, 15, 16, TWO), *steady(3, 4, 6, TWO),
    ]  # fmt: skip
    one = found(rows)
    order = np.argsort(one.gaps)
    assert one.gaps[order].tolist() == [2.0, 4.0, 9.0]
    assert one.pids[order].tolist() == [3, 1, 3]
    assert one.candidates[order].tolist() == [2, 2, 3]
    assert one.correct[order].tolist() == [False, True, True]


def test_which_gaps_count() -> None:
    """A second is no gap, 10 seconds are the longest; and a gap asks nothing while nobody else has been seen."""
    rows = [*steady(1, 0, 2, ONE), *steady(1, 3, 5, ONE), *steady(1, 15, 17, ONE), *steady(1, 28, 30, ONE)]
    assert found([*rows, *steady(2, 0, 30, TWO)]).gaps.tolist() == [10.0]
    assert len(found([*rows, *steady(2, 20, 30, TWO)]).gaps) == 0


def test_videos_are_apart() -> None:
    vectors, pids, times = [ONE, ONE, TWO, TWO], [1, 1, 2, 2], [0.0, 5.0, 0.0, 0.5]
    assert len(resumptions(vectors, pids, [1, 1, 1, 1], times).gaps) == 1
    assert len(resumptions(vectors, pids, [1, 1, 2, 2], times).gaps) == 0


def test_shares_by_length() -> None:
    """Gaps of 1.5, 2, 3 and 10 seconds, of which those of 2 and 10 went wrong; 2, 4, 4 and 5 candidates."""
    every = Resumptions(
        np.array([1, 1, 2, 3]), np.array([1.5, 2.0, 3.0, 10.0]), np.array([True, False, True, False]),
        np.array([2, 4, 4, 5]),
    )  # fmt: skip
    shares = every.shares()
    assert [(s.low, s.high) for s in shares] == [(1, 10), (1, 2), (2, 5), (5, 10)]
    assert [s.count for s in shares] == [4, 2, 1, 1]
    assert [s.share for s in shares] == [0.5, 0.5, 1.0, 0.0]
    assert [s.chance for s in shares] == pytest.approx([0.3, 0.375, 0.25, 0.2])
    low, high = shares[0].interval
    assert low == 0.0 and high == 1.0  # noqa: PT018  # three times person 2, or three times person 3
    assert np.isnan(shares[1].interval).all()  # both of person 1: there is nobody to resample
    assert shares[1].summary()["interval"] is None


def test_without_gaps_there_is_no_share() -> None:
    none = found(steady(1, 0, 5, ONE)).shares()
    assert [s.count for s in none] == [0, 0, 0, 0]
    assert none[0].summary() == {
        "low": 1.0, "high": 10.0, "count": 0, "share": None, "interval": None, "chance": None
    }  # fmt: skip


def test_cuts_of_every_length_from_every_long_track() -> None:
    """Tracks of 40 seconds lose three stretches, one of each length; of 3 seconds nothing of more than one second can
    be cut, as a second stays before and after."""
    rows = [*steady(1, 0, 40, ONE, 0.1), *steady(2, 0, 40, TWO, 0.1), *steady(3, 0, 3, TWO, 0.1)]
    one = found(rows, cut=True)
    assert one.pids.tolist() == [1, 1, 1, 2, 2, 2]
    assert one.correct.all()
    for pid in (1, 2):
        gaps = one.gaps[one.pids == pid]
        assert all(low < gap <= high for gap, (low, high) in zip(gaps, ((1, 2), (2, 5), (5, 10))))
    again = found(rows, cut=True)
    assert (again.gaps == one.gaps).all()
    assert (found(rows, cut=True, seed=1).gaps != one.gaps).any()


def test_nothing_of_the_cut_is_used() -> None:
    """Person 1 changes to (0, 1) for good halfway: after a cut across that moment they are taken for person 2, though
    the stretch between would have shown both."""
    rows = [*steady(1, 0, 20, ONE, 0.1), *steady(1, 20.1, 40, TWO, 0.1), *steady(2, 0, 40, (0.1, 0.9), 0.1)]
    results = [found(rows, cut=True, seed=seed) for seed in range(40)]
    wrong = [one.gaps[(one.pids == 1) & ~one.correct] for one in results]
    assert sum(map(len, wrong)) > 0
    assert all(found(rows, cut=True, seed=seed).correct[-3:].all() for seed in range(5))  # person 2 never changes


def test_who_is_no_one_person_and_what_is_in_no_video() -> None:
    """A distractor, junk, and people before no known camera neither come back nor are candidates."""
    rows = [*steady(1, 0, 1, ONE), *steady(1, 3, 5, ONE), *steady(2, 0, 5, TWO)]
    nobody = [*steady(0, 0, 1, ONE), *steady(0, 3, 5, ONE), *steady(-1, 0, 1, ONE), *steady(-1, 3, 5, ONE)]
    elsewhere = [*steady(4, 0, 1, ONE), *steady(4, 3, 5, ONE), *steady(5, 0, 5, TWO)]
    pids, times, vectors = zip(*rows, *nobody, *elsewhere)
    videos = [3] * len(rows + nobody) + [-1] * len(elsewhere)
    one = resumptions(vectors, pids, videos, times)
    assert one.pids.tolist() == [1]
    assert one.candidates.tolist() == [2]


def test_unknown_times_are_refused() -> None:
    with pytest.raises(InputError, match="if every time is known"):
        resumptions([ONE, ONE, TWO], [1, 1, 2], [1, 1, 1], [0.0, np.nan, 0.0])
    assert not len(resumptions([ONE, ONE, TWO], [1, -1, 2], [1, 1, 1], [0.0, np.nan, 0.0]).gaps)  # junk asks nothing


def test_the_last_of_the_first_second_asks_however_it_is_rounded() -> None:
    """Back with (0.8, 0.6), which is nearer to person 2; a second later, which comes out as more, with (0, 1), so that
    the mean is nearer to what person 1 was."""
    frame = next(f for f in range(3000) if (f + 30) / 30 > f / 30 + 1)
    back = frame / 30
    rows = [(1, back - 2, TWO), (1, back, (0.8, 0.6)), (1, (frame + 30) / 30, TWO), (2, back - 2, ONE)]
    assert found(rows).correct.tolist() == [True]


def test_memory_ends_where_it_does_however_it_is_rounded() -> None:
    """What was shown exactly 5 seconds before the last picture, though it comes out as less, is forgotten: of six
    (1, 0) and that one (0, 1), the mean would be farther from (1, 0) than person 2 is."""
    frame = next(f for f in range(150, 3000) if (f - 150) / 30 > f / 30 - 5)
    track: list[Row] = [(1, (frame - k) / 30, TWO if k == 150 else ONE) for k in range(150, -1, -25)]
    rows = [*track, (1, (frame + 60) / 30, ONE), (2, 0.0, (0.999, 0.045))]
    assert found(rows).correct.tolist() == [True]


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match="as many of each"):
        resumptions(np.ones((3, 2)), [1, 1], [1, 1], [0, 1])
