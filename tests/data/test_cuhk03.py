"""CUHK03 from its .mat file and from folders of images, in every protocol."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from synthetic import pictures

from reidentify.data.benchmarks import benchmark, cuhk03_mat
from reidentify.errors import InputError
from reidentify.ranking.protocol import CUHK03_CLASSIC, MARKET1501

PEOPLE = (3, 2, 1, 1, 1)
"""People per camera pair; each has images 1 and 2 of the first view and 6 of the second, unless left out below."""
EMPTY = (1, 3, 6)
"""Pair, person and number of a cell without an image."""
NUMBERS = (1, 2, 6)


def colour(pair: int, person: int, number: int) -> np.ndarray:
    """Height 6, width 4, with a mark that tells whether axes were exchanged."""
    pixels = np.full((6, 4, 3), (pair * 20, person * 20, number * 20), np.uint8)
    pixels[0, 3] = (255, 0, 0)
    return pixels


def write_mat(path: Path) -> Path:
    """A file in the layout of cuhk-03.mat (MATLAB 7.3: HDF5, columns first, cells as references)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        empty = file.create_dataset("#empty", data=np.zeros(2, np.uint64)).ref
        for boxes in ("labeled", "detected"):
            groups = np.empty((1, 5), dtype=h5py.ref_dtype)
            for pair, people in enumerate(PEOPLE, start=1):
                cells = np.full((10, people), empty, dtype=h5py.ref_dtype)
                for person in range(1, people + 1):
                    for number in NUMBERS:
                        if (pair, person, number) != EMPTY:
                            name = f"#{boxes}-{pair}-{person}-{number}"
                            data = np.ascontiguousarray(colour(pair, person, number).T)
                            cells[number - 1, person - 1] = file.create_dataset(name, data=data).ref
                groups[0, pair - 1] = file.create_dataset(f"#{boxes}-{pair}", data=cells, dtype=h5py.ref_dtype).ref
            file.create_dataset(boxes, data=groups, dtype=h5py.ref_dtype)
        tests = np.empty((1, 20), dtype=h5py.ref_dtype)
        for split in range(20):
            people = [[1, 2], [2, 1]] if split == 3 else [[1, 1], [3, 1]]
            tests[0, split] = file.create_dataset(f"#test-{split}", data=np.array(people, float).T).ref
        file.create_dataset("testsets", data=tests, dtype=h5py.ref_dtype)
    return path


def rows(sightings) -> list[tuple[str, int, int]]:
    return [(Path(f).name, p, c) for f, p, c in zip(sightings.files, sightings.pids, sightings.camids)]


def test_images_are_extracted_once_and_upright(tmp_path):
    mat = write_mat(tmp_path / "cuhk-03.mat")
    folder = tmp_path / "images_labeled"
    cuhk03_mat.extract(mat, "labeled", folder)
    names = sorted(p.name for p in folder.glob("*.png"))
    assert len(names) == 3 * sum(PEOPLE) - 1
    assert names[:6] == [
        "1_001_1_01.png", "1_001_1_02.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_1_02.png", "1_002_2_06.png"
    ]  # fmt: skip
    assert "1_003_2_06.png" not in names
    assert np.array_equal(np.asarray(Image.open(folder / "2_001_2_06.png")), colour(2, 1, 6))
    (folder / "1_001_1_01.png").unlink()
    cuhk03_mat.extract(mat, "labeled", folder)  # marked as complete, so nothing is done again
    assert not (folder / "1_001_1_01.png").exists()


def test_an_interrupted_extraction_is_taken_up(tmp_path, monkeypatch):
    mat, folder = write_mat(tmp_path / "cuhk-03.mat"), tmp_path / "images_labeled"
    real, calls = cuhk03_mat.os.replace, []

    def fail_after_four(source, target):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(target)
        real(source, target)

    monkeypatch.setattr(cuhk03_mat.os, "replace", fail_after_four)
    with pytest.raises(KeyboardInterrupt):
        cuhk03_mat.extract(mat, "labeled", folder)
    assert len(list(folder.glob("[!.]*.png"))) == 4
    monkeypatch.undo()
    stamps = {p: p.stat().st_mtime_ns for p in folder.glob("[!.]*.png")}
    cuhk03_mat.extract(mat, "labeled", folder)
    assert len(list(folder.glob("[!.]*.png"))) == 3 * sum(PEOPLE) - 1
    assert all(p.stat().st_mtime_ns == s for p, s in stamps.items())  # what was there was not written again


@pytest.mark.parametrize("place", ["CUHK03", "cuhk03/cuhk03_release"])
def test_classic_from_the_mat_file(tmp_path, place):
    write_mat(tmp_path / place / "cuhk-03.mat")
    b = benchmark("cuhk03-classic-labeled@3", tmp_path)
    assert b.protocol == CUHK03_CLASSIC
    # Tested: pair 1 person 2 and pair 2 person 1. Trained: the rest of the first three pairs. People number through.
    assert rows(b.query) == rows(b.gallery) == [
        ("1_002_1_01.png", 2, 1), ("1_002_1_02.png", 2, 1), ("1_002_2_06.png", 2, 2),
        ("2_001_1_01.png", 4, 1), ("2_001_1_02.png", 4, 1), ("2_001_2_06.png", 4, 2),
    ]  # fmt: skip
    assert b.train.pids.tolist() == [1, 1, 1, 3, 3, 5, 5, 5, 6, 6, 6]
    other = benchmark("cuhk03-classic-detected@0", tmp_path)
    assert {Path(f).parent.name for f in other.sightings.files} == {"images_detected"}
    assert set(other.query.pids) == {1, 6}


def torchreid_folder(home: Path) -> None:
    """Images already extracted, with the split file that torchreid writes."""
    names = [
        f"{pair}_{person:03d}_{1 if n < 6 else 2}_{n:02d}.png"
        for pair, people in enumerate(PEOPLE, start=1)
        for person in range(1, people + 1)
        for n in NUMBERS
    ]
    pictures(home / "images_labeled", names)
    query = [[f"/elsewhere/images_labeled/{n}", 0, 0] for n in names if n.startswith(("1_002", "2_001"))]
    (home / "splits_classic_labeled.json").write_text(json.dumps([{"train": [], "query": query, "gallery": query}]))


def test_classic_from_a_folder_of_images(tmp_path):
    torchreid_folder(tmp_path / "cuhk03")
    b = benchmark("cuhk03-classic-labeled@0", tmp_path)
    assert sorted(set(b.query.pids)) == [2, 4]
    assert sorted(set(b.train.pids)) == [1, 3, 5, 6]
    with pytest.raises(InputError, match=r"splits_classic_labeled\.json: split 7 cannot be read"):
        benchmark("cuhk03-classic-labeled@7", tmp_path)
    (tmp_path / "cuhk03" / "splits_classic_labeled.json").unlink()
    with pytest.raises(InputError, match="the published test sets"):
        benchmark("cuhk03-classic-labeled@0", tmp_path)


def write_config(path: Path) -> None:
    """A file in the layout of cuhk03_new_protocol_config_*.mat; rows are counted from 1."""
    names = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_1_02.png", "1_002_2_06.png"]
    files = np.empty((5, 1), dtype=object)
    files[:, 0] = names
    content = {
        "filelist": files, "labels": np.array([[1, 1, 2, 2, 2]]).T, "camId": np.array([[1, 2, 1, 1, 2]]).T,
        "train_idx": np.array([[1, 2]]).T, "query_idx": np.array([[3, 5]]).T, "gallery_idx": np.array([[4]]),
    }  # fmt: skip
    scipy.io.savemat(path, content)


@pytest.mark.parametrize("source", ["mat", "folder"])
def test_new_protocol(tmp_path, source):
    home = tmp_path / "CUHK03"
    home.mkdir()
    write_config(home / "cuhk03_new_protocol_config_labeled.mat")
    if source == "mat":
        write_mat(home / "cuhk-03.mat")
    else:
        torchreid_folder(home)
    b = benchmark("cuhk03-np-labeled", tmp_path)
    assert b.protocol == MARKET1501
    assert rows(b.train) == [("1_001_1_01.png", 1, 1), ("1_001_2_06.png", 1, 2)]
    assert rows(b.query) == [("1_002_1_01.png", 2, 1), ("1_002_2_06.png", 2, 2)]
    assert rows(b.gallery) == [("1_002_1_02.png", 2, 1)]
    assert benchmark("cuhk03-np-labeled", home).train.files.tolist() == b.train.files.tolist()


def test_new_protocol_names_an_image_that_is_missing(tmp_path):
    torchreid_folder(tmp_path / "CUHK03")
    write_config(tmp_path / "CUHK03" / "cuhk03_new_protocol_config_labeled.mat")
    (tmp_path / "CUHK03" / "images_labeled" / "1_002_1_02.png").unlink()
    with pytest.raises(InputError, match=r"1 images that are not there, the first is 1_002_1_02\.png"):
        benchmark("cuhk03-np-labeled", tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_new_protocol_in_folders(tmp_path, first):
    home = tmp_path / "cuhk03-np" / "detected"
    pictures(home / "bounding_box_train", [f"{first:04d}_c1_1.png", f"{first:04d}_c2_5.png"])
    pictures(home / "query", [f"{first + 5:04d}_c1_2.png"])
    pictures(home / "bounding_box_test", [f"{first + 5:04d}_c2_3.png"])
    b = benchmark("cuhk03", tmp_path)
    assert b.facts.title == "CUHK03 (detected, new protocol)"
    assert (b.train.pids.tolist(), b.train.camids.tolist()) == ([1, 1], [1, 2])
    assert (b.query.pids.tolist(), b.gallery.pids.tolist()) == ([6], [6])


def test_open_reid_folder(tmp_path):
    pictures(
        tmp_path / "cuhk03" / "images",
        [f"{p:08d}_{v:02d}_{i:04d}.jpg" for p in range(3) for v in (0, 1) for i in (0, 1)],
    )
    splits = [{"trainval": [0], "query": [1, 2], "gallery": [1, 2]}, {"trainval": [1, 2], "query": [0], "gallery": [0]}]
    (tmp_path / "cuhk03" / "splits.json").write_text(json.dumps(splits))
    b = benchmark("cuhk03-open-reid@1", tmp_path)
    assert b.train.pids.tolist() == [2] * 4 + [3] * 4
    assert b.query.pids.tolist() == b.gallery.pids.tolist() == [1] * 4
    assert b.query.camids.tolist() == [1, 1, 2, 2]


def test_talk_folders_hold_different_people(tmp_path):
    pictures(tmp_path / "cuhk03-labeled" / "train", ["0000_00.jpg", "0000_05.jpg", "0001_04.jpg", "0001_09.jpg"])
    pictures(tmp_path / "cuhk03-labeled" / "val", ["0000_00.jpg", "0000_06.jpg"])
    b = benchmark("cuhk03-talk", tmp_path)
    assert rows(b.train) == [
        ("0000_00.jpg", 1, 1), ("0000_05.jpg", 1, 2), ("0001_04.jpg", 2, 1), ("0001_09.jpg", 2, 2)
    ]  # fmt: skip
    assert rows(b.query) == rows(b.gallery) == [("0000_00.jpg", 3, 1), ("0000_06.jpg", 3, 2)]


def test_a_mat_file_that_is_none_is_named(tmp_path):
    (tmp_path / "cuhk03").mkdir()
    (tmp_path / "cuhk03" / "cuhk-03.mat").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=r"cuhk-03\.mat: cannot be read"):
        benchmark("cuhk03-classic-labeled", tmp_path)
