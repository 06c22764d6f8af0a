"""Ranks by counting: the same by sorting whole rows, for arrays and tensors, with ties and what is ignored."""

import warnings

import numpy as np
import pytest
import torch

from reidentify.ranking import ranks
from reidentify.ranking.matches import Lists
from reidentify.ranking.ranks import ranks_of


@pytest.fixture(params=[1, 10**9], ids=["by counting", "by sorting"], autouse=True)
def way(request, monkeypatch):
    """Both ways of finding ranks, whatever share of the gallery matches."""
    monkeypatch.setattr(ranks, "_MANY", request.param)


def by_sorting(row, positives, ignored, kept):
    seen = [c for c in np.argsort(row, kind="stable") if kept[c] and c not in ignored]
    return [(rank, c) for rank, c in enumerate(seen) if c in positives]


def random_case(rng, rows, columns, levels):
    block = (rng.random((rows, columns)) if levels is None else rng.integers(0, levels, (rows, columns)) / levels) - 0.3
    kept = rng.random(columns) > 0.1
    positives, ignored = [], []
    for _ in range(rows):
        chosen = rng.permutation(np.flatnonzero(kept))[: rng.integers(0, 12) if columns < 9000 else 100]
        cut = rng.integers(0, len(chosen) + 1)
        positives.append(np.sort(chosen[:cut]))
        ignored.append(np.sort(chosen[cut:]))
    lists = []
    for chosen in (positives, ignored):
        lengths = [len(c) for c in chosen]
        lists.append(Lists(np.concatenate(chosen).astype(np.int64), np.concatenate([[0], np.cumsum(lengths)])))
    return block, *lists, kept


@pytest.mark.parametrize("kind", ["float32", "float64", "tensor"])
@pytest.mark.parametrize("levels", [1, 2, 30, None], ids=["collapsed", "2 levels", "30 levels", "continuous"])
@pytest.mark.parametrize(
    ("rows", "columns"), [(40, 25), (3, 5000), (2, 9000)], ids=["sorted", "counted", "many matches"]
)
def test_equal_to_sorting(kind, levels, rows, columns):
    rng = np.random.default_rng(0)
    block, positives, ignored, kept = random_case(rng, rows, columns, levels)
    block = block.astype(np.float64 if kind == "float64" else np.float32)
    before = block.copy()
    given = torch.from_numpy(block) if kind == "tensor" else block
    ranks, found = ranks_of(given, positives, ignored, kept)
    np.testing.assert_array_equal(block, before)
    for row in range(rows):
        here = slice(*positives.offsets[row : row + 2])
        expected = by_sorting(block[row], positives[row].tolist(), ignored[row].tolist(), kept)
        assert list(zip(ranks[here].tolist(), found[here].tolist())) == expected


def test_minus_zero_and_infinity():
    positives = Lists(np.array([1, 3]), np.array([0, 2]))
    nothing, kept = Lists(np.empty(0, np.int64), np.array([0, 0])), np.ones(4, bool)
    block = np.array([[0.0, -0.0, np.inf, np.inf]], np.float32)
    for given in (block, torch.from_numpy(block)):
        ranks, columns = ranks_of(given, positives, nothing, kept)
        assert ranks.tolist() == [1, 3]  # equal to what stands before it, twice
        assert columns.tolist() == [1, 3]


def test_what_is_left_out_counts_nowhere_among_equals():
    # Column 0 is ignored and column 2 junk; both are as far as the matches in columns 3 and 4, as is column 1.
    positives, ignored = Lists(np.array([3, 4]), np.array([0, 2])), Lists(np.array([0]), np.array([0, 1]))
    kept = np.array([True, True, False, True, True])
    for distance in (0.5, np.inf, -np.inf):
        block = np.full((1, 5), distance, np.float32)
        for given in (block, torch.from_numpy(block)):
            ranks, columns = ranks_of(given, positives, ignored, kept)
            assert (ranks.tolist(), columns.tolist()) == ([1, 2], [3, 4])


def test_read_only_labels_are_taken_without_a_warning():
    positives, nothing = Lists(np.array([1]), np.array([0, 1])), Lists(np.empty(0, np.int64), np.array([0, 0]))
    kept = np.ones(2, bool)
    for array in (positives.values, positives.offsets, nothing.values, kept):
        array.flags.writeable = False
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ranks, _ = ranks_of(torch.zeros(1, 2), positives, nothing, kept)
    finally:
        torch.set_warn_always(always)
    assert ranks.tolist() == [1]
