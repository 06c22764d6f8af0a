"""A user's own data in each of its forms, and its import."""

from __future__ import annotations

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
from reidentify.errors import InputError
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
        ("path,pid\n1.jpg,1.5", "column pid: expected whole numbers or names"),
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


def test_parquet_table(tmp_path):
    pictures(tmp_path, ["1.jpg", "2.jpg"])
    pq.write_table(pa.table({"path": ["1.jpg", "2.jpg"], "pid": ["b", "a"], "note": [1, 2]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").sightings.pids.tolist() == [2, 1]


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
    pictures(tmp_path / "set", ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"])
    inside = Sightings.load(import_data(tmp_path / "set", tmp_path / "set"))
    assert sorted(inside.files) == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]
    outside = Sightings.load(import_data(tmp_path / "set", tmp_path / "other"))
    assert sorted(outside.files)[0] == str(tmp_path / "set" / "a" / "1.jpg")
    (tmp_path / "set").rename(tmp_path / "moved")
    assert len(read(tmp_path / "moved").sightings) == 4
    with pytest.raises(InputError, match="which does not exist"):
        read(tmp_path / "other")


def test_import_keeps_a_split_that_is_given(tmp_path):
    path = write_table(tmp_path, "path,pid,split\n1.jpg,4,query\n2.jpg,4,gallery\n3.jpg,5,train")
    imported = Sightings.load(import_data(path, tmp_path / "out", fraction=1.0))
    assert imported.split.tolist() == ["query", "gallery", "train"]
