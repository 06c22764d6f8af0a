"""The readers of video sets on their published layouts; expectations written out by hand."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import h5py
import mars_layout
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from synthetic import picture, pictures

import reidentify
from reidentify import Embeddings
from reidentify.data.benchmark import Benchmark, Counts
from reidentify.data.benchmarks import benchmark, facts, mars, tracklets
from reidentify.data.inspect import check, stats
from reidentify.data.root import data_root
from reidentify.errors import InputError, ReidentifyWarning
from reidentify.ranking.protocol import LS_VID, MARKET1501, MARS_OFFICIAL, MARS_TORCHREID, SINGLE_SHOT


def table(b: Benchmark, split: str) -> list[tuple[list[str], int, int]]:
    """Names of the frames, pid and camid of the rows of a split."""
    rows = b.sightings[b.sightings.split == split]
    names = [[Path(f).name for f in rows.files[a:z]] for a, z in zip(rows.offsets, rows.offsets[1:])]
    return list(zip(names, rows.pids.tolist(), rows.camids.tolist()))


# MARS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mars_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mars_layout.make(tmp_path_factory.mktemp("mars"))


@pytest.fixture
def info(tmp_path: Path) -> Path:
    """The info of a set that a test may spoil."""
    return mars_layout.make(tmp_path) / "info"


def test_mars(mars_home):
    b = benchmark("mars", mars_home.parent)
    assert (b.name, b.protocol, b.schema) == ("mars", MARS_OFFICIAL, ())
    # Eight people with four tracklets each; five people with four and one with two, of which two each ask; two of junk
    # and three distractors.
    assert [len(b.sightings[b.sightings.split == s]) for s in ("train", "query", "gallery")] == [32, 12, 10 + 5]
    assert (len(b.query), len(b.gallery)) == (12, 27)  # with the queries
    assert b.train.identities.tolist() == list(range(1, 9))
    assert sorted(b.gallery.pids.tolist())[:5] == [-1, -1, 0, 0, 0]
    first = ["0001C2T0001F001.jpg", "0001C2T0001F002.jpg", "0001C2T0001F003.jpg"]
    second = ["0001C2T0002F001.jpg", "0001C2T0002F002.jpg", "0001C2T0002F003.jpg", "0001C2T0002F004.jpg"]
    assert table(b, "train")[:2] == [(first, 1, 2), (second, 1, 2)]
    assert table(b, "gallery")[1] == ([f"00-1C4T0002F{n:03d}.jpg" for n in (1, 2, 3, 4)], -1, 4)
    assert b.train.frames[:7].tolist() == [1, 2, 3, 1, 2, 3, 4]
    assert b.sightings.times is None
    assert len(set(b.sightings.files)) == int(b.sightings.offsets[-1])  # every tracklet stands there once
    assert all(Path(f).is_file() for f in b.sightings.files)


def mean_colours(rows: reidentify.Sightings) -> Embeddings:
    """Tracklets by the mean colour of three bands of their frames."""
    from PIL import Image

    bands = [np.asarray(Image.open(f)).reshape(4, 16, 32, 3)[:3].mean((1, 2)).ravel() for f in rows.files]
    sums = np.add.reduceat(np.array(bands), rows.offsets[:-1])
    return Embeddings((sums / rows.lengths[:, None] / 255).astype(np.float32), rows)


def by_the_matlab_code(query: Embeddings, gallery: Embeddings, official: bool) -> tuple[float, float, int]:
    """mAP, rank 1 and the number of queries averaged over, with loops; trapezoids if official."""
    scores, hits = [], []
    for vector, pid, camera in zip(query.vectors, query.sightings.pids, query.sightings.camids):
        distances = [1 - float(vector @ g / np.linalg.norm(vector) / np.linalg.norm(g)) for g in gallery.vectors]
        ranked = []
        for j in np.argsort(distances, kind="stable"):
            other = gallery.sightings.pids[j]
            if other == -1 or (other == pid and gallery.sightings.camids[j] == camera):
                continue
            ranked.append(other == pid)
        places = [r for r, right in enumerate(ranked) if right]
        if not places:
            if official:
                raise AssertionError("every query has a match under the official protocol")
            continue
        score = 0.0
        for i, r in enumerate(places):
            precision = (i + 1) / (r + 1)
            before = 1.0 if r == 0 else i / r
            score += (before + precision) / 2 / len(places) if official else precision / len(places)
        scores.append(score)
        hits.append(places[0] == 0)
    return float(np.mean(scores)), float(np.mean(hits)), len(scores)


@pytest.mark.parametrize(("protocol", "gallery", "averaged"), [(MARS_OFFICIAL, 27, 12), (MARS_TORCHREID, 15, 10)])
def test_both_protocols_of_mars_score_as_their_own_code(mars_home, protocol, gallery, averaged):
    b = benchmark("mars", mars_home.parent).replace(protocol=protocol)
    query, rows = mean_colours(b.query), mean_colours(b.gallery)
    assert len(rows) == gallery
    result = reidentify.evaluate(query, rows, b.protocol)
    # The two queries of the last person are each other's only matches, which torchreid's protocol takes away.
    expected = by_the_matlab_code(query, rows, protocol is MARS_OFFICIAL)
    assert expected[2] == averaged == result.valid_queries
    assert getattr(result, protocol.published) == pytest.approx(expected[0], abs=1e-6)
    # The official code averages rank 1 over all queries, which here all have a match.
    assert result.rank(1) == pytest.approx(expected[1], abs=1e-6)
    assert 0.3 < expected[0] < 1  # neither chance nor perfect, so that a wrong rule would show


def test_attributes_of_mars_are_read_where_they_lie(tmp_path):
    home = mars_layout.make(tmp_path)
    heads = "person-id,camera,tracklet,Tops.c,Bottoms.c,Age,Tops.l,Bottoms.l,shoulder bag,backpack,hat,handbag,hair"
    lines = [f"{heads},gender,Bottoms.t", "1,2,1,8,0,1,1,1,0,0,0,0,1,1,0", "1,2,2,5,0,1,1,1,0,0,0,0,1,1,0"]
    (home.parent / "mars-annotations").mkdir()
    for place, count in ((home.parent / "mars-annotations", 3), (home / "info", 2)):
        (place / "mars_attributes.csv").write_text("\n".join(lines[:count]) + "\n")
        with pytest.warns(ReidentifyWarning, match="no labels for 5[23] of 54"):
            b = benchmark("mars", tmp_path)
        # Rows 0 and 1 of the training part are the tracklets 1 and 2 of person 1 from camera 2.
        assert b.train.attributes["upper_colour"].tolist() == [8, 5 if count == 3 else -1, *[-1] * 30]
        assert "upper_colour" in {attribute.name for attribute in b.schema}


@pytest.mark.real
def test_the_official_tables_of_mars_read_as_published(tmp_path, monkeypatch):
    """The tables are at hand and the images are not, so their names are made up: the tracklets of a person have the
    numbers of the table of attributes, in order."""
    source = data_root() / "mars-annotations"
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    info = tmp_path / "MARS" / "info"
    for folder in ("info", "bbox_train", "bbox_test"):
        (tmp_path / "MARS" / folder).mkdir(parents=True)
    for path in source.iterdir():
        shutil.copy(path, info)
    labels = np.loadtxt(source / "mars_attributes.csv", delimiter=",", skiprows=1, dtype=int)
    numbers = {pid: iter(sorted(labels[labels[:, 0] == pid, 2])) for pid in np.unique(labels[:, 0])}
    numbers |= {pid: itertools.count(1) for pid in (-1, 0)}
    for side in ("train", "test"):
        lines = []
        for first, last, pid, camera in loadmat(info / f"tracks_{side}_info.mat")[f"track_{side}_info"].astype(int):
            start = f"{'00-1' if pid < 0 else f'{pid:04d}'}C{camera}T{next(numbers[pid]):04d}F"
            lines += [f"{start}{n:03d}.jpg" for n in range(1, last - first + 2)]
        (info / f"{side}_name.txt").write_text("\n".join(lines))
    monkeypatch.setattr(mars, "_require", lambda *_: None)
    b = benchmark("mars", tmp_path)
    for split, count in mars.FACTS.counts.items():
        rows = b.sightings[b.sightings.split == split]
        found = Counts(int(rows.offsets[-1]), len(rows.identities), len(np.unique(rows.camids)), len(rows))
        assert found == count
    # Every tracklet of an identity finds its labels, which are of its camera as well.
    labelled = np.stack([column >= 0 for column in b.sightings.attributes.values()])
    assert (labelled == (b.sightings.pids > 0)).all()


def test_a_missing_split_file_of_mars_is_named(info):
    (info / "query_IDX.mat").unlink()
    with pytest.raises(InputError, match=r"MARS: expected query_IDX\.mat in .*info\. Get bbox_train"):
        benchmark("mars", info.parent)


def test_missing_frames_of_mars_name_the_tracklet(info):
    for frame in (2, 3):
        (info.parent / "bbox_train" / "0001" / f"0001C2T0002F00{frame}.jpg").unlink()
    message = r"tracks_train_info\.mat: row 2 is a tracklet of 4 frames, of which 2 are not in .*bbox_train"
    with pytest.raises(InputError, match=message + r" \(0001C2T0002F002\.jpg, for instance\)"):
        benchmark("mars", info.parent)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (1, 1, 9, r"row 2 is of person 1 and camera 2, but its frame 0001C3T0003F001\.jpg is not"),  # one frame more
        (0, 2, 5, r"row 1 is of person 5 and camera 2, but its frame 0001C2T0001F001\.jpg is not"),
        (31, 1, 999, r"row 32 is of the frames \d+ to 999, but train_name\.txt has \d+ lines"),
        (3, 0, 0, "row 4 is of the frames 0 to"),
        (3, 0, 15.5, "other values than whole numbers"),
    ],
)
def test_a_row_of_mars_that_is_not_one_tracklet_is_named(info, row, column, value, message):
    path = info / "tracks_train_info.mat"
    tracks = loadmat(path)["track_train_info"]
    tracks[row, column] = value
    savemat(path, {"track_train_info": tracks})
    with pytest.raises(InputError, match=message):
        benchmark("mars", info.parent)


@pytest.mark.parametrize(
    ("queries", "message"), [([3, 28], "names row 28 of 27"), ([0], "names row 0"), ([7, 7], "names row 7 twice")]
)
def test_queries_of_mars_are_rows_of_the_test_table(info, queries, message):
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([queries])})
    with pytest.raises(InputError, match=r"query_IDX\.mat: " + message):
        benchmark("mars", info.parent)


def test_names_of_mars_that_are_not_published(info):
    path = info / "test_name.txt"
    path.write_text(path.read_text().replace("00-1C4T0002F002.jpg", "x.jpg"))
    with pytest.raises(InputError, match=r"test_name\.txt, line 5: expected a name like 0001C1T0001F001\.jpg, got x"):
        benchmark("mars", info.parent)


def test_tracklets_are_counted(mars_home):
    b = benchmark("mars", mars_home.parent)
    found = {(c.split, c.quantity): (c.found, c.published) for c in check(b, processes=1).comparisons}
    assert found["train", "tracklets"] == (32, 8_298)
    assert found["gallery", "tracklets"] == (15, 10_200)
    assert [(s.rows, s.junk > 0) for s in stats(b).splits] == [(32, False), (12, False), (15, True)]


# DukeMTMC-VideoReID --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["_", ""])
def test_dukemtmcvidreid(tmp_path, line):
    home = tmp_path / "dukemtmc-vidreid" / "DukeMTMC-VideoReID"

    def names(*parts: tuple[str, int, int, int]) -> list[str]:
        return [line.join((pid, f"C{camera}", f"F{f:04d}", f"X{x}")) + ".jpg" for pid, camera, f, x in parts]

    # Numbered from 2, as some published tracklets are, with a gap, and beyond 9999.
    pictures(
        home / "train" / "0001" / "0003", names(("0001", 6, 10000, 50818), ("0001", 6, 2, 823), ("0001", 6, 9, 858))
    )
    pictures(home / "train" / "0001" / "10-2", names(("0001", 2, 1, 100)))
    for split in ("query", "gallery"):
        pictures(home / split / "0002" / "0001", names(("0002", 1, 1, 1)))
    pictures(home / "gallery" / "0005" / "0001", names(("0005", 8, 1, 11)))
    b = benchmark("dukemtmcvidreid", tmp_path)
    assert b.protocol == MARKET1501
    one = names(("0001", 6, 2, 823), ("0001", 6, 9, 858), ("0001", 6, 10000, 50818))
    assert table(b, "train") == [(one, 1, 6), (names(("0001", 2, 1, 100)), 1, 2)]
    assert table(b, "query") == [(names(("0002", 1, 1, 1)), 2, 1)]
    assert [row[1:] for row in table(b, "gallery")] == [(2, 1), (5, 8)]
    assert b.train.frames.tolist() == [823, 858, 50818, 100]
    # Camera 6 starts at 22402 of the common clock and camera 2 at 3607; 60 frames a second.
    np.testing.assert_allclose(b.train.times, [(x + 22401) / 60 for x in (823, 858, 50818)] + [(100 + 3606) / 60])
    assert b.schema == ()
    (home / "gallery" / "0002" / "0009").mkdir()
    with pytest.raises(InputError, match="0009: holds no images"):
        benchmark("dukemtmcvidreid", tmp_path)


def test_duke_tracklets_that_are_not_one(tmp_path):
    home = tmp_path / "DukeMTMC-VideoReID"
    for split in ("train", "query", "gallery"):
        pictures(home / split / "0001" / "0003", ["0001_C6_F0001_X1.jpg", "0001_C6_F0002_X6.jpg"])
    picture(home / "query" / "0001" / "0003" / "0001_C5_F0003_X11.jpg")
    message = (
        r"query/0001/0003: a tracklet shows one person before one camera, but 0001_C6_F0001_X1\.jpg is of camera 6"
    )
    with pytest.raises(InputError, match=message + r" and 0001_C5_F0003_X11\.jpg of camera 5"):
        benchmark("dukemtmcvidreid", tmp_path)
    (home / "query" / "0001" / "0003" / "0001_C5_F0003_X11.jpg").unlink()
    (home / "query" / "0001").rename(home / "query" / "0004")
    with pytest.raises(InputError, match="is of person 1 and lies in the folder of person 0004"):
        benchmark("dukemtmcvidreid", tmp_path)


def test_attributes_of_duke_follow_the_name_of_the_folder(tmp_path):
    home = tmp_path / "DukeMTMC-VideoReID"
    for split in ("train", "query", "gallery"):
        pictures(home / split / "0001" / "0003", ["0001_C6_F0001_X1.jpg"])
    pictures(home / "train" / "0001" / "10-2", ["0001_C6_F0001_X9.jpg"])
    heads = ["person_id", "camera_id", "tracklets_id", *(f"a{i}" for i in range(19))]
    (home / "duke_attributes.csv").write_text(",".join(heads) + "\n1,6,3," + ",".join(["1"] * 19) + "\n")
    with pytest.warns(ReidentifyWarning, match="no labels for 1 of 4"):
        b = benchmark("dukemtmcvidreid", tmp_path)
    assert b.train.attributes["gender"].tolist() == [1, -1]
    assert b.gallery.attributes["action"].tolist() == [1]


# Sets of two views ---------------------------------------------------------------------------------------------------


def ilids_vid(tmp_path: Path) -> Path:
    home = tmp_path / "ilids-vid"
    for camera in (1, 2):
        for person in (2, 5, 7, 319):
            folder = home / "i-LIDS-VID" / "sequences" / f"cam{camera}" / f"person{person:03d}"
            pictures(folder, [f"cam{camera}_person{person:03d}_{f:05d}.png" for f in (317, 318, 1000)])
    rows = [[1, 2, 3, 4]] * 3 + [[4, 2, 1, 3]] + [[1, 2, 3, 4]] * 6
    (home / "train-test people splits").mkdir(parents=True)
    savemat(home / "train-test people splits" / "train_test_splits_ilidsvid.mat", {"ls_set": np.array(rows)})
    return home


def test_ilids_vid(tmp_path):
    ilids_vid(tmp_path)
    b = benchmark("ilids-vid@3", tmp_path)
    assert (b.name, b.protocol) == ("ilids-vid@3", SINGLE_SHOT)
    # Split 3 tests the fourth and second folder, persons 319 and 5, and trains on the first and third.
    assert [row[1:] for row in table(b, "train")] == [(2, 1), (7, 1), (2, 2), (7, 2)]
    frames = [f"cam1_person005_{f:05d}.png" for f in (317, 318, 1000)]
    assert table(b, "query")[0] == (frames, 5, 1)
    assert [row[1:] for row in table(b, "query")] == [(5, 1), (319, 1)]
    assert [row[1:] for row in table(b, "gallery")] == [(5, 2), (319, 2)]
    assert b.query.frames.tolist() == [317, 318, 1000] * 2
    assert benchmark("ilids-vid", tmp_path).query.pids.tolist() == [2, 5]


def test_ilids_vid_with_a_frame_of_another_camera_or_person(tmp_path):
    folder = ilids_vid(tmp_path) / "i-LIDS-VID" / "sequences" / "cam1" / "person002"
    pictures(folder, ["cam2_person002_00009.png"])
    with pytest.raises(InputError, match=r"cam1/person002: .* of camera [12] and .* of camera [12]"):
        benchmark("ilids-vid", tmp_path)
    for file in folder.iterdir():
        file.unlink()
    pictures(folder, ["cam1_person007_00009.png"])
    with pytest.raises(InputError, match=r"00009\.png: is of person 7, in the folder of person 2"):
        benchmark("ilids-vid", tmp_path)


def test_ilids_vid_that_is_not_whole(tmp_path):
    home = ilids_vid(tmp_path)
    with pytest.raises(InputError, match="@10 is none of them"):
        benchmark("ilids-vid@10", tmp_path)
    for file in (folder := home / "i-LIDS-VID" / "sequences" / "cam2" / "person005").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="cam2/person005: holds no images"):
        benchmark("ilids-vid", tmp_path)
    folder.rmdir()
    with pytest.raises(InputError, match="cam2/person005: no such folder"):
        benchmark("ilids-vid", tmp_path)
    pictures(home / "i-LIDS-VID" / "sequences" / "cam1" / "person999", ["cam1_person999_00001.png"])
    with pytest.raises(InputError, match=r"expected 10 splits of the 5 people in .*cam1, got shape \(10, 4\)"):
        benchmark("ilids-vid", tmp_path)


def prid(tmp_path: Path) -> Path:
    home = tmp_path / "prid2011" / "prid_2011"
    # In view B, person 3 has a frame too few, and person 201 is another than in view A.
    for view, short in (("cam_a", 27), ("cam_b", 26)):
        for person, count in ((1, 27), (2, 28), (3, short), (4, 30), (6, 27), (201, 40)):
            pictures(home / "multi_shot" / view / f"person_{person:04d}", [f"{f:04d}.png" for f in range(1, count + 1)])
    return home


def test_prid2011_tracklets_with_seeded_splits(tmp_path):
    prid(tmp_path)
    halves = []
    for split in range(10):
        b = benchmark(f"prid2011-multi-shot@{split}", tmp_path)
        assert (b.protocol, b.facts.title) == (SINGLE_SHOT, "PRID2011, multi-shot")
        assert [len(x) for x in (b.train, b.query, b.gallery)] == [4, 2, 2]
        assert {*b.train.pids, *b.query.pids} == {1, 2, 4, 6}
        assert b.query.pids.tolist() == b.gallery.pids.tolist()
        assert (set(b.query.camids), set(b.gallery.camids)) == ({1}, {2})
        halves.append(tuple(b.query.pids))
    assert len(set(halves)) > 2
    assert b.query.frames[: b.query.lengths[0]].tolist() == list(range(1, b.query.lengths[0] + 1))
    assert len(facts("prid2011-multi-shot").counts) == 3


@pytest.mark.parametrize("place", [".", ".."])
def test_prid2011_tracklets_with_the_published_splits(tmp_path, place):
    home = prid(tmp_path)
    splits = [{"train": ["person_0001"], "test": ["person_0002"]}, {"train": ["person_0006"], "test": ["person_0003"]}]
    (home / place / "splits_prid2011.json").write_text(json.dumps(splits))
    b = benchmark("prid2011-multi-shot@1", tmp_path)
    assert [x.pids.tolist() for x in (b.train, b.query, b.gallery)] == [[6, 6], [3], [3]]
    assert b.query.lengths.tolist() == [27]
    assert b.gallery.lengths.tolist() == [26]  # what the file says goes before the rule
    with pytest.raises(InputError, match=r"splits_prid2011\.json: split 2 cannot be read"):
        benchmark("prid2011-multi-shot@2", tmp_path)


# LS-VID --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lists", "queries", "shift"), [("", "test/data", 0), ("info", "info/data", 1)], ids=["first release", "in info"]
)
def test_lsvid(tmp_path, lists, queries, shift):
    home = tmp_path / "LS-VID"
    pictures(home / "tracklet_train" / "0001", [f"0001_1_03_{f:07d}.jpg" for f in (12, 13)])
    pictures(home / "tracklet_train" / "0001", [f"0001_10_15_{f:07d}.jpg" for f in (5,)])
    pictures(home / "tracklet_test" / "0900", [f"0900_{t}_{c:02d}_0000001.jpg" for t, c in ((1, 1), (2, 2), (3, 2))])
    (home / lists / "list_sequence").mkdir(parents=True)
    train = [f"tracklet_train/0001/0001_1 {1 - shift}", f"tracklet_train/0001/0001_10_ {1 - shift}"]
    test = [f"tracklet_test/0900/0900_{t} 900" for t in (1, 2, 3)]
    for name, lines in (("train", train), ("test", test)):
        (home / lists / "list_sequence" / f"list_seq_{name}.txt").write_text("\n".join(lines) + "\n")
    (home / queries).mkdir(parents=True)
    with h5py.File(home / queries / "info_test.mat", "w") as file:  # MATLAB 7.3 keeps a column as a row
        file["query"] = np.array([[1.0, 3.0]])
    b = benchmark("lsvid", tmp_path)
    assert b.protocol == LS_VID
    assert table(b, "train") == [(["0001_1_03_0000012.jpg", "0001_1_03_0000013.jpg"], 1, 3),
                                 (["0001_10_15_0000005.jpg"], 1, 15)]  # fmt: skip
    pid = 900 + shift
    assert [row[1:] for row in table(b, "query")] == [(pid, 1), (pid, 2)]
    assert [row[1:] for row in table(b, "gallery")] == [(pid, 2)]
    assert len(b.gallery) == 3
    path = home / lists / "list_sequence" / "list_seq_test.txt"
    path.write_text(path.read_text() + "tracklet_test/0901/0901_1 901\n")
    with pytest.raises(InputError, match=r"list_seq_test\.txt, line 4: no frame of the tracklet .*0901_1 is in"):
        benchmark("lsvid", tmp_path)
    path.write_text("tracklet_test/0900/0900_1\n")
    with pytest.raises(InputError, match=r"line 1: expected a path and a person like .*, got 'tracklet_test"):
        benchmark("lsvid", tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"LS-VID: expected list_sequence/list_seq_test\.txt in .*LS-VID"):
        benchmark("lsvid", tmp_path)


# MATLAB files --------------------------------------------------------------------------------------------------------


def test_matrices_of_both_formats(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    savemat(tmp_path / "old.mat", {"a": values})
    with h5py.File(tmp_path / "new.mat", "w") as file:
        file["a"] = values.T
    for name in ("old.mat", "new.mat"):
        read = tracklets.matrix(tmp_path / name, "a")
        assert read.dtype == np.int64
        np.testing.assert_array_equal(read, values)
        with pytest.raises(InputError, match=re.escape(name) + ": the matrix b cannot be read"):
            tracklets.matrix(tmp_path / name, "b")
    (tmp_path / "none.mat").write_bytes(b"not MATLAB" * 20)
    with pytest.raises(InputError, match=r"none\.mat: the matrix a cannot be read"):
        tracklets.matrix(tmp_path / "none.mat", "a")
    savemat(tmp_path / "nan.mat", {"a": np.array([1.0, np.nan])})
    with pytest.raises(InputError, match="other values than whole numbers"):
        tracklets.matrix(tmp_path / "nan.mat", "a")
