"""Joints in pixels of the resized image, by hand."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidentify import ImageError, InputError, Sightings
from reidentify.data.keypoints import file_stamps, image_sizes, keep_joints, kept_joints, resized
from reidentify.joints import COCO17, MARKET14


def picture(path: Path, width: int, height: int, **options: object) -> str:
    Image.new("RGB", (width, height), (90, 120, 60)).save(path, **options)
    return str(path)


def joints(count: int, **points: tuple[float, float, float]) -> np.ndarray:
    """One frame: the named joints, and everything else unseen with coordinates that mean nothing."""
    names = (MARKET14 if count == 14 else COCO17).joints
    frame = np.full((count, 3), np.nan, np.float32)
    frame[:, 2] = 0
    for name, point in points.items():
        frame[names.index(name.replace("_", " "))] = point
    return frame


def test_pixel_centres_are_scaled_by_each_files_own_size(tmp_path: Path) -> None:
    files = [picture(tmp_path / "a.jpg", 64, 128), picture(tmp_path / "b.png", 10, 40)]
    seen = np.stack([joints(14, neck=(0, 0, 1), head_top=(63, 127, 0.5)), joints(14, neck=(4.5, 19.5, 0.25))])
    found = resized(Sightings([1, 2], files=files, keypoints=seen), (256, 128), progress=False)
    assert found.shape == (2, 14, 3)
    assert found.dtype == np.float32
    # Doubled: the centre of the first pixel lies between the first two, that of the last between the last two.
    np.testing.assert_allclose(found[0, 1], [0.5, 0.5, 1])
    np.testing.assert_allclose(found[0, 0], [126.5, 254.5, 0.5])
    # The middle of an image stays its middle: 4.5 of 10 columns is 63.5 of 128.
    np.testing.assert_allclose(found[1, 1], [63.5, 127.5, 0.25])
    assert np.array_equal(found[0, 2:], np.zeros((12, 3)))


def test_a_joint_outside_the_image_is_unseen(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.jpg", 64, 128)
    inside, outside = [(63.5, 5, 1), (-0.5, 127.5, 1)], [(63.6, 5, 1), (-0.6, 5, 1), (5, 127.6, 1), (5, -3, 1)]
    for points, visible in ((inside, 1), (outside, 0)):
        for point in points:
            rows = Sightings([1], files=[file], keypoints=joints(14, neck=point)[None])
            assert resized(rows, (128, 64), progress=False)[0, 1, 2] == visible


def test_other_sets_are_mapped_by_name(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.jpg", 64, 128)
    rows = Sightings([1], files=[file], keypoints=joints(17, left_knee=(20, 90, 1))[None])
    found = resized(rows, (128, 64), progress=False)[0]
    np.testing.assert_allclose(found[MARKET14.index("left knee")], [20, 90, 1])
    assert found[:, 2].sum() == 1


def test_an_image_is_as_large_as_it_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [picture(tmp_path / "a.jpg", 30, 20), picture(tmp_path / "b.jpg", 30, 20, exif=exif)]
    assert image_sizes(files, progress=False).tolist() == [[20, 30], [30, 20]]


def test_wrong_joints_are_named(tmp_path: Path) -> None:
    files = [picture(tmp_path / "a.jpg", 64, 128), picture(tmp_path / "b.jpg", 64, 128)]
    good = joints(14, neck=(5, 5, 1))
    coco = "visibility outside 0 to 1; of COCO's flags 0, 1 and 2, give 0 for 0, 0 .or 0.5. for 1, and 1 for 2"
    for wrong, said in (((np.inf, 5, 1), "no finite position"), ((5, 5, 2), coco), ((5, 5, -1), coco)):
        rows = Sightings([1, 2], files=files, keypoints=np.stack([good, joints(14, right_hip=wrong)]))
        with pytest.raises(InputError, match=rf"the right hip in .*b\.jpg .*{said}"):
            resized(rows, (128, 64), progress=False)
    with pytest.raises(InputError, match="no keypoints"):
        resized(Sightings([1, 2], files=files), (128, 64))
    gone = Sightings([1], files=[str(tmp_path / "c.jpg")], keypoints=good[None])
    with pytest.raises(ImageError, match=r"c\.jpg: no such file"):
        resized(gone, (128, 64), progress=False)


def test_what_is_unknown_counts_as_unseen(tmp_path: Path) -> None:
    files = [picture(tmp_path / "a.jpg", 64, 128), picture(tmp_path / "b.jpg", 64, 128)]
    partly = joints(14, neck=(5, 5, 1), head_top=(7, 7, np.nan))
    rows = Sightings([1, 2], files=files, keypoints=np.stack([partly, np.full((14, 3), np.nan)]))
    found = resized(rows, (128, 64), progress=False)
    assert found[0, 1].tolist() == [5, 5, 1]
    assert np.array_equal(found[0, 0], np.zeros(3))
    assert np.array_equal(found[1], np.zeros((14, 3)))


def test_kept_joints_of_several_writers(tmp_path: Path) -> None:
    """Each adds its own file to the table; all are there in the end, and a file that changed is not."""
    files = [picture(tmp_path / f"{i}.png", 4, 4) for i in range(24)]
    stamps, table = file_stamps(files), tmp_path / "cache" / "some.parquet"
    found = np.random.default_rng(0).random((24, 14, 3)).astype(np.float32)
    assert np.isnan(kept_joints(table, stamps)).all()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: keep_joints(table, stamps[i : i + 1], found[i : i + 1]), range(24)))
    np.testing.assert_array_equal(kept_joints(table, stamps[::-1]), found[::-1])
    picture(tmp_path / "3.png", 8, 4)
    again = file_stamps(files)
    kept = kept_joints(table, again)
    assert np.flatnonzero(np.isnan(kept[:, 0, 0])).tolist() == [3]
    keep_joints(table, again[3:4], found[:1])
    np.testing.assert_array_equal(kept_joints(table, again[3:4]), found[:1])
    assert np.isnan(kept_joints(table, stamps[3:4])).all()  # one row a file
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        file_stamps([str(tmp_path / "gone.png")])
