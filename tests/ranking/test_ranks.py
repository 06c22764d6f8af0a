"""Ranks by counting: the same by sorting whole rows, for arrays and tensors, with ties and what is ignored."""

import numpy as np
import pytest
import torch

from reidentify.ranking.matches import Lists
from reidentify.ranking.ranks import ranks_of


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
@pytest.mark.parametrize("levels", [2, 30, None], ids=["2 levels", "30 levels", "continuous"])
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
