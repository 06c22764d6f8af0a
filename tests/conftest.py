"""Small synthetic people for the tests: no data set is needed."""

from pathlib import Path

import numpy as np
import pytest
from drawn import draw_person

from reidentify import Benchmark, Sightings


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Benchmark:
    """16 people to train on and 6 to find again, 2 cameras, 2 pictures in each."""
    folder: Path = tmp_path_factory.mktemp("people")
    rows = [(p, c, i) for p in range(1, 23) for c in (1, 2) for i in (0, 1)]
    files = []
    for p, c, i in rows:
        path = folder / f"{p:04d}_c{c}s1_{i:06d}_00.png"
        draw_person(p, 10 * c + i).save(path)
        files.append(str(path))
    split = ["train" if p <= 16 else "query" if i == 0 and c == 1 else "gallery" for p, c, i in rows]
    pids, camids, _ = np.array(rows).T
    return Benchmark("people", Sightings(pids, camids=camids, files=files, split=split))
