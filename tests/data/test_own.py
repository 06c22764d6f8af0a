"""A user's own images in each of their forms, and their import; tracklets are in test_own_tracklets.py."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import picture, pictures

from reidentify import Sightings
from reidentify.data.benchmarks import benchmark
from reidentify.data.own import import_data, read, read_pair, split_identities
from reidentify.data.own_table import number_names
from reidentify.errors import InputError, ReidentifyWarning, StorageError
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS


def by_file(b) -> dict[str, tuple[int, int | None]]:
    camids = [None] * len(b.sightings) if b.sightings.camids is None else b.sightings.camids.tolist()
    return {Path(f).name: (p, c) for f, p, c in zip(b.sightings.files, b.sightings.pids.tolist(), camids)}


def write_table(folder: Path, text: str) -> Path:
    lines = text.strip().splitlines()
    for line in lines[1:]:
        picture(folder / line.split(",")[0])
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    return folder / "people.csv"


# Folders -------------------------------------------------------------------------------------------------------------


def test_folder_per_identity(tmp_path):
    pictures(tmp_path, ["anna/1.jpg", "anna/2.jpg", "bob/1.png", "bob/deep/2.png", "p2/a.jpg", "p10/b.jpg"])
    with pytest.warns(
        ReidentifyWarning, match=r"bob/deep/2\.png lies in a folder inside .* every image counts by itself"
    ):
        b = read(tmp_path)
    assert b.protocol == NO_CAMERAS
    assert b.sightings.camids is None
    # Numbered from 1 in natural order: anna, bob, p2, p10.
    assert by_file(b) == {"1.jpg": (1, None), "2.jpg": (1, None), "1.png": (2, None), "2.png": (2, None),
                          "a.jpg": (3, None), "b.jpg": (4, None)}  # fmt: skip


def test_a_folder_called_zero_is_an_identity_not_a_distractor(tmp_path):
    pictures(tmp_path, ["0000/a.jpg", "0001/b.jpg"])
    assert by_file(read(tmp_path)) == {"a.jpg": (1, None), "b.jpg": (2, None)}


def test_market_style_names(tmp_path):
    names = [
        "0002_c1s1_000451_03.jpg",
        "0002_c3_f0000012.jpg",
        "-1_c2s1_000001_00.jpg",
        "0000_c1.jpg",
        "0015_c12_x.png",
    ]
    pictures(tmp_path, names)
    b = read(tmp_path)
    assert b.protocol == MARKET1501
    assert by_file(b) == dict(zip(names, [(2, 1), (2, 3), (-1, 2), (0, 1), (15, 12)]))
    frames = dict(zip((Path(f).name for f in b.sightings.files), b.sightings.frames.tolist()))
    assert frames == dict(zip(names, [451, 12, 1, -1, -1]))


def test_market_style_names_in_folders_of_their_identity_keep_their_cameras(tmp_path):
    pictures(tmp_path, ["0002/0002_c1s1_000451_03.jpg", "0002/0002_c2s1_000451_03.jpg", "0003/0003_c1s1_000451_03.jpg"])
    assert sorted(by_file(read(tmp_path)).values()) == [(2, 1), (2, 2), (3, 1)]
    picture(tmp_path / "anna" / "0002_c1s1_000001_00.jpg")  # here the folder tells who it is
    b = read(tmp_path)
    assert b.sightings.camids is None
    assert len(b.sightings.identities) == 3


def test_split_folders(tmp_path):
    pictures(tmp_path / "train", ["a/1.jpg", "a/2.jpg"])
    pictures(tmp_path / "query", ["b/1.jpg"])
    pictures(tmp_path / "gallery", ["b/2.jpg", "c/1.jpg"])
    b = read(tmp_path)
    assert (b.train.pids.tolist(), b.query.pids.tolist(), b.gallery.pids.tolist()) == ([1, 1], [2], [2, 3])


def test_identities_beside_a_folder_called_like_a_split_are_never_dropped(tmp_path):
    pictures(tmp_path, ["anna/1.jpg", "bob/1.jpg", "query/1.jpg"])
    with pytest.raises(InputError, match=r"anna \(and 1 more\): would be left out beside query"):
        read(tmp_path)
    pictures(tmp_path / "loose", ["gallery/anna/1.jpg", "2.jpg"])
    with pytest.raises(InputError, match=r"2\.jpg: would be left out beside gallery"):
        read(tmp_path / "loose")


def test_what_else_lies_in_market1501_is_no_identity(tmp_path):
    pictures(tmp_path, ["query/0001_c1.jpg", "bounding_box_test/0001_c2.jpg", "gt_bbox/0001_c1.jpg", ".trash/x.jpg"])
    (tmp_path / "notes").mkdir()
    assert by_file(read(tmp_path)) == {"0001_c1.jpg": (1, 1), "0001_c2.jpg": (1, 2)}


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_not_utf8_are_named(tmp_path):
    place = picture(tmp_path / "set" / "jürgen" / "1.jpg").parent
    place.joinpath("1.jpg").rename(place / os.fsdecode(b"\xff.jpg"))
    with pytest.raises(InputError, match=r"jürgen/\\xff\.jpg: the name is not valid UTF-8; rename it"):
        read(tmp_path / "set")
    with pytest.raises(InputError, match=r"out\\xfe: the name is not valid UTF-8"):
        import_data(tmp_path / "set", tmp_path / os.fsdecode(b"out\xfe"))


def test_a_form_that_is_none_is_explained(tmp_path):
    pictures(tmp_path / "mixed", ["a/1.jpg", "loose.jpg"])
    with pytest.raises(InputError, match=r"loose\.jpg: neither in the folder of an identity nor named like Market"):
        read(tmp_path / "mixed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images; expected a table"):
        read(tmp_path / "empty")
    (tmp_path / "people.txt").write_text("x")
    with pytest.raises(InputError, match=r"ending \.csv or \.parquet"):
        read(tmp_path / "people.txt")
    with pytest.raises(InputError, match="no such file or folder"):
        read(tmp_path / "nowhere")


def test_two_folders(tmp_path):
    pictures(tmp_path / "q", ["anna/1.jpg", "bob/1.jpg"])
    pictures(tmp_path / "g", ["bob/2.jpg", "carl/1.jpg", "anna/2.jpg"])
    b = read_pair(tmp_path / "q", tmp_path / "g")
    assert b.protocol == NO_CAMERAS
    assert (b.query.pids.tolist(), b.gallery.pids.tolist()) == ([1, 2], [1, 2, 3])


def test_two_folders_with_market_style_names(tmp_path):
    pictures(tmp_path / "q", ["0005_c1_1.jpg"])
    pictures(tmp_path / "g", ["0005_c2_1.jpg", "0000_c2_2.jpg", "-1_c1_3.jpg"])
    b = read_pair(tmp_path / "q", tmp_path / "g")
    assert b.protocol == MARKET1501
    assert (b.query.pids.tolist(), b.gallery.pids.tolist()) == ([5], [-1, 0, 5])


def test_two_folders_that_do_not_fit_are_refused(tmp_path):
    pictures(tmp_path / "q", ["anna/1.jpg"])
    pictures(tmp_path / "g", ["bob/1.jpg"])
    with pytest.raises(InputError, match="no identity is in both"):
        read_pair(tmp_path / "q", tmp_path / "g")
    pictures(tmp_path / "five", ["0005/1.jpg"])
    pictures(tmp_path / "market", ["0005_c1_1.jpg"])
    with pytest.raises(InputError, match="use one form in both"):
        read_pair(tmp_path / "five", tmp_path / "market")


# Tables --------------------------------------------------------------------------------------------------------------


def test_table_with_everything(tmp_path):
    path = write_table(
        tmp_path,
        """
path,pid,camid,time,split
x/1.jpg,7,2,1.5,train
x/2.jpg,7,1,,train
x/3.jpg,8,,3,query
x/4.jpg,-1,1,4,gallery
""",
    )
    b = benchmark(str(path))
    assert b.protocol == MARKET1501
    assert b.sightings.pids.tolist() == [7, 7, 8, -1]
    assert b.sightings.camids.tolist() == [2, 1, -1, 1]
    np.testing.assert_array_equal(b.sightings.times, [1.5, np.nan, 3, 4])
    assert b.sightings.split.tolist() == ["train", "train", "query", "gallery"]
    assert b.sightings.files[0] == str(tmp_path / "x" / "1.jpg")


def test_names_and_dates_in_a_table(tmp_path):
    path = write_table(
        tmp_path,
        """
path,pid,camid,time
1.jpg,zoe,door,1970-01-01 00:00:10
2.jpg,adam,lift,1970-01-01 00:01:00
3.jpg,zoe,lift,
""",
    )
    b = read(path)
    assert b.sightings.pids.tolist() == [2, 1, 2]
    assert b.sightings.camids.tolist() == [1, 2, 2]
    np.testing.assert_array_equal(b.sightings.times, [10, 60, np.nan])


def test_names_are_numbered_by_order_not_by_row():
    assert number_names(["p10", "p2", "b", "p2"]) == {"b": 1, "p2": 2, "p10": 3}
    assert number_names(["b", "p10", "p2"]) == {"b": 1, "p2": 2, "p10": 3}
    assert list(number_names(["01", "1", "a1b", "a1", ""])) == ["", "01", "1", "a1", "a1b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,person\n1.jpg,4", r"people\.csv: .*there is no pid; it has path, person"),
        ("file,pid\n1.jpg,4", r"there is no path; it has file, pid"),
        ("path,pid\n1.jpg,4\n2.jpg,", "row 2 has no pid"),
        ("path,pid\n1.jpg,-3", "found -3"),
        ("path,pid\n1.jpg,4\n2.jpg, ", "row 2 has no pid"),
        ("path,pid\n1.jpg,1.5", r"row 1, column pid: expected whole numbers or names .*, got 1\.5"),
        ("path,pid\n1.jpg,7\n2.jpg,99999999999999999999", r"row 2, column pid: .* at most 64 bits\), got 1e\+20"),
        ("path,pid,camid\n1.jpg,7,-9300000000000000000", "row 1, column camid: .* at most 64 bits"),
        ("path,pid,pid\n1.jpg,1,2", r"people\.csv: has two columns called pid"),
        ("path,pid,time\n1.jpg,1,noon", "column time: expected seconds"),
        ("path,pid,split\n1.jpg,1,dev", "split must be train, query or gallery, found dev"),
    ],
)
def test_a_table_that_cannot_be_used_is_explained(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(write_table(tmp_path, text))


def test_a_table_without_rows_is_refused(tmp_path):
    (tmp_path / "people.csv").write_text("path,pid\n")
    with pytest.raises(InputError, match="has no rows"):
        read(tmp_path / "people.csv")
    (tmp_path / "people.csv").write_text("")
    with pytest.raises(InputError, match="cannot be read as a table"):
        read(tmp_path / "people.csv")


def test_a_file_that_is_missing_is_named(tmp_path):
    path = write_table(tmp_path, "path,pid\n1.jpg,4\n2.jpg,4\n3.jpg,5")
    (tmp_path / "2.jpg").unlink()
    (tmp_path / "3.jpg").unlink()
    with pytest.raises(InputError, match=r"2\.jpg \(and 1 more\), which does not exist"):
        read(path)


def test_a_table_in_another_encoding_is_named(tmp_path):
    (tmp_path / "people.csv").write_bytes("path,pid\nJürgen.jpg,1\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"people\.csv: column path is not text in UTF-8"):
        read(tmp_path / "people.csv")
    (tmp_path / "people.csv").write_bytes("päth,pid\n1.jpg,1\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"people\.csv: cannot be read as a table"):
        read(tmp_path / "people.csv")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["1.jpg", None], "pid": [1, 2]}, "row 2 has no path"),
        ({"path": ["1.jpg", ""], "pid": [1, 2]}, "row 2 has no path"),
        ({"path": ["1.jpg", "1.jpg"], "pid": [None, 2]}, "row 1 has no pid"),
        ({"path": ["1.jpg", "1.jpg"], "pid": pa.array([1, 2**63], pa.uint64())}, "row 2, column pid: .* 64 bits"),
        ({"files": ["1.jpg", None], "pids": [1, 2]}, "column files: row 2 is empty"),
        ({"files": ["1.jpg", ""], "pids": [1, 2]}, "row 2 has no files"),
        ({"files": ["1.jpg", "1.jpg"], "pids": [None, 2]}, "column pids: row 1 is empty"),
        ({"files": ["1.jpg", "1.jpg"], "pids": pa.array([1, 2**63], pa.uint64())}, "column pids: row 2: .* 64 bits"),
    ],
)
def test_parquet_with_cells_that_cannot_be_used(tmp_path, columns, message):
    picture(tmp_path / "1.jpg")
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: " + message):
        read(tmp_path / "t.parquet")


def test_parquet_table(tmp_path):
    pictures(tmp_path, ["1.jpg", "2.jpg"])
    pq.write_table(pa.table({"path": ["1.jpg", "2.jpg"], "pid": ["b", "a"], "note": [1, 2]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").sightings.pids.tolist() == [2, 1]


def test_joints_in_a_table(tmp_path):
    """A list of x, y and visibility for each joint, or all numbers in one; empty where nothing is known."""
    pictures(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    joints = np.arange(14 * 3, dtype=float).reshape(14, 3) / 100
    columns = {"path": ["1.jpg", "2.jpg", "3.jpg"], "pid": [1, 1, 3]}
    for cells in ([joints.tolist(), None, joints.tolist()], [joints.ravel().tolist(), None, joints.ravel().tolist()]):
        pq.write_table(pa.table({**columns, "keypoints": cells}), tmp_path / "t.parquet")
        found = read(tmp_path / "t.parquet").sightings.keypoints
        np.testing.assert_allclose(found[[0, 2]], [joints, joints], rtol=1e-6)
        assert np.isnan(found[1]).all()
    tracklets = {**columns, "tracklet": [1, 1, 2], "frame": [2, 1, 1]}
    pq.write_table(pa.table({**tracklets, "keypoints": cells}), tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet").sightings
    assert [Path(file).name for file in found.files] == ["2.jpg", "1.jpg", "3.jpg"]
    assert np.isnan(found.keypoints[:, 0, 0]).tolist() == [True, False, False]
    place = import_data(tmp_path / "t.parquet", tmp_path / "out", fraction=1.0)
    np.testing.assert_array_equal(benchmark(place.parent).sightings.keypoints, found.keypoints)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1.0, 2.0], None], r"row 1, column keypoints: expected a list of x, y and visibility .* got \[1.0, 2.0\]"),
        (["1 2 3", "4"], "row 1, column keypoints: expected a list"),
        ([[1.0] * 42, [1.0] * 51], "column keypoints: row 1 has 14 joints and row 2 has 17"),
        ([[1.0] * 63, None], "keypoints: which of 21 joints are left and right is unknown"),
        ([None, [1.0] * 42], "row 2: walk is a folder, and joints are of one picture"),
    ],
)
def test_joints_that_cannot_be_used(tmp_path, cells, message):
    pictures(tmp_path, ["1.jpg", "walk/1.jpg", "walk/2.jpg"])
    pq.write_table(pa.table({"path": ["1.jpg", "walk"], "pid": [1, 2], "keypoints": cells}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: " + message):
        read(tmp_path / "t.parquet")


def test_a_folder_may_stand_beside_pictures_with_joints(tmp_path):
    pictures(tmp_path, ["1.jpg", "walk/1.jpg", "walk/2.jpg"])
    cells = [[1.0] * 42, None]
    pq.write_table(pa.table({"path": ["1.jpg", "walk"], "pid": [1, 2], "keypoints": cells}), tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet").sightings.keypoints
    assert np.isnan(found[:, 0, 0]).tolist() == [False, True, True]


# Splitting and importing ---------------------------------------------------------------------------------------------


def people(pids, camids=None) -> Sightings:
    return Sightings(np.array(pids), camids=camids)


def test_the_split_is_by_identity_and_seeded():
    pids = np.repeat(np.arange(1, 11), 3)
    one, again, other = (split_identities(people(pids), 0.3, seed).split for seed in (4, 4, 5))
    assert one.tolist() == again.tolist() != other.tolist()
    assert len(set(pids[one == "train"])) == 3
    assert not set(pids[one == "train"]) & set(pids[one != "train"])
    # Without cameras one image of each tested identity is a query.
    assert sorted(pids[one == "query"]) == sorted(set(pids[one != "train"]))


def test_every_query_has_a_right_answer_of_another_camera():
    pids = [1, 1, 1, 2, 2, 3, 3, 4, 0, -1]
    cams = [1, 1, 2, 1, 2, 5, 5, 1, 1, 1]
    split = split_identities(people(pids, cams), 0.0).split
    # 1: camera 1 has two images, so one is a query. 2: no camera has two, so one image is. 3: only one camera, so no
    # query could be found across cameras. 4: a single image. Distractors and junk are gallery.
    assert sorted(np.array(pids)[split == "query"].tolist()) == [1, 2]
    assert np.array(cams)[(split == "query") & (np.array(pids) == 1)].tolist() == [1]
    assert (split != "train").all()


def test_the_fraction_may_take_all_or_none_and_no_more():
    assert set(split_identities(people([1, 1, 2]), 1.0).split) == {"train"}
    assert set(split_identities(people([1, 1, 2]), 0.0).split) == {"query", "gallery"}
    with pytest.raises(InputError, match=r"between 0 and 1, got 1\.5"):
        split_identities(people([1, 1, 2]), 1.5)


def test_a_seed_is_not_negative():
    with pytest.raises(InputError, match="seed of the split must be 0 or above, got -1"):
        split_identities(people([1, 1, 2]), seed=-1)


def test_import_and_read_again(tmp_path):
    source, out = tmp_path / "photos", tmp_path / "set"
    pictures(source, [f"{name}/{i}.jpg" for name in ("ann", "bob", "cyd", "dan") for i in range(3)])
    path = import_data(source, out, fraction=0.5, seed=1)
    assert path == out / "sightings.parquet"
    assert (out / "identities.csv").read_text().split() == ["pid,name", "1,ann", "2,bob", "3,cyd", "4,dan"]
    b = benchmark(str(out))
    assert len(b.train.identities) == 2
    assert len(b.train) == 6
    assert sorted(set(b.query.pids)) == sorted(set(b.gallery.pids))
    assert len(b.query) == 2
    # The same seed makes the same split whichever form is read, since the split stands in the table.
    assert benchmark(path).sightings.split.tolist() == b.sightings.split.tolist()
    assert sorted(p.name for p in out.iterdir()) == ["identities.csv", "sightings.parquet"]


def test_paths_are_relative_only_inside_the_folder(tmp_path):
    images = tmp_path / "set" / "images"
    pictures(images, ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"])
    inside = Sightings.load(import_data(images, tmp_path / "set"))
    assert sorted(inside.files) == ["images/a/1.jpg", "images/a/2.jpg", "images/b/1.jpg", "images/b/2.jpg"]
    outside = Sightings.load(import_data(images, tmp_path / "other"))
    assert sorted(outside.files)[0] == str(images / "a" / "1.jpg")
    (tmp_path / "set").rename(tmp_path / "moved")
    assert len(read(tmp_path / "moved").sightings) == 4
    with pytest.raises(InputError, match="which does not exist"):
        read(tmp_path / "other")


def test_import_decodes_every_image(tmp_path):
    files = pictures(tmp_path / "photos", [f"{name}/{i}.png" for name in ("ann", "bob") for i in range(2)])
    files[3].write_bytes(files[3].read_bytes()[:40])  # its header is whole, its pixels are not
    with pytest.raises(InputError, match=rf"^cannot read image {files[3]}: .*; mend it or leave it out$"):
        import_data(tmp_path / "photos", tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert import_data(tmp_path / "photos", tmp_path / "set", check=False).is_file()


def test_import_keeps_a_split_that_is_given(tmp_path):
    path = write_table(tmp_path, "path,pid,split\n1.jpg,4,query\n2.jpg,4,gallery\n3.jpg,5,train")
    imported = Sightings.load(import_data(path, tmp_path / "out", fraction=1.0))
    assert imported.split.tolist() == ["query", "gallery", "train"]


def test_import_never_overwrites(tmp_path):
    path = write_table(tmp_path, "path,pid\n1.jpg,ann\n2.jpg,ann")
    table = import_data(path, tmp_path / "out")
    before = table.read_bytes()
    with pytest.raises(InputError, match=r"out: holds a data set already \(sightings\.parquet\); give --out another"):
        import_data(path, tmp_path / "out", fraction=0)
    assert table.read_bytes() == before
    table.unlink()
    with pytest.raises(InputError, match=r"out: holds a data set already \(identities\.csv\)"):
        import_data(path, tmp_path / "out")


def test_import_hides_nothing_that_is_added_to_the_source(tmp_path):
    source = tmp_path / "photos"
    pictures(source, ["query/ann/1.jpg", "gallery/ann/2.jpg"])
    for out in (source, source / "query"):
        with pytest.raises(InputError, match=f"{out.name}: holds images of .*photos"):
            import_data(source, out)
    import_data(source, source / "set")
    picture(source / "gallery" / "bob" / "3.jpg")
    assert len(read(source).sightings) == 3


def test_import_says_that_one_camera_leaves_no_query(tmp_path):
    pictures(tmp_path / "photos", ["0001_c4_1.jpg", "0001_c4_2.jpg", "0002_c4_1.jpg", "0002_c4_2.jpg"])
    with pytest.warns(ReidentifyWarning, match="out has no query: all images to test on come from one camera"):
        import_data(tmp_path / "photos", tmp_path / "out")
    for place in ("photos", "out"):
        with pytest.raises(InputError, match="no query to evaluate on: all images to test on come from one camera"):
            read(tmp_path / place).require_sides()


@pytest.mark.parametrize("writer", ["pyarrow.parquet.write_table", "pathlib.Path.write_bytes"])
def test_a_full_disk_leaves_no_half_of_a_data_set(tmp_path, monkeypatch, writer):
    pictures(tmp_path / "photos", ["ann/1.jpg", "ann/2.jpg"])

    def full(*given: object, **_: object) -> None:
        next(g for g in given if isinstance(g, Path)).touch()  # what was written before the disk was full
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer, full)
        with pytest.raises(StorageError, match=r"cannot be written \(No space left"):
            import_data(tmp_path / "photos", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert import_data(tmp_path / "photos", tmp_path / "out").exists()


def test_import_into_a_file_is_refused(tmp_path):
    path = write_table(tmp_path, "path,pid\n1.jpg,ann\n2.jpg,ann")
    with pytest.raises(StorageError, match=r"1\.jpg.* cannot be written"):
        import_data(path, tmp_path / "1.jpg")
