"""DanceReID: built from a small annotation, frames and boxes in the published formats, and read back by hand."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import reidentify
from reidentify import InputError
from reidentify.cli import main
from reidentify.data.benchmarks import benchmark
from reidentify.data.benchmarks.dancereid import TEST, TRAIN, VIDEOS, first_people
from reidentify.data.benchmarks.dancereid_build import build, crop_of, read_boxes, resized_points
from reidentify.data.inspect import stats
from reidentify.data.root import data_root
from reidentify.errors import ReidentifyWarning
from reidentify.ranking.evaluate import match_sightings
from reidentify.ranking.protocol import DANCEREID, DANCEREID_STRICT

ONLY_DISJOINT, BOTH, LEAKED, TESTED = "T4vr8mA4hoY", "Js76pyw4UDk", "qz2311gT1y4", "7jRvxkYuYvk"
"""Videos of the people 12 to 16, 17 to 19, 35 to 39 and 97 to 99."""
HEIGHT, WIDTH, FRAMES = 40, 60, 12
POSE = np.stack([10.0 + np.arange(17), 8.0 + np.arange(17)], axis=1)


def box(person: int) -> dict[str, Any]:
    """A box of 10 x 20 pixels, farther right for each person; the first joint was not found."""
    pose = POSE.copy()
    pose[0] = 0
    return {"id": person + 1, "box_pos": [10.0 + person, 20.0 + person, 8, 28], "pose_pos": pose}


def frame(number: int) -> Image.Image:
    """Red tells x, green y, blue the number."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray(np.stack([4 * x, 6 * y, np.full_like(x, 20 * number)], axis=2).astype(np.uint8))


def save_boxes(path: Path, table: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    np.save(path, table, allow_pickle=True)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Annotation, frames and boxes of four videos; person 0 of each is not valid in frame 5."""
    annotation = {"v2l473JQhqk": {"0": [0, 5]}}  # one of the twelve videos that are not of the set
    for video in (TESTED, BOTH, LEAKED, ONLY_DISJOINT):  # the order of files decides nothing
        frames = [*range(FRAMES)]
        annotation[video] = {str(p): frames if p else [f for f in frames if f != 5] for p in range(VIDEOS[video])}
        folder = tmp_path / "frames" / f"000_{video}"
        folder.mkdir(parents=True)
        for number in frames:
            frame(number).save(folder / f"{number:06d}.png")
        table = {number: {b: box(b) for b in range(VIDEOS[video])} for number in frames}
        save_boxes(tmp_path / "npy" / f"track_{video}.npy", table)
    (tmp_path / "annotation.json").write_text(json.dumps(annotation))
    return tmp_path


def made(sources: Path, out: str = "DanceReID") -> Path:
    build(sources / "annotation.json", sources / "frames", sources / "npy", sources / out, progress=False)
    return sources / out


MISSING = "ZhuDSdmby8k, FvfBGRSycQQ, O0Y5ewoMOjU"


def test_what_is_built_is_read(sources: Path) -> None:
    made(sources)
    with pytest.warns(ReidentifyWarning, match=f"17 of its 21 videos are missing: {MISSING}"):
        b = benchmark("dancereid", sources)
    # Frames 0, 5 and 10 are kept. 12 to 16 and 17 to 19 train, 35 to 39 and 97 to 99 are tested; numbers from 1.
    assert b.train.identities.tolist() == [*range(13, 21)]
    assert b.query.identities.tolist() == [*range(36, 41), 98, 99, 100]
    assert len(b.train) == 8 * 3 - 2
    assert len(b.query) == len(b.gallery) == 8 * 3 - 2
    first = b.train[b.train.pids == 13]
    assert first.frames.tolist() == [0, 10]
    assert b.train[b.train.pids == 14].frames.tolist() == [0, 5, 10]
    np.testing.assert_allclose(b.train[b.train.pids == 14].times, [0, 5 / 30, 10 / 30])
    assert {int(c): sorted(set(b.train.pids[b.train.camids == c])) for c in set(b.train.camids)} == {
        3: [13, 14, 15, 16, 17],
        4: [18, 19, 20],
    }
    assert sorted(set(b.query.camids)) == [9, 21]
    assert b.protocol == DANCEREID
    assert Path(first.files[1]).name == "0012_000010.jpg"
    assert {c.split: (c.identities, c.rows, c.cameras) for c in stats(b).splits} == {
        "train": (8, 22, 2),
        "query": (8, 22, 2),
    }


@pytest.mark.filterwarnings("ignore:DanceReID")
def test_the_published_split_leaks_and_the_default_does_not(sources: Path) -> None:
    made(sources)
    b, leaking = benchmark("dancereid", sources), benchmark("dancereid-published", sources)
    assert not set(b.train.identities) & set(b.query.identities)
    assert leaking.train.identities.tolist() == [18, 19, 20, *range(36, 41)]
    assert set(leaking.train.identities) & set(leaking.query.identities) == {*range(36, 41)}
    assert leaking.query.files.tolist() == b.query.files.tolist()
    assert "35 to 39" in leaking.facts.notes
    assert not set(TRAIN[None]) & set(TEST)
    assert sorted((*TRAIN[None], *TEST)) == list(range(100))
    assert set(TRAIN["published"]) & set(TEST) == {*range(35, 40)}
    assert sum(VIDEOS.values()) == 100


@pytest.mark.filterwarnings("ignore:DanceReID")
def test_crops_and_joints_by_hand(sources: Path) -> None:
    """Person 2: x 12 to 22, y 8 to 28 is twice as high as wide already; 12.8 of the crop for 1 of the frame."""
    made(sources)
    rows = benchmark("dancereid", sources).train
    place = np.flatnonzero((rows.pids == 15) & (rows.frames == 5))[0]
    crop = np.asarray(Image.open(rows.files[place]).convert("RGB")).astype(int)
    assert crop.shape == (256, 128, 3)
    assert abs(crop[..., 2] - 100).max() <= 6  # frame 5, but for JPEG
    for y, x in ((6, 6), (128, 64), (249, 121)):
        expected = [4 * (12 + (x + 0.5) / 12.8 - 0.5), 6 * (8 + (y + 0.5) / 12.8 - 0.5)]
        assert abs(crop[y, x, :2] - expected).max() <= 4
    joints = rows.keypoints[place]
    assert joints[0].tolist() == [-1, -1, 0]  # not found
    np.testing.assert_allclose(joints[1], [(11 - 12 + 0.5) * 12.8 - 0.5, (9 - 8 + 0.5) * 12.8 - 0.5, 0], atol=0.01)
    np.testing.assert_allclose(joints[2], [(12 - 12 + 0.5) * 12.8 - 0.5, (10 - 8 + 0.5) * 12.8 - 0.5, 1], atol=0.01)
    assert joints[12:, 2].tolist() == [0, 0, 0, 0, 0]  # beyond the right edge of the crop
    assert joints[2:11, 2].all()


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((20, 30, 10, 30), (20, 10, 30, 30)),  # as it is
        ((20, 30, 15, 25), (20, 10, 30, 30)),  # a square becomes higher
        ((20, 24, 10, 30), (17, 10, 27, 30)),  # a narrow one wider
        ((20, 30, 0, 10), (20, 0, 30, 20)),  # moved into the frame
        ((55, 61, 20, 32), (54, 20, 60, 32)),
        ((0, 40, 0, 40), (0, 0, 40, 40)),  # cut where the frame is not high enough for 40 x 80
    ],
)
def test_boxes_become_twice_as_high_as_wide(corners: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert crop_of(np.array(corners, float), (HEIGHT, WIDTH)) == expected


def test_each_coordinate_has_its_own_scale() -> None:
    """The published script scales x by the factor of y; in a crop of 40 x 40 they are 3.2 and 6.4."""
    points = resized_points(np.array([[10.0, 10.0], [0.0, 5.0]]), (0, 0, 40, 40))
    np.testing.assert_allclose(points, [[10.5 * 3.2 - 0.5, 10.5 * 6.4 - 0.5], [-1, -1]])


@pytest.mark.filterwarnings("ignore:DanceReID")
def test_a_set_of_the_published_script_is_numbered_by_the_table(sources: Path) -> None:
    """It counts the videos that it finds, writes split.json, and puts all images into one folder."""
    home = made(sources)
    b = benchmark("dancereid", sources)
    meta, other = json.loads((home / "meta.json").read_text()), sources / "other" / "DanceReID"
    identities, videos = [], {}
    (other / "images").mkdir(parents=True)
    (other / "poses").mkdir()
    for video in (ONLY_DISJOINT, BOTH, LEAKED, TESTED):
        first = first_people()[video]
        videos[video] = list(range(len(identities), len(identities) + VIDEOS[video]))
        for names in meta["identities"][first : first + VIDEOS[video]]:
            renamed = [f"{len(identities):04d}_{Path(name).stem.split('_')[1]}.jpg" for name in names]
            for name, new in zip(names, renamed):
                os.link(home / "images" / name, other / "images" / new)
                os.link((home / "poses" / name).with_suffix(".txt"), (other / "poses" / new).with_suffix(".txt"))
            identities.append(renamed)
    stated = {"trainval": [*range(17, 88)], "query": [*TEST], "gallery": [*TEST]}
    for name, content in (("meta", {"identities": identities}), ("video", videos), ("split", [stated])):
        (other / f"{name}.json").write_text(json.dumps(content))
    again = benchmark("dancereid", sources / "other")
    assert again.train.files[0].endswith("images/0000_000000.jpg")
    for column in ("pids", "camids", "frames", "times", "keypoints", "split"):
        np.testing.assert_array_equal(getattr(again.sightings, column), getattr(b.sightings, column))
    (other / "split.json").write_text(json.dumps([{**stated, "trainval": [1, 2]}]))
    with pytest.raises(InputError, match=r"split\.json: states a split of its own"):
        benchmark("dancereid", sources / "other")


@pytest.mark.filterwarnings("ignore:DanceReID")
def test_it_is_evaluated_by_its_protocols(sources: Path) -> None:
    b = benchmark("dancereid", made(sources))
    vectors = np.random.default_rng(0).normal(size=(len(b.query), 8)).astype(np.float32)
    embeddings = reidentify.Embeddings(vectors, b.query)
    result = reidentify.evaluate(embeddings, embeddings, b.protocol)
    assert result.matches.tolist() == [n - 1 for n in (2, 2, *[3] * 12, 2, 2, *[3] * 6)]
    assert result.first_rank.shape == (22, 10)
    assert result.first_rank.max() <= 8  # one image of each of eight people
    found = match_sightings(b.query, b.gallery, DANCEREID_STRICT)  # all is within a third of a second
    with pytest.raises(InputError, match="every match is within 4 seconds"):
        found.require()
    rows, held = b.holdout(0.5)
    assert len(held.query) == len(held.query.identities) == 4  # although each person is before one camera only
    assert not set(rows.identities) & set(held.query.identities)


class Evil:
    """What runs a command when it is unpickled, as it is usually done."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_boxes_run_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made-by-a-pickle"
    save_boxes(tmp_path / "npy" / "a.npy", {0: {0: Evil(target)}})
    with pytest.raises(InputError, match=r"a\.npy: cannot be read as boxes .*it holds posix\.mkdir, which is neither"):
        read_boxes(tmp_path / "npy" / "a.npy")
    assert not target.exists()
    np.load(tmp_path / "npy" / "a.npy", allow_pickle=True)  # which is why
    assert target.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_boxes_of_every_pickle_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    """Numbers as NumPy makes them, tables of several kinds, and every version that pickled arrays come in."""
    table = {np.int64(0): {1: {"id": np.int32(2), "box_pos": (np.float32(1.5), 2, 3, 4), "pose_pos": POSE}}, 1: {}}
    with (tmp_path / "a.npy").open("wb") as file:
        array = np.empty((), object)
        array[()] = table
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        pickle.dump(array, file, protocol)
    read = read_boxes(tmp_path / "a.npy")
    assert list(read) == [0, 1]
    assert read[0][1]["id"] == 2
    assert read[0][1]["box_pos"][0] == 1.5
    np.testing.assert_array_equal(read[0][1]["pose_pos"], POSE)


def test_files_that_are_no_boxes_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "text.npy").write_text("no array")
    save_boxes(tmp_path / "cut.npy", {0: {0: box(0)}})
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-40])
    save_boxes(tmp_path / "list.npy", np.array([{0: {}}], object))
    for name in ("array", "text", "cut", "list"):
        with pytest.raises(InputError, match=rf"{name}\.npy: cannot be read as boxes of frames"):
            read_boxes(tmp_path / f"{name}.npy")


def test_what_cannot_be_built_is_said(sources: Path) -> None:
    folder = sources / "frames" / f"000_{BOTH}"
    (folder / "000005.png").rename(sources / "away.png")
    with pytest.raises(InputError, match="frame 5 is annotated and not among the images"):
        made(sources)
    for number in reversed(range(FRAMES)):
        if number != 5:
            (folder / f"{number:06d}.png").rename(folder / f"{number + 1:06d}.png")
    with pytest.raises(InputError, match="has no frame 0; frames are counted from 0, as with ffmpeg"):
        made(sources)
    annotation = json.loads((sources / "annotation.json").read_text())
    (sources / "annotation.json").write_text(json.dumps({**annotation, BOTH: {"0": [0]}}))
    with pytest.raises(InputError, match="names 1 people of the video Js76pyw4UDk, which shows 3"):
        made(sources)
    (sources / "annotation.json").write_text(json.dumps({"v2l473JQhqk": {"0": [0]}}))
    with pytest.raises(
        InputError, match=r"of no video are .* at hand: ZhuDSdmby8k \(no frames and no boxes and no ann"
    ):
        made(sources)
    (sources / "annotation.json").write_text("[")
    with pytest.raises(InputError, match=r"annotation\.json: not the annotation of DanceReID"):
        made(sources)


def test_frames_of_another_rate_are_refused(sources: Path) -> None:
    """Twice as many frames, or half of them: every one that is needed may be there, each at the wrong moment."""
    folder = sources / "frames" / f"000_{BOTH}"
    for number in range(FRAMES, 2 * FRAMES):
        frame(number % 12).save(folder / f"{number:06d}.png")
    with pytest.raises(InputError, match=rf"images up to frame 23 and track_{BOTH}\.npy boxes up to frame 11.*passthr"):
        made(sources)
    for number in range(6, 2 * FRAMES):
        (folder / f"{number:06d}.png").unlink()
    with pytest.raises(InputError, match=r"images up to frame 5 and .* boxes up to frame 11"):
        made(sources)
    assert not (sources / "DanceReID" / "meta.json").exists()


@pytest.mark.filterwarnings("ignore:DanceReID")
def test_every_fifth_frame_alone_is_enough(sources: Path) -> None:
    for path in (sources / "frames").rglob("*.png"):
        if int(path.stem) % 5:
            path.unlink()
    assert len(benchmark("dancereid", made(sources)).sightings) == 44


def test_boxes_of_those_who_do_not_count_may_make_no_sense(sources: Path) -> None:
    """Person 0 is not valid in frame 5, and nobody is person 9."""
    path = sources / "npy" / f"track_{BOTH}.npy"
    table = read_boxes(path)
    table[5][0]["box_pos"] = [20, 10, np.nan, 28]
    table[5][9] = {"id": 10}
    save_boxes(path, table)
    assert (made(sources) / "meta.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_pos": [20, 10, 8, 28]}, "frame 5 has a box without an extent"),
        ({"pose_pos": np.zeros((14, 2))}, "frame 5 has a box that cannot be read"),
        ({"id": "x"}, "frame 5 has a box of nobody"),
        ({"id": 2}, "frame 5 has two boxes of person 1"),
    ],
)
def test_boxes_that_make_no_sense_are_named(sources: Path, changes: dict[str, Any], message: str) -> None:
    path = sources / "npy" / f"track_{BOTH}.npy"
    table = read_boxes(path)
    table[5][2] |= changes
    save_boxes(path, table)
    with pytest.raises(InputError, match=message):
        made(sources)
    assert not (sources / "DanceReID" / "meta.json").exists()  # half a set is never taken for a whole one


def test_boxes_that_are_annotated_and_not_there_are_counted(sources: Path) -> None:
    path = sources / "npy" / f"track_{BOTH}.npy"
    table = read_boxes(path)
    del table[5][2]
    save_boxes(path, table)
    said = build(sources / "annotation.json", sources / "frames", sources / "npy", sources / "out", progress=False)
    assert "43 images of 16 people in 4 of 21 videos; 1 images that are annotated have no box; missing: ZhuD" in said


def test_the_command(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(sources / "annotation.json"), "--frames", str(sources / "frames"), "--boxes", str(sources / "npy")]
    out = sources / "DanceReID"
    assert main(["data", "dancereid", *arguments, "--out", str(out)]) == 0
    assert "44 images of 16 people in 4 of 21 videos; missing: ZhuDSdmby8k (no frames and no" in capsys.readouterr().out
    assert main(["data", "dancereid", *arguments, "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"error: {out}: holds a data set already; give another folder\n"
    assert main(["data", "stats", "dancereid", "--root", str(sources)]) == 0
    shown = capsys.readouterr()
    assert "17 of its 21 videos are missing" in shown.err
    assert "train" in shown.out


@pytest.mark.real
def test_the_counts_of_the_real_annotation() -> None:
    """README: 31,643 and 19,526 images, which are those of the split that leaks."""
    path = data_root() / "dancereid" / "annotation.json"
    if not path.is_file():
        pytest.skip(f"the annotation of DanceReID is not under {data_root()}")
    annotation = json.loads(path.read_text())
    kept = [
        sum(number % 5 == 0 for number in annotation[video][str(person)])
        for video, people in VIDEOS.items()
        for person in range(people)
    ]
    assert all(len(annotation[video]) == people for video, people in VIDEOS.items())
    counts = [sum(kept[person] for person in people) for people in (TRAIN["published"], TEST, TRAIN[None])]
    assert counts == [31_643, 19_526, 34_754]
    for name, train in (("dancereid", 34_754), ("dancereid-published", 31_643)):
        facts = reidentify.data.benchmarks.facts(name)
        assert [facts.counts[split].images for split in ("train", "query")] == [train, 19_526]
