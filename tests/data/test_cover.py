"""Covered pictures: which pixels change, and which joints are hidden."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidentify import InputError, Sightings
from reidentify.data.cover import GREY, cover
from reidentify.data.pixels import decode


@pytest.fixture
def rows(tmp_path: Path) -> Sightings:
    rng = np.random.default_rng(0)
    files = []
    for i in range(6):
        files.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(200, 256, (20, 10, 3)).astype(np.uint8)).save(files[-1])
    joints = np.stack([np.tile(np.arange(14) % 10, (6, 1)), np.tile(np.arange(14) * 1.4, (6, 1)), np.ones((6, 14))], 2)
    return Sightings([1] * 6, files=files, keypoints=joints)


@pytest.mark.parametrize("what", ["lower half", "upper half", "quarter"])
def test_what_is_covered_is_grey_and_its_joints_are_unseen(rows: Sightings, tmp_path: Path, what: str) -> None:
    (tmp_path / "out").mkdir()
    found = cover(rows, what, tmp_path / "out")
    masks = []
    for frame in range(6):
        before, after = decode(rows.files[frame]), decode(found.files[frame])
        grey = (after == GREY).all(2)
        assert (before != GREY).any(2).all()
        np.testing.assert_array_equal(before[~grey], after[~grey])
        for x, y, visible in found.keypoints[frame]:
            assert visible == 1 - grey[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))]
        masks.append(grey)
    if what == "quarter":
        places = [tuple(np.argwhere(mask).min(0)) for mask in masks]
        assert len(set(places)) > 1
        for mask, (top, left) in zip(masks, places):
            assert mask[top : top + 10, left : left + 5].all()
            assert mask.sum() == 50
    else:
        expected = np.zeros((20, 10), bool)
        expected[slice(10, 20) if what == "lower half" else slice(0, 10)] = True
        assert all((mask == expected).all() for mask in masks)
    assert rows.keypoints[..., 2].all()
    assert found.pids.tolist() == rows.pids.tolist()


def test_the_seed_decides(rows: Sightings, tmp_path: Path) -> None:
    read = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        read[name] = np.stack([decode(file) for file in cover(rows, "quarter", tmp_path / name, seed).files])
    assert np.array_equal(read["a"], read["b"])
    assert not np.array_equal(read["a"], read["c"])


def test_only_what_is_known_can_be_covered(rows: Sightings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cover: expected lower half, upper half, quarter, got 'head'"):
        cover(rows, "head", tmp_path)
    with pytest.raises(InputError, match="no files"):
        cover(Sightings([1]), "quarter", tmp_path)
