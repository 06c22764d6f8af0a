"""Pairs of rows: all positives, uniform negatives, and the batches of training."""

from itertools import combinations

import numpy as np
import pytest

from reidentify import InputError, Sightings
from reidentify.data.benchmarks import benchmark, facts
from reidentify.data.pairs import PairSampler, distinct, negative_pairs, positive_pairs, strangers, with_negatives
from reidentify.data.root import data_root

# Rows 0, 3 and 5 are person 7; 1 and 4 person 2; 2 person 9; 6 junk, 7 and 8 distractors.
PIDS = [7, 2, 9, 7, 2, 7, -1, 0, 0]


def test_positives_are_all_pairs_of_one_identity() -> None:
    assert positive_pairs(PIDS).tolist() == [[1, 4], [0, 3], [0, 5], [3, 5]]
    # CUHK01: 971 people, 4 images each; the talk judged 11,652 pairs, half of them of one person.
    assert len(positive_pairs(np.repeat(np.arange(1, 972), 4))) == 11_652 // 2


@pytest.mark.parametrize(
    ("pids", "said"),
    [
        ([1, 2, 3], "mine: no pair of images shows one person, as each of the 3 identities has one image"),
        ([0, 0, -1, -1], "mine: no row has an identity"),
        ([], "mine: no row has an identity"),
    ],
)
def test_data_without_a_positive_pair_is_named(pids: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        positive_pairs(np.array(pids, np.int64), "mine")
    with pytest.raises(InputError, match=said):
        PairSampler(np.array(pids, np.int64), 2, data="mine")


def test_negatives_are_different_pairs_of_two_identities() -> None:
    every = {(a, b) for a, b in combinations(range(6), 2) if PIDS[a] != PIDS[b]}
    assert len(every) == 11  # 15 pairs of the six known rows, less 3 + 1 of one identity
    for count in (3, 5, 8, 11):
        found = [tuple(pair) for pair in negative_pairs(PIDS, count, seed=4).tolist()]
        assert len(found) == len(set(found)) == count
        assert set(found) <= every
    assert negative_pairs(PIDS, 5, 4).tolist() == negative_pairs(PIDS, 5, 4).tolist()
    assert negative_pairs(PIDS, 5, 4).tolist() != negative_pairs(PIDS, 5, 5).tolist()
    with pytest.raises(InputError, match="12 pairs of two people were asked for, and there are 11"):
        negative_pairs(PIDS, 12)


@pytest.mark.parametrize("count", [4, 9])
def test_negatives_are_uniform(count: int) -> None:
    """Each of the 11 pairs is in count / 11 of the draws, by either way of drawing; 4 standard deviations."""
    draws = 3000
    seen = np.zeros((9, 9))
    for seed in range(draws):
        a, b = negative_pairs(PIDS, count, seed).T
        seen[a, b] += 1
    share = count / 11
    found = seen[seen > 0] / draws
    assert len(found) == 11
    assert np.abs(found - share).max() < 4 * np.sqrt(share * (1 - share) / draws)


def test_strangers_are_uniform_over_the_rows_of_others() -> None:
    rng, draws = np.random.default_rng(0), 30_000
    for anchor, others in ((3, [1, 2, 4]), (2, [0, 1, 3, 4, 5]), (1, [0, 2, 3, 5])):
        counts = np.bincount(strangers(PIDS, np.full(draws, anchor), rng), minlength=9) / draws
        assert np.flatnonzero(counts).tolist() == others
        assert np.abs(counts[others] - 1 / len(others)).max() < 4 * np.sqrt(0.25 / draws)
    with pytest.raises(InputError, match="only one identity"):
        strangers([3, 3, 0], [0], rng)


def test_each_positive_has_its_negatives() -> None:
    pairs, same = with_negatives(PIDS, positive_pairs(PIDS), 3, seed=1)
    assert same.tolist() == [True] * 4 + [False] * 12
    assert pairs[:4].tolist() == positive_pairs(PIDS).tolist()
    assert pairs[4:, 0].tolist() == [1, 0, 0, 3] * 3
    assert all(PIDS[a] != PIDS[b] and PIDS[b] > 0 for a, b in pairs[4:].tolist())


def test_a_picture_that_is_given_twice_counts_once() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 1, 1]], np.float32)
    files = np.array(["a", "a", "a", "b"], object)
    assert distinct(Sightings([1] * 4, files=files)).tolist() == [0, 3]
    assert distinct(Sightings([1] * 4, files=files, boxes=boxes)).tolist() == [0, 2, 3]
    assert distinct(Sightings([1] * 4)).tolist() == [0, 1, 2, 3]


SET = np.repeat(np.arange(1, 9), [2, 3, 4, 2, 5, 2, 3, 1])  # 1 + 3 + 6 + 1 + 10 + 1 + 3 + 0 = 25 positive pairs


def epoch(sampler: PairSampler, number: int = 0) -> list[list[tuple[int, int, bool]]]:
    sampler.set_epoch(number)
    return list(sampler)


def test_an_epoch_holds_every_positive_and_its_negatives() -> None:
    sampler = PairSampler(SET, 5, "all", negatives=2)
    batches = epoch(sampler)
    assert len(sampler) == len(batches) == 15  # 25 positives and 50 negatives in batches of 5
    rows = [pair for batch in batches for pair in batch]
    positives = sorted(tuple(sorted(pair[:2])) for pair in rows if pair[2])
    assert positives == sorted(map(tuple, positive_pairs(SET).tolist()))
    assert all((SET[a] == SET[b]) == same for a, b, same in rows)
    assert sum(not same for *_, same in rows) == 50
    assert {same for *_, same in batches[0]} == {True, False}  # shuffled together
    assert any(a > b for a, b, _ in rows)
    assert any(a < b for a, b, _ in rows)
    assert epoch(sampler) == batches
    assert epoch(sampler, 1) != batches
    assert epoch(PairSampler(SET, 5, "all", negatives=2, seed=1)) != batches


def test_a_balanced_batch_has_as_many_of_both_in_every_process() -> None:
    for rank in range(2):
        for batch in epoch(PairSampler(SET, 4, "balanced", rank=rank, world_size=2)):
            assert len(batch) == 4
            assert sum(same for *_, same in batch) == 2
    with pytest.raises(InputError, match="an even number"):
        PairSampler(SET, 5, "balanced")


def test_processes_share_an_epoch() -> None:
    whole = epoch(PairSampler(SET, 6, "all"), 3)
    parts = [epoch(PairSampler(SET, 3, "all", rank=rank, world_size=2), 3) for rank in range(2)]
    assert [a + b for a, b in zip(*parts)] == whole
    assert len(parts[0]) == len(parts[1]) == 50 // 6


def test_an_epoch_of_some_positives_draws_them_without_replacement() -> None:
    sampler = PairSampler(SET, 1, "all", pairs=10)
    seen = set()
    for number in range(30):
        positives = [tuple(sorted(p[:2])) for batch in epoch(sampler, number) for p in batch if p[2]]
        assert len(positives) == len(set(positives)) == 10
        seen |= set(positives)
    assert len(seen) == 25


def test_mined_pairs_take_their_share_of_the_negatives() -> None:
    """There are 50 negatives in an epoch."""
    sampler = PairSampler(SET, 1, "all", negatives=2)

    def negatives() -> list[tuple[int, ...]]:
        return [tuple(sorted(p[:2])) for batch in epoch(sampler) for p in batch if not p[2]]

    random = negatives()
    mined = np.array([pair for pair in negative_pairs(SET, 120, 1).tolist() if tuple(pair) not in random][:40])
    assert len(mined) == 40
    every = set(map(tuple, mined.tolist()))
    sampler.set_hard(mined, 0.5)
    found = negatives()
    assert len(found) == 50
    shown = [pair for pair in found if pair in every]
    assert len(shown) >= 25  # drawn, and some may come at random too
    assert len(set(shown)) >= 25
    assert negatives() == found
    # Of three, each is shown once, and no more is asked of them.
    sampler.set_hard(mined[:3], 1.0)
    found = negatives()
    assert len(found) == 50
    assert all(tuple(pair) in found for pair in mined[:3].tolist())
    assert len(set(found)) > 20
    sampler.set_hard(mined[:0], 0.5)
    assert negatives() == random
    sampler.set_hard(negative_pairs(SET, 50, 7), 1.0)
    assert set(negatives()) == set(map(tuple, negative_pairs(SET, 50, 7).tolist()))
    sampler.set_hard(mined, 0.5)
    with pytest.raises(InputError, match="shows one person"):
        sampler.set_hard(np.array([[0, 1]]), 0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        sampler.set_hard(mined, 1.5)


def test_settings_that_make_no_sense() -> None:
    for options, said in (
        ({"batch_size": 0}, "at least one pair"),
        ({"batch_size": 2, "negatives": 0}, "at least 1 negative"),
        ({"batch_size": 2, "pairs": 0}, "at least 1 positive"),
        ({"batch_size": 51}, "50 pairs do not fill one batch of 51 on 1 processes"),
    ):
        with pytest.raises(InputError, match=said):
            PairSampler(SET, **options)
    with pytest.raises(InputError, match="mine: there is only one identity"):
        PairSampler([1, 1, 0], 2, data="mine")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "split", "count"),
    [
        ("cuhk03-talk", "train", 31_795),
        ("cuhk03-talk", "query", 3_976),
        ("market1501", "gallery", 143_758),
        ("market1501", "query", 6_241),
        ("market1501", "train", 148_469),
    ],
)
def test_positive_pairs_of_the_real_sets(name: str, split: str, count: int) -> None:
    """The talk's table counts 31,795 pairs to train on, and 143,758 of Market-1501's 750 test identities."""
    if not (data_root() / facts(name).folder).is_dir():
        pytest.skip(f"{name} is not under {data_root()}")
    assert len(positive_pairs(getattr(benchmark(name), split).pids)) == count
