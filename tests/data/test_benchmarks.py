"""Every reader on its published layout, made of a few tiny pictures; expectations written out by hand."""

from __future__ import annotations

import inspect
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from synthetic import picture, pictures

from reidentify.data.benchmark import Benchmark
from reidentify.data.benchmarks import READERS, benchmark, facts, join, layout, names, trained_on_tested
from reidentify.data.root import data_root, image_files
from reidentify.errors import InputError
from reidentify.joints import COCO17, MARKET14
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS, SINGLE_SHOT


def table(b: Benchmark, split: str) -> list[tuple[str, int, int | None]]:
    """File name, pid and camid of the rows of a split."""
    rows = b.sightings[b.sightings.split == split]
    camids = [None] * len(rows) if rows.camids is None else rows.camids.tolist()
    return [(Path(f).name, p, c) for f, p, c in zip(rows.files, rows.pids.tolist(), camids)]


# Root and names ------------------------------------------------------------------------------------------------------


def test_data_root_is_argument_then_environment_then_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REIDENTIFY_DATA", str(tmp_path / "env"))
    assert data_root(tmp_path / "arg") == tmp_path / "arg"
    assert data_root() == tmp_path / "env"
    monkeypatch.delenv("REIDENTIFY_DATA")
    assert data_root() == Path("~/.cache/reidentify/data").expanduser()


def test_image_files_skips_what_is_no_image(tmp_path):
    pictures(tmp_path, ["b.JPG", "a.png", ".hidden.png", "deep/c.bmp"])
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert [p.name for p in image_files(tmp_path)] == ["a.png", "b.JPG"]
    assert [p.name for p in image_files(tmp_path, recursive=True)] == ["a.png", "b.JPG", "c.bmp"]
    (tmp_path / "deep" / "circle").symlink_to(tmp_path)
    pictures(tmp_path.parent / f"{tmp_path.name}-linked", ["d.png"])
    (tmp_path / "link").symlink_to(tmp_path.parent / f"{tmp_path.name}-linked")
    assert [p.name for p in image_files(tmp_path, recursive=True)] == ["a.png", "b.JPG", "c.bmp", "d.png"]
    with pytest.raises(InputError, match="nowhere: no such folder"):
        image_files(tmp_path / "nowhere")


def test_every_name_has_complete_facts():
    assert set(READERS) <= set(names())
    for name in names():
        f = facts(name)
        assert f.title
        assert f.paper
        assert f.licence
        assert f.obtain.endswith(".")
        assert f.folder
        assert set(f.counts) <= {"train", "query", "gallery"}


def test_readers_take_the_same_arguments():
    import importlib

    for module in READERS.values():
        assert list(inspect.signature(importlib.import_module(module).read).parameters) == ["root", "variant", "split"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("martet1501", "nearest is market1501"),
        ("cuhk03-np-labelled", "nearest is cuhk03-np-labeled"),
        ("viper@x", "expected a split number"),
        ("some/where.csv", "no such file or folder"),
    ],
)
def test_unknown_names_are_explained(wrong, message):
    with pytest.raises(InputError, match=message):
        benchmark(wrong)


@pytest.mark.parametrize("name", list(READERS))
def test_a_missing_set_names_the_place_and_how_to_obtain_it(name, tmp_path):
    with pytest.raises(InputError) as caught:
        benchmark(name, tmp_path)
    assert str(tmp_path / facts(name).folder) in str(caught.value)
    assert facts(name).obtain in str(caught.value)
    with pytest.raises(InputError, match="which does not exist"):
        benchmark(name, tmp_path / "nowhere")


@pytest.mark.parametrize(("name", "last"), [("market1501", 0), ("viper", 9), ("cuhk03-classic-labeled", 19)])
def test_a_split_that_is_none_is_refused(name, last, tmp_path):
    with pytest.raises(InputError, match=f"@{last + 1} is none of them"):
        benchmark(f"{name}@{last + 1}", tmp_path)


# Market-1501 ---------------------------------------------------------------------------------------------------------

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s2_000010_01.jpg", "0007_c1s3_000100_00.jpg"],
    "query": ["0001_c1s1_001051_00.jpg", "1488_c6s4_023021_00.jpg.jpg"],
    "bounding_box_test": ["-1_c1s1_000401_03.jpg", "0000_c5s2_000001_02.jpg", "0001_c3s1_000551_00.jpg"],
}


def market(home: Path) -> Path:
    for folder, files in MARKET.items():
        pictures(home / folder, files)
    (home / "bounding_box_train" / "Thumbs.db").write_bytes(b"x")
    return home


def test_market1501(tmp_path):
    market(tmp_path / "Market-1501-v15.09.15")
    b = benchmark("market1501", tmp_path)
    assert (b.name, b.protocol, b.facts.title) == ("market1501", MARKET1501, "Market-1501")
    assert table(b, "train") == [
        ("0002_c1s1_000451_03.jpg", 2, 1), ("0002_c2s2_000010_01.jpg", 2, 2), ("0007_c1s3_000100_00.jpg", 7, 1),
    ]  # fmt: skip
    assert table(b, "query") == [("0001_c1s1_001051_00.jpg", 1, 1), ("1488_c6s4_023021_00.jpg.jpg", 1488, 6)]
    assert table(b, "gallery") == [
        ("-1_c1s1_000401_03.jpg", -1, 1), ("0000_c5s2_000001_02.jpg", 0, 5), ("0001_c3s1_000551_00.jpg", 1, 3),
    ]  # fmt: skip
    assert b.train.frames.tolist() == [451, 10, 100]
    # A camera's sequences lie end to end: 163,691 frames before camera 2's second, 72,681 + 74,546 before camera 1's
    # third; 25 frames a second.
    np.testing.assert_allclose(b.train.times, [451 / 25, (163_691 + 10) / 25, (72_681 + 74_546 + 100) / 25])
    assert b.query.times[1] == (87_551 + 131_268 + 95_817 + 23_021) / 25
    assert b.sightings.keypoints is None
    assert all(Path(f).is_file() for f in b.sightings.files)


@pytest.mark.parametrize("folder", [".", "market1501", "Market-1501", "market1501/Market-1501-v15.09.15"])
def test_market1501_is_found_under_its_common_names(folder, tmp_path):
    market(tmp_path / folder)
    assert len(benchmark("market1501", tmp_path).train) == 3


def test_market1501_distractors(tmp_path):
    home = market(tmp_path / "market1501")
    with pytest.raises(InputError, match=r"images.*distractors_500k\.zip"):
        benchmark("market1501-500k", tmp_path)
    pictures(home / "images", ["0000_c1s1_000151_01.jpg", "0000_c2s9_000151_01.jpg", "-1_c6s1_000151_01.jpg"])
    assert len(benchmark("market1501", tmp_path).gallery) == 3
    b = benchmark("market1501-500k", tmp_path)
    assert b.gallery.pids.tolist() == [-1, 0, 1, -1, 0, 0]
    assert b.gallery.camids.tolist() == [1, 5, 3, 6, 1, 2]
    assert b.facts.title == "Market-1501 + 500k"


def test_market1501_joints_follow_the_sorted_names(tmp_path):
    market(tmp_path / "market1501")
    for split, count in (("train", 3), ("query", 2), ("gallery", 3)):
        path = tmp_path / "market1501-annotations" / f"market1501_14point_{split}.mat"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["pp"] = np.arange(count * 28, dtype=float).reshape(count, 28)
    keypoints = benchmark("market1501", tmp_path).train.keypoints
    assert keypoints.shape == (3, 14, 3)
    assert keypoints[1, 0].tolist() == [28 - 1, 28 + 14 - 1, 1]  # x is column 0 of the second row, y column 14; from 1
    assert keypoints[2, 13].tolist() == [56 + 13 - 1, 56 + 27 - 1, 1]
    picture(tmp_path / "market1501" / "query" / "0003_c1s1_000001_00.jpg")
    with pytest.raises(InputError, match=r"14point_query\.mat: expected 3 x 28"):
        benchmark("market1501", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("0002.jpg", "expected a name like"), ("0002_c7s1_000451_03.jpg", "expected a name like"),
     ("0002_c2s4_000451_03.jpg", "camera 2 has no sequence 4")],
)  # fmt: skip
def test_market1501_names_that_are_not_published(name, message, tmp_path):
    picture(market(tmp_path / "market1501") / "query" / name)
    with pytest.raises(InputError, match=message):
        benchmark("market1501", tmp_path)


# The other sets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "folder"), [("dukemtmcreid", "DukeMTMC-reID"), ("occluded-duke", "Occluded_Duke")])
def test_duke_formats(name, folder, tmp_path):
    pictures(tmp_path / folder / "bounding_box_train", ["0001_c2_f0046182.jpg"])
    pictures(tmp_path / folder / "query", ["0005_c5_f0000001.jpg"])
    pictures(tmp_path / folder / "bounding_box_test", ["0005_c8_f0000060.jpg", "7000_c1_f0000002.jpg"])
    b = benchmark(name, tmp_path)
    assert table(b, "train") == [("0001_c2_f0046182.jpg", 1, 2)]
    assert table(b, "gallery") == [("0005_c8_f0000060.jpg", 5, 8), ("7000_c1_f0000002.jpg", 7000, 1)]
    assert b.train.frames.tolist() == [46182]
    # The common clock: local frame + first frame of the camera - 1, at 60 frames a second.
    np.testing.assert_allclose(b.train.times, [(46_182 + 3_607 - 1) / 60])
    np.testing.assert_allclose(b.query.times, [(1 + 1 - 1) / 60])
    np.testing.assert_allclose(b.gallery.times, [(60 + 46_766 - 1) / 60, (2 + 5_543 - 1) / 60])


@pytest.mark.parametrize(
    ("name", "release", "train", "test"),
    [("msmt17", "MSMT17_V1", "train", "test"), ("msmt17-v2", "MSMT17_V2", "mask_train_v2", "mask_test_v2")],
)
def test_msmt17(name, release, train, test, tmp_path):
    home = tmp_path / "msmt17" / release
    lists = {
        "list_train.txt": (train, "0000/0000_000_01_0303morning_0008_0.jpg 0"),
        "list_val.txt": (train, "1040/1040_003_15_0302afternoon_0100_1_ex.jpg 1040"),
        "list_query.txt": (test, "0000/0000_021_04_0113noon_0032_0.jpg 0"),
        "list_gallery.txt": (test, "3059/3059_000_05_0303morning_0015_0.jpg 3059"),
    }
    for file, (folder, line) in lists.items():
        picture(home / folder / line.split()[0])
        (home / file).write_text(f"{line}\n")
    b = benchmark(name, tmp_path)
    # Train and test both count from 0 but are different people.
    assert table(b, "train") == [
        ("0000_000_01_0303morning_0008_0.jpg", 1, 1), ("1040_003_15_0302afternoon_0100_1_ex.jpg", 1041, 15),
    ]  # fmt: skip
    assert table(b, "query") == [("0000_021_04_0113noon_0032_0.jpg", 1042, 4)]
    assert table(b, "gallery") == [("3059_000_05_0303morning_0015_0.jpg", 1042 + 3059, 5)]
    assert b.sightings.frames.tolist() == [8, 100, 32, 15]
    assert b.sightings.attributes["day"].tolist() == [303, 302, 113, 303]
    assert b.sightings.attributes["period"].tolist() == [0, 2, 1, 0]
    assert b.sightings.times is None
    assert all(Path(f).is_file() for f in b.sightings.files)
    with pytest.raises(InputError, match=f"only {release} is under .*; ask for msmt17-v{release[-1]}"):
        benchmark("msmt17-v1" if release == "MSMT17_V2" else "msmt17-v2", tmp_path)
    (home / "list_val.txt").write_text("0001/0001.jpg\n")
    with pytest.raises(InputError, match=r"list_val\.txt, line 1: expected a line like"):
        benchmark(name, tmp_path)


def test_cuhk01(tmp_path):
    campus = tmp_path / "CUHK01" / "campus"
    pictures(campus, [f"{p:04d}{n:03d}.png" for p in range(1, 105) for n in (1, 2, 3, 4)])
    b = benchmark("cuhk01@2", tmp_path)
    assert b.protocol == SINGLE_SHOT
    assert [len(x.identities) for x in (b.train, b.query, b.gallery)] == [52, 52, 52]
    assert len(b.train) == 52 * 4
    assert not set(b.train.pids) & set(b.query.pids)
    assert set(b.query.pids) == set(b.gallery.pids)
    assert set(b.query.camids) == {1}
    assert set(b.gallery.camids) == {2}
    files = dict(zip((Path(f).name for f in b.sightings.files), zip(b.sightings.pids, b.sightings.camids)))
    assert files["0104002.png"] == (104, 1)
    assert files["0104003.png"] == (104, 2)
    assert benchmark("cuhk01@2", tmp_path).train.pids.tolist() == b.train.pids.tolist()
    assert benchmark("cuhk01@3", tmp_path).train.pids.tolist() != b.train.pids.tolist()
    hundred = benchmark("cuhk01-100", tmp_path)
    assert [len(x.identities) for x in (hundred.train, hundred.query)] == [4, 100]


def test_cuhk02(tmp_path):
    home = tmp_path / "cuhk02" / "Dataset"
    for pair in ("P1", "P2", "P3", "P4", "P5"):
        pictures(home / pair / "cam1", ["001_001.png", "004_001.png"])
        pictures(home / pair / "cam2", ["001_002.png", "004_002.png"])
    b = benchmark("cuhk02", tmp_path)
    # Each pair numbers its people separately.
    assert b.train.pids.tolist() == [1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6, 7, 8, 7, 8]
    assert b.train.camids.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8]
    assert table(b, "query") == [("001_001.png", 9, 9), ("004_001.png", 10, 9)]
    assert table(b, "gallery") == [("001_002.png", 9, 10), ("004_002.png", 10, 10)]


def test_viper(tmp_path):
    people = (0, 3, 5, 873)
    pictures(tmp_path / "VIPeR" / "cam_a", [f"{p:03d}_45.bmp" for p in people])
    pictures(tmp_path / "VIPeR" / "cam_b", [f"{p:03d}_90.bmp" for p in people])
    b = benchmark("viper@3", tmp_path)
    assert b.name == "viper@3"
    assert sorted({*b.train.pids, *b.query.pids}) == [1, 2, 3, 4]  # published numbers have gaps and start at 0
    assert sorted(b.train.camids) == [1, 1, 2, 2]
    assert b.query.pids.tolist() == b.gallery.pids.tolist()
    assert len(b.query) == 2
    assert (set(b.query.camids), set(b.gallery.camids)) == ({1}, {2})
    assert {Path(f).name[:3] for f in b.query.files} == {Path(f).name[:3] for f in b.gallery.files}
    (tmp_path / "VIPeR" / "cam_b" / "003_90.bmp").unlink()
    with pytest.raises(InputError, match="different people"):
        benchmark("viper", tmp_path)


def test_grid(tmp_path):
    home = tmp_path / "grid" / "underground_reid"
    pictures(home / "probe", [f"{p:04d}_1_25004_107_32_106_221.jpeg" for p in (1, 2, 3, 4)])
    pictures(home / "gallery", [f"{p:04d}_5_25023_116_134_128_330.jpeg" for p in (1, 2, 3, 4)])
    pictures(home / "gallery", ["0000_8_26000_1_1_1_1.jpeg"])
    cells = np.empty((1, 10), dtype=object)
    for i in range(10):
        one = np.empty((1, 1), dtype=[("a", object), ("b", object), ("trainIdx", object)])
        one[0, 0] = (np.zeros((1, 1)), np.zeros((1, 1)), np.array([[2, 3]] if i == 4 else [[1, 2]]))
        cells[0, i] = one
    scipy.io.savemat(home / "features_and_partitions.mat", {"trainIdxAll": cells})
    b = benchmark("grid@4", tmp_path)
    assert sorted(b.train.pids.tolist()) == [2, 2, 3, 3]
    assert sorted(b.train.camids.tolist()) == [1, 1, 5, 5]
    assert table(b, "query") == [(f"{p:04d}_1_25004_107_32_106_221.jpeg", p, 1) for p in (1, 4)]
    assert b.gallery.pids.tolist() == [0, 1, 4]
    assert b.gallery.camids.tolist() == [8, 5, 5]
    assert benchmark("grid@0", tmp_path).query.pids.tolist() == [3, 4]


def test_prid2011(tmp_path):
    views = tmp_path / "prid2011" / "prid_2011" / "single_shot"
    pictures(views / "cam_a", [f"person_{p:04d}.png" for p in (1, 2, 3, 4, 201)])
    pictures(views / "cam_b", [f"person_{p:04d}.png" for p in (1, 2, 3, 4, 201, 202)])
    b = benchmark("prid2011", tmp_path)
    assert len(b.train.identities) == 2
    assert len(b.train) == 4
    assert b.query.camids.tolist() == [1, 1]
    # Person 201 of view A is another than that of view B, so that it is no query.
    assert set(b.query.identities) == {1, 2, 3, 4} - set(b.train.identities)
    assert set(b.gallery.identities) == set(b.query.identities) | {201, 202}


def test_ilids(tmp_path):
    persons = tmp_path / "ilids" / "i-LIDS_Pedestrian" / "Persons"
    pictures(persons, [f"{p:04d}{n:03d}.jpg" for p in (1, 2, 3, 4, 119) for n in (1, 2, 3)])
    b = benchmark("ilids@1", tmp_path)
    assert b.protocol == NO_CAMERAS
    assert b.sightings.camids is None
    assert [len(x.identities) for x in (b.train, b.query, b.gallery)] == [2, 3, 3]
    assert [len(x) for x in (b.train, b.query, b.gallery)] == [6, 6, 3]
    assert not set(b.query.files) & set(b.gallery.files)
    assert not set(b.train.pids) & set(b.query.pids)


def test_sensereid(tmp_path):
    pictures(tmp_path / "SenseReID" / "test_probe", ["00000_0.jpg", "00012_1.jpg"])
    pictures(tmp_path / "SenseReID" / "test_gallery", ["00000_1.jpg", "01716_1.jpg"])
    b = benchmark("sensereid", tmp_path)
    assert len(b.train) == 0
    assert table(b, "query") == [("00000_0.jpg", 1, 1), ("00012_1.jpg", 13, 2)]
    assert table(b, "gallery") == [("00000_1.jpg", 1, 2), ("01716_1.jpg", 1717, 2)]


def test_occluded_reid(tmp_path):
    home = tmp_path / "Occluded_REID"
    pictures(home / "occluded_body_images", ["001/001_01.tif", "200/200_05.tif"])
    pictures(home / "whole_body_images", ["001/001_01.tif"])
    b = benchmark("occluded-reid", tmp_path)
    assert table(b, "query") == [("001_01.tif", 1, 1), ("200_05.tif", 200, 1)]
    assert table(b, "gallery") == [("001_01.tif", 1, 2)]


def test_partial_reid(tmp_path):
    home = tmp_path / "Partial-REID_Dataset"
    pictures(home / "partial_body_images", ["001_001.jpg"])
    pictures(home / "occluded_body_images", ["060_005.jpg"])
    pictures(home / "whole_body_images", ["001_001.jpg", "060_005.jpg"])
    assert table(benchmark("partial-reid", tmp_path), "query") == [("001_001.jpg", 1, 1)]
    b = benchmark("partial-reid-occluded", tmp_path)
    assert table(b, "query") == [("060_005.jpg", 60, 1)]
    assert table(b, "gallery") == [("001_001.jpg", 1, 2), ("060_005.jpg", 60, 2)]


def test_draw_is_seeded_and_sorted():
    people = np.array([5, 5, 9, 2, 7])
    assert len(layout.draw(people, 2, 0)) == 2
    assert layout.draw(people, 4, 1).tolist() == [2, 5, 7, 9]
    assert layout.draw(people, 2, 3).tolist() == layout.draw(people[::-1], 2, 3).tolist()
    assert len({tuple(layout.draw(np.arange(50), 25, s)) for s in range(10)}) == 10


# Joining -------------------------------------------------------------------------------------------------------------


def test_joined_sets_keep_people_and_cameras_apart(tmp_path):
    market(tmp_path / "market1501")
    pictures(tmp_path / "VIPeR" / "cam_a", [f"{p:03d}_45.bmp" for p in (1, 2, 3, 4)])
    pictures(tmp_path / "VIPeR" / "cam_b", [f"{p:03d}_90.bmp" for p in (1, 2, 3, 4)])
    b = benchmark("market1501+viper", tmp_path)
    assert b.name == "market1501+viper"
    assert (len(b.query), len(b.gallery)) == (0, 0)
    # Market: people 2, 2, 7 of cameras 1, 2, 1. VIPeR: two people in each of two views.
    assert b.train.pids.tolist() == [1, 1, 2, 3, 4, 3, 4]
    assert b.train.camids.tolist() == [1, 2, 1, 3, 3, 4, 4]
    assert b.train.sources.tolist() == ["market1501"] * 3 + ["viper"] * 4
    assert np.isnan(b.train.times).tolist() == [False] * 3 + [True] * 4


def test_different_sets_of_joints_are_joined_as_markets():
    from reidentify import Sightings

    def part(name, keypoints):
        split = np.full(1, "train", object)
        return Benchmark(name, Sightings(np.array([1]), keypoints=keypoints, split=split))

    coco = np.ones((1, 17, 3))
    coco[0, COCO17.index("left knee")] = 20, 90, 0.5
    b = join([part("market", np.full((1, 14, 3), 7.0)), part("coco", coco), part("none", None)])
    assert b.train.keypoints.shape == (3, 14, 3)
    assert (b.train.keypoints[0] == 7).all()
    assert b.train.keypoints[1, MARKET14.index("left knee")].tolist() == [20, 90, 0.5]
    assert np.isnan(b.train.keypoints[2]).all()
    alike = join([part("a", coco), part("b", coco)])
    assert alike.train.keypoints.shape == (2, 17, 3)
    with pytest.raises(InputError, match="which of 21 joints"):
        join([part("a", coco), part("hands", np.ones((1, 21, 3)))])


def test_what_cannot_be_joined_is_refused(tmp_path):
    market(tmp_path / "market1501")
    pictures(tmp_path / "SenseReID" / "test_probe", ["00000_0.jpg"])
    pictures(tmp_path / "SenseReID" / "test_gallery", ["00000_1.jpg"])
    with pytest.raises(InputError, match="sensereid: has no training images"):
        benchmark("market1501+sensereid", tmp_path)
    with pytest.raises(InputError, match="named twice"):
        benchmark("market1501+market1501", tmp_path)


def test_join_leaves_unknown_cameras_unknown():
    from reidentify import Sightings

    def part(name, pids, camids):
        return Benchmark(name, Sightings(np.array(pids), camids=camids, split=np.full(len(pids), "train", object)))

    b = join([part("a", [4, 4, 9], [7, -1, 7]), part("b", [4, 5], None), part("c", [1, 1], [7, 8])])
    assert b.train.pids.tolist() == [1, 1, 2, 3, 4, 5, 5]
    assert b.train.camids.tolist() == [1, -1, 1, -1, -1, 2, 3]


def test_people_of_one_set_that_another_tests_on():
    for trained, tested in (
        ("market1501", "mars"),
        ("mars", "market1501-tracklets"),
        ("street+market1501", "mars"),
        ("dukemtmcreid", "occluded-duke"),
        ("cuhk03-classic-labeled", "cuhk03-np-labeled"),
    ):
        assert trained_on_tested(trained, tested), (trained, tested)
    for trained, tested in (
        ("market1501", "market1501"),
        ("market1501", "market1501-tracklets"),
        ("viper", "viper@0"),
        ("street+market1501", "market1501"),
        ("msmt17", "mars"),
        ("", "mars"),
    ):
        assert not trained_on_tested(trained, tested), (trained, tested)
