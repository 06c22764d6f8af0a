"""Where the matches stand in a ranking list: found by counting what is nearer, never by ordering the gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reidentify.ranking.distance import Floats
from reidentify.ranking.matches import Lists

if TYPE_CHECKING:
    import torch

_CACHED_ROWS = 32
"""Rows looked at together: few enough to stay in the processor's cache."""
_SORTED = 2048
_COUNTED = 24
"""More values than the one are counted for every match, unless there are more matches than the other: then sorted."""
_MANY = 16
"""Where more than one in so many columns is a match, rows are sorted."""
_SINGLY = 8
"""So many matches of a row that tie are looked at one by one; more, and the row is sorted."""


def ranks_of(
    block: Floats | torch.Tensor,
    positives: Lists,
    ignored: Lists,
    kept: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """0-based ranks of the matches in every row of a block of distances; ignored columns are not counted.

    Only what lies no farther than a row's farthest match is looked at: a few hundred values in a trained network. A
    tensor is ranked on its device.

    Args:
        block: B x G, without NaN. It is read, never changed.
        positives: B lists of columns, each rising; none of them ignored.
        ignored: B lists of columns that this row leaves out.
        kept: G, False for columns that every row leaves out.

    Returns:
        The ranks, rising within each row, and the columns that hold them, both in the layout of `positives`. Of equal
        distances the earlier column ranks first.
    """
    if not isinstance(block, np.ndarray):
        return _ranks_of_tensor(block, positives, ignored, kept)
    ranks, columns = np.empty_like(positives.values), np.empty_like(positives.values)
    for start in range(0, len(block), _CACHED_ROWS):
        rows = slice(start, min(start + _CACHED_ROWS, len(block)))
        first, last = positives.offsets[rows.start], positives.offsets[rows.stop]
        if first < last:
            out = slice(first, last)
            many = last - first > block[rows].size // _MANY
            find = _ranks_by_sorting if many else _ranks_of_rows
            ranks[out], columns[out] = find(block[rows], positives[rows], ignored[rows], kept)
    return ranks, columns


def _ranks_by_sorting(
    block: Floats, positives: Lists, ignored: Lists, kept: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same, where so much of the gallery matches that ordering it is quicker."""
    ranks, columns = np.empty_like(positives.values), np.empty_like(positives.values)
    for row, distances in enumerate(block):
        counted, right = kept.copy(), np.zeros(len(kept), np.bool_)
        counted[ignored.values[slice(*ignored.offsets[row : row + 2])]] = False
        here = slice(*positives.offsets[row : row + 2])
        right[positives.values[here]] = True
        order = np.argsort(distances, kind="stable")
        order = order[counted[order]]
        ranks[here] = np.flatnonzero(right[order])
        columns[here] = order[ranks[here]]
    return ranks, columns


def _ranks_of_rows(
    block: Floats, positives: Lists, ignored: Lists, kept: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    _, columns, at = _by_distance(positives, block[positives.owners(), positives.values])
    farthest = np.full(len(block), -np.inf, at.dtype)
    filled = np.flatnonzero(positives.lengths)
    farthest[filled] = at[positives.offsets[1:][filled] - 1]
    counted = block <= farthest[:, None]
    counted &= kept
    counted[ignored.owners(), ignored.values] = False

    flat = np.flatnonzero(counted)
    near, ends = block.reshape(-1)[flat], flat.searchsorted(np.arange(len(block) + 1) * block.shape[1])
    ranks = np.empty(len(at), np.int64)
    for row in filled:
        here, seen = slice(*positives.offsets[row : row + 2]), slice(*ends[row : row + 2])
        ranks[here], up_to = _below(near[seen], at[here])
        # Of those at the same distance, the earlier columns go first.
        tied = here.start + np.flatnonzero(up_to - ranks[here] > 1)
        if len(tied) <= _SINGLY:
            for i in tied:
                before = slice(0, columns[i])
                ranks[i] += np.count_nonzero((block[row, before] == at[i]) & counted[row, before])
        else:
            cells = flat[seen] - row * block.shape[1]
            place = np.empty(len(cells), np.int64)
            place[np.argsort(block[row, cells], kind="stable")] = np.arange(len(cells))
            ranks[here] = place[cells.searchsorted(columns[here])]
    return ranks, columns


def _below(values: Floats, wanted: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of `values` lie below each of `wanted` (rising), and how many at most at it. `values` may be sorted."""
    if len(values) <= _SORTED or len(wanted) > _COUNTED:
        values.sort()
        return values.searchsorted(wanted, "left"), values.searchsorted(wanted, "right")
    return (
        np.array([np.count_nonzero(values < w) for w in wanted]),
        np.array([np.count_nonzero(values <= w) for w in wanted]),
    )


def _by_distance(positives: Lists, at: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Rows, columns and distances of the matches, ordered by distance within each row, equals by column."""
    owners = positives.owners()
    order = np.lexsort((at, owners))
    return owners, positives.values[order], at[order]


def _ranks_of_tensor(
    block: torch.Tensor, positives: Lists, ignored: Lists, kept: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import torch

    def there(values: NDArray[np.int64] | NDArray[np.bool_]) -> torch.Tensor:
        return torch.tensor(values, device=block.device)

    distances = block[there(positives.owners()), there(positives.values)]
    owners, columns, _ = _by_distance(positives, distances.cpu().numpy())
    counted = there(kept).expand(block.shape).clone()
    counted[there(ignored.owners()), there(ignored.values)] = False
    # A stable sort keeps the order of the gallery among equals; the rank of a column is what counts before it. All of
    # it stays on the device, however many are equal. (Adding 0 makes of -0 a 0: a sort by bits tells them apart.)
    order = block.masked_fill(~counted, torch.inf).add_(0.0).sort(dim=1, stable=True).indices
    before = counted.gather(1, order).cumsum(1, dtype=torch.int32) - 1
    ranks = torch.empty_like(before).scatter_(1, order, before)
    return ranks[there(owners), there(columns)].long().cpu().numpy(), columns
