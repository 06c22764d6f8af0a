"""Small synthetic people for the tests: no data set is needed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from reidentify import Benchmark, Sightings


def draw_person(identity: int, seed: int, size: tuple[int, int] = (32, 64)) -> Image.Image:
    """A figure whose colours are its identity's, on a random ground."""
    colours = np.random.default_rng(identity).integers(30, 226, (2, 3))
    rng = np.random.default_rng([identity, seed])
    image = Image.new("RGB", size, tuple(rng.integers(60, 200, 3).tolist()))
    draw, (w, h) = ImageDraw.Draw(image), size
    dx = int(rng.integers(-3, 4))
    draw.ellipse((w // 2 - 5 + dx, 3, w // 2 + 5 + dx, 14), (210, 170, 140))
    draw.rectangle((w // 2 - 8 + dx, 14, w // 2 + 8 + dx, h // 2 + 3), tuple(colours[0].tolist()))
    draw.rectangle((w // 2 - 6 + dx, h // 2 + 3, w // 2 + 6 + dx, h - 3), tuple(colours[1].tolist()))
    return image


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
