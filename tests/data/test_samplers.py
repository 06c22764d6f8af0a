"""Batches of P identities x K instances: what they hold, how they are shared, and that they end."""

import numpy as np
import pytest

from reidentify.data.samplers import PKSampler, ShuffleSampler
from reidentify.errors import InputError

PIDS = np.repeat(np.arange(20), np.arange(20) % 7 + 1)  # 1 to 7 rows each


def test_a_batch_is_p_identities_of_k_rows() -> None:
    sampler = PKSampler(PIDS, identities=4, instances=3)
    batches = list(sampler)
    assert len(batches) == len(sampler) > 0
    for batch in batches:
        pids = PIDS[batch].reshape(4, 3)
        assert (pids == pids[:, :1]).all()
        assert len(np.unique(pids[:, 0])) == 4


def test_rows_repeat_only_when_there_are_too_few() -> None:
    for batch in PKSampler(PIDS, identities=4, instances=3):
        for rows in np.reshape(batch, (4, 3)):
            assert len(set(rows.tolist())) == min(3, (PIDS[rows[0]] == PIDS).sum())


def test_an_epoch_shows_about_every_row() -> None:
    """Groups per identity are round(n / K), at least 1: 1 1 1 1 2 2 2 and so on, 29 groups, hence 7 batches of 4."""
    sampler = PKSampler(PIDS, identities=4, instances=3)
    assert len(sampler) == sum(max(1, round(n / 3)) for n in np.bincount(PIDS)) // 4
    seen = {row for epoch in range(4) for row in _epoch(sampler, epoch)}
    assert len(seen) > 0.9 * len(PIDS)


def test_an_epoch_shows_every_identity_once() -> None:
    people = len(np.unique(PIDS))
    sampler = PKSampler(PIDS, identities=4, instances=3, epoch="identities")
    assert len(sampler) == people // 4
    shown = [pid for batch in sampler for pid in np.unique(PIDS[batch])]
    assert len(shown) == len(set(shown)) == people // 4 * 4


def _epoch(sampler: PKSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return [row for batch in sampler for row in batch]


def test_epochs_differ_and_repeat_under_their_number() -> None:
    sampler = PKSampler(PIDS, 4, 3, seed=5)
    assert _epoch(sampler, 0) != _epoch(sampler, 1)
    assert _epoch(sampler, 1) == _epoch(PKSampler(PIDS, 4, 3, seed=5), 1)
    assert _epoch(sampler, 1) != _epoch(PKSampler(PIDS, 4, 3, seed=6), 1)


def test_processes_share_the_global_batch() -> None:
    """Two processes of 2 identities see, together and in order, what one process of 4 sees."""
    whole = list(PKSampler(PIDS, 4, 3))
    parts = [list(PKSampler(PIDS, 2, 3, rank=rank, world_size=2)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == len(whole)
    assert [a + b for a, b in zip(*parts)] == whole


def test_it_ends_with_fewer_identities_than_asked_for() -> None:
    with pytest.warns(UserWarning, match="asks for 16 identities and the training split has 2"):
        sampler = PKSampler([1, 1, 2, 2, 2], identities=16, instances=4)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 1
    assert len(batches[0]) == 8
    with pytest.raises(InputError, match="too few for 3 processes"):
        PKSampler([1, 2], 4, 4, world_size=3)


def test_camera_aware_groups_span_cameras() -> None:
    pids = np.zeros(12, int)
    camids = np.array([1] * 9 + [2, 3, 4])
    sampler = PKSampler(np.concatenate([pids, pids + 1]), 1, 4, camids=np.tile(camids, 2))
    first = next(iter(sampler))
    assert sorted(np.tile(camids, 2)[first]) == [1, 2, 3, 4]


def test_source_balance() -> None:
    """20 identities of a large set and 4 of a small one: half of each batch comes from either."""
    pids = np.repeat(np.arange(24), 4)
    sources = np.where(pids < 20, "large", "small")
    sampler = PKSampler(pids, 4, 2, sources=sources)
    for batch in sampler:
        assert (sources[batch] == "small").sum() == 4
    assert len(sampler) == 20  # the large set's 40 groups, two per batch
    with pytest.raises(InputError, match="source small has 4 identities, fewer than the 6"):
        PKSampler(pids, 12, 2, sources=sources)


def test_shuffle_shows_every_row_once() -> None:
    sampler = ShuffleSampler(10, 2)
    assert sorted(row for batch in sampler for row in batch) == list(range(10))
    parts = [list(ShuffleSampler(11, 2, rank=r, world_size=2)) for r in range(2)]
    assert [len(p) for p in parts] == [2, 2]
    assert len({row for part in parts for batch in part for row in batch}) == 8
    with pytest.raises(InputError, match="do not fill one batch"):
        ShuffleSampler(3, 4)
