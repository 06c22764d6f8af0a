"""A user's own tracklets: folders of folders, tables that name folders or frames, Parquet; and their import."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import picture, pictures

from reidentify import Sightings
from reidentify.cli import main
from reidentify.data.benchmarks import benchmark
from reidentify.data.inspect import check, stats
from reidentify.data.own import import_data, read, read_pair
from reidentify.errors import InputError
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS


def rows(sightings: Sightings, root: Path) -> dict[str, tuple[int, int | None]]:
    """Person and camera of each tracklet, by its frames."""
    camids = [None] * len(sightings) if sightings.camids is None else sightings.camids.tolist()
    names = [Path(f).relative_to(root).as_posix() for f in sightings.files]
    joined = [" ".join(names[a:z]) for a, z in zip(sightings.offsets, sightings.offsets[1:])]
    return dict(zip(joined, zip(sightings.pids.tolist(), camids)))


def table(folder: Path, text: str, name: str = "people.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text.strip() + "\n")
    return folder / name


# Folders -------------------------------------------------------------------------------------------------------------


def test_a_folder_per_tracklet_inside_a_folder_per_identity(tmp_path):
    pictures(tmp_path, ["bob/walk/2.jpg", "bob/walk/10.jpg", "bob/again/1.jpg", "anna/walk/1.jpg", "anna/walk/2.jpg"])
    b = read(tmp_path)
    assert b.protocol == NO_CAMERAS
    # Numbers in the names of frames count as numbers: 2 before 10.
    assert rows(b.sightings, tmp_path) == {
        "anna/walk/1.jpg anna/walk/2.jpg": (1, None),
        "bob/again/1.jpg": (2, None),
        "bob/walk/2.jpg bob/walk/10.jpg": (2, None),
    }


def test_cameras_in_the_names_of_the_folders(tmp_path):
    pictures(tmp_path, ["anna/c2/1.jpg", "anna/c2/2.jpg", "anna/c12_0007/1.jpg", "bob/0002_c1s1_000451/1.jpg"])
    b = read(tmp_path)
    assert b.protocol == MARKET1501
    assert rows(b.sightings, tmp_path) == {
        "anna/c12_0007/1.jpg": (1, 12),
        "anna/c2/1.jpg anna/c2/2.jpg": (1, 2),
        "bob/0002_c1s1_000451/1.jpg": (2, 1),
    }
    picture(tmp_path / "bob" / "cold" / "1.jpg")
    with pytest.raises(InputError, match=r"bob/cold: names no camera, as anna/c12_0007 does; name all folders"):
        read(tmp_path)


def test_market_style_frames_in_a_folder_per_tracklet(tmp_path):
    pictures(tmp_path, ["0007/a/0007_c3_f0000012.jpg", "0007/a/0007_c3_f0000002.jpg", "-1/x/-1_c1_1.jpg"])
    b = read(tmp_path)
    assert rows(b.sightings, tmp_path) == {
        "-1/x/-1_c1_1.jpg": (-1, 1),  # junk, as in Market-1501, not an identity called -1
        "0007/a/0007_c3_f0000002.jpg 0007/a/0007_c3_f0000012.jpg": (7, 3),
    }
    assert b.sightings.frames.tolist() == [1, 2, 12]
    picture(tmp_path / "0007" / "a" / "0007_c4_f0000013.jpg")
    message = r"0007/a: a tracklet is of one camera, but 0007_c3_f0000002\.jpg is of camera 3 and 0007_c4_f0000013\.jpg"
    with pytest.raises(InputError, match=message + " of camera 4"):
        read(tmp_path)


def test_a_folder_without_a_frame_is_named(tmp_path):
    pictures(tmp_path, ["anna/c1/1.jpg", "anna/c2/1.jpg"])
    (tmp_path / "anna" / "c3").mkdir()
    (tmp_path / "anna" / "c3" / "Thumbs.db").write_bytes(b"x")
    with pytest.raises(InputError, match="anna/c3: holds no image; a tracklet has one frame or more"):
        read(tmp_path)


def test_split_folders_and_two_folders_of_tracklets(tmp_path):
    pictures(tmp_path / "set", ["train/a/c1/1.jpg", "query/b/c1/1.jpg", "query/b/c1/2.jpg", "gallery/b/c2/1.jpg"])
    b = read(tmp_path / "set")
    assert [len(x) for x in (b.train, b.query, b.gallery)] == [1, 1, 1]
    assert b.query.lengths.tolist() == [2]
    pair = read_pair(tmp_path / "set" / "query", tmp_path / "set" / "gallery")
    assert pair.protocol == MARKET1501
    assert (pair.query.lengths.tolist(), pair.gallery.lengths.tolist()) == ([2], [1])
    assert (pair.query.camids.tolist(), pair.gallery.camids.tolist()) == ([1], [2])


# Tables --------------------------------------------------------------------------------------------------------------


def test_a_table_of_folders(tmp_path):
    pictures(tmp_path, ["t/1/2.jpg", "t/1/10.jpg", "t/2/1.jpg", "alone.jpg"])
    path = table(
        tmp_path,
        "path,pid,camid,time,split\nt/1,anna,door,5.5,query\nt/2,bob,lift,,gallery\nalone.jpg,anna,lift,7,gallery",
    )
    b = benchmark(str(path))
    assert rows(b.sightings, tmp_path) == {"t/1/2.jpg t/1/10.jpg": (1, 1), "t/2/1.jpg": (2, 2), "alone.jpg": (1, 2)}
    np.testing.assert_array_equal(b.sightings.times, [5.5, 5.5, np.nan, 7])
    assert b.sightings.split.tolist() == ["query", "gallery", "gallery"]
    (tmp_path / "t" / "2" / "1.jpg").unlink()
    with pytest.raises(InputError, match=r"people\.csv: row 2: the folder t/2 holds no image"):
        read(path)


@pytest.mark.parametrize("frames", [True, False])
def test_a_table_of_frames(tmp_path, frames):
    pictures(tmp_path, ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"])
    lines = ["path,pid,camid,time,tracklet,frame", "3.jpg,8,1,3,b,30", "1.jpg,7,2,1,a,20", "4.jpg,8,1,4,b,9",
             "2.jpg,7,2,2,a,100", "5.jpg,7,1,5,c,1"]  # fmt: skip
    path = table(tmp_path, "\n".join(line if frames else line.rpartition(",")[0] for line in lines))
    b = read(path)
    # Tracklets in the order of their first rows; their frames in the order of the table, or of the column frame.
    first = "4.jpg 3.jpg" if frames else "3.jpg 4.jpg"
    assert rows(b.sightings, tmp_path) == {first: (8, 1), "1.jpg 2.jpg": (7, 2), "5.jpg": (7, 1)}
    assert b.sightings.times.tolist() == ([4, 3] if frames else [3, 4]) + [1, 2, 5]
    if frames:
        assert b.sightings.frames.tolist() == [9, 30, 20, 100, 1]
    else:
        assert b.sightings.frames is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1.jpg,7,1,a,1\n1.jpg,7,1,b,1\n1.jpg,7,2,a,2",
            "row 3: tracklet a has camid 2 here and 1 in row 1; a tracklet",
        ),
        ("1.jpg,7,1,a,1\n1.jpg,7,,a,2", "row 2: tracklet a has camid nothing here and 1 in row 1"),
        ("1.jpg,7,1,a,1\n1.jpg,8,1,a,2", "row 2: tracklet a has pid 8 here and 7 in row 1"),
        ("1.jpg,7,1,a,1\n1.jpg,7,1,,2", "row 2 has no tracklet"),
        ("1.jpg,7,1,a,1\n1.jpg,7,1,a,", "row 2 has no frame"),
        ("1.jpg,7,1,a,one", "column frame: expected whole numbers, got 'one'"),
        ("folder,7,1,a,1", "row 1: folder is a folder; with a column tracklet, a row is one frame"),
        ("1.jpg,7,1,a,1\n9.jpg,7,1,a,2", r"names .*9\.jpg, which does not exist"),
    ],
)
def test_a_table_of_frames_that_cannot_be_used_is_explained(tmp_path, text, message):
    pictures(tmp_path, ["1.jpg", "folder/1.jpg"])
    with pytest.raises(InputError, match=r"people\.csv: " + message):
        read(table(tmp_path, "path,pid,camid,tracklet,frame\n" + text))


def test_a_tracklet_is_in_one_split(tmp_path):
    pictures(tmp_path, ["1.jpg", "2.jpg"])
    path = table(tmp_path, "path,pid,split,tracklet\n1.jpg,7,train,1\n2.jpg,7,query,1")
    with pytest.raises(InputError, match="row 2: tracklet 1 has split query here and train in row 1"):
        read(path)


def test_parquet_with_lists_of_frames(tmp_path):
    pictures(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    files = np.array(["1.jpg", "2.jpg", "3.jpg"], object)
    saved = Sightings([4, 5], camids=[1, 2], files=files, times=[0.0, 1.0, 2.0], offsets=[0, 2, 3])
    saved.save(tmp_path / "people.parquet")
    b = read(tmp_path / "people.parquet")
    assert rows(b.sightings, tmp_path) == {"1.jpg 2.jpg": (4, 1), "3.jpg": (5, 2)}
    pq.write_table(pa.table({"pids": [4, 5], "files": [["1.jpg"], []], "length": [1, 0]}), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match=r"empty\.parquet: .*every row has a frame"):
        read(tmp_path / "empty.parquet")


# Import --------------------------------------------------------------------------------------------------------------


def people(folder: Path) -> Path:
    pictures(folder, [f"{p}/c{c}_{t}/{f}.png" for p in "abcd" for c in (1, 2) for t in (1, 2) for f in (1, 2, 3)])
    return folder


def test_import_and_read_again(tmp_path):
    path = import_data(people(tmp_path / "films"), tmp_path / "set", fraction=0.5)
    b = benchmark(str(tmp_path / "set"))
    assert path.name == "sightings.parquet"
    # Two people train with four tracklets each; of each tested person one tracklet per camera asks.
    assert [len(x) for x in (b.train, b.query, b.gallery)] == [8, 4, 4]
    assert set(b.sightings.lengths) == {3}
    assert sorted(b.query.camids) == [1, 1, 2, 2]
    again = Sightings.load(path)
    assert again.files.tolist() == read(tmp_path / "films").sightings.files.tolist()


def test_import_refuses_a_frame_that_cannot_be_read_and_check_lists_all(tmp_path, capsys):
    films = people(tmp_path / "films")
    frames = [films / "b" / "c2_1" / "2.png", films / "d" / "c1_2" / "3.png"]  # neither the first of its tracklet
    frames[0].write_bytes(frames[0].read_bytes()[:40])
    with pytest.raises(InputError, match=r"^cannot read image .*b/c2_1/2\.png: .*; mend it or leave it out$"):
        import_data(films, tmp_path / "set")
    frames[1].write_bytes(b"no image")
    more = r"1 more cannot be read either \(`reidentify data check .*films`\); mend them or leave them out$"
    with pytest.raises(InputError, match=rf"^cannot read image .*b/c2_1/2\.png: .*; {more}"):
        import_data(films, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert main(["data", "check", str(films)]) == 1
    said = "".join(capsys.readouterr().out.split())  # a path may be broken over lines
    assert [path for path, _ in check(read(films)).unreadable] == [str(frame) for frame in frames]
    assert "48images:0missing,2unreadable" in said
    # Unasked for, nothing is decoded; the set is told to hold them by the check of it.
    assert main(["data", "import", str(films), "--out", str(tmp_path / "set"), "--check", "false"]) == 0
    assert len(check(benchmark(str(tmp_path / "set"))).unreadable) == 2


def test_the_commands_take_tracklets(tmp_path, capsys):
    films = people(tmp_path / "films")
    assert main(["data", "import", str(films), "--out", str(tmp_path / "set")]) == 0
    capsys.readouterr()
    assert main(["data", "stats", str(tmp_path / "set")]) == 0
    shown = next(line for line in capsys.readouterr().out.splitlines() if "tracklets" in line)
    assert [int(n) for n in shown.split() if n.isdecimal()] == [8, 4, 4]
    assert main(["data", "check", str(tmp_path / "set")]) == 0
    assert "48 images: all decode" in capsys.readouterr().out
    assert stats(read(films)).splits[0].images == 24
    shutil.rmtree(films / "a" / "c1_1")
    (films / "a" / "c1_1").mkdir()
    assert main(["data", "stats", str(films)]) == 2
    error = capsys.readouterr().err.strip()
    assert "a/c1_1: holds no image" in error
    assert "\n" not in error
