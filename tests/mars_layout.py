"""A small MARS of drawn people, in the published layout, with split files in the official format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from drawn import draw_person
from scipy.io import savemat

TRAIN, TEST = range(1, 9), range(11, 17)
"""The identities."""
LENGTHS = (3, 4, 6)
"""Frames of the tracklets, one after another."""


def make(folder: Path, seed: int = 0) -> Path:
    """Write `folder/MARS` and return it.

    Every identity has two tracklets from each of two cameras; the first of each camera is a query if the identity is
    tested. The last tested identity has only those, so that the queries are each other's only matches. Before them, as
    published, come two junk tracklets (00-1) and three distractors (0000).
    """
    home = folder / "MARS"
    (home / "info").mkdir(parents=True)
    test = [(-1, 1), (-1, 4), (0, 1), (0, 2), (0, 2), *_of(TEST, last=1)]
    asking = [i for i, row in enumerate(test) if row[0] > 0 and row not in test[:i]]
    for side, tracklets in (("train", list(_of(TRAIN, last=2))), ("test", test)):
        names, rows, seen = [], [], dict[int, int]()
        for index, (pid, camera) in enumerate(tracklets):
            number = seen[pid] = seen.get(pid, 0) + 1  # counted through the cameras of a person
            text = "00-1" if pid < 0 else f"{pid:04d}"
            frames = [f"{text}C{camera}T{number:04d}F{n:03d}.jpg" for n in range(1, LENGTHS[index % 3] + 1)]
            rows.append([len(names) + 1, len(names) + len(frames), pid, camera])
            names += frames
            for n, name in enumerate(frames):
                path = home / f"bbox_{side}" / text / name
                path.parent.mkdir(parents=True, exist_ok=True)
                # Junk shows nobody in particular, and every distractor is another person.
                who = pid if pid > 0 else 1_000 + index
                draw_person(who, seed=(seed * 1_000 + index) * 100 + n).save(path, quality=92)
        (home / "info" / f"{side}_name.txt").write_text("\n".join(names) + "\n")
        table = {f"track_{side}_info": np.array(rows, dtype=np.float64)}
        savemat(home / "info" / f"tracks_{side}_info.mat", table, do_compression=True)
    savemat(home / "info" / "query_IDX.mat", {"query_IDX": np.array([asking], dtype=np.float64) + 1})
    return home


def _of(people: range, last: int) -> Iterator[tuple[int, int]]:
    """Identity and camera of each tracklet, two per camera, and `last` per camera of the last identity."""
    for pid in people:
        for camera in (1 + pid % 6, 1 + (pid + 1) % 6):
            yield from [(pid, camera)] * (2 if pid != people[-1] else last)
