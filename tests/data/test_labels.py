"""Attribute labels on small files in the published formats, and Market-1501's attributes from drawn joints."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat
from synthetic import pictures

from reidentify.data.attributes import Columns, Schema, majority, read_identities
from reidentify.data.benchmarks import benchmark, dukemtmc_attributes, market1501_attributes, mars_attributes
from reidentify.data.benchmarks.market1501_attributes import derive
from reidentify.errors import InputError, ReidentifyWarning
from reidentify.ranking.evaluate import evaluate
from reidentify.ranking.protocol import PROTOCOLS
from reidentify.values import Embeddings

V1 = "person-id,camera,tracklet,Tops.c,Bottoms.c,Age,Tops.l,Bottoms.l,shoulder bag,backpack,hat,handbag,hair,gender,B.t"
V2 = "person_id,camera_id,tracklets_id,action,angle,o,c,m,b,tc,tm,w," + V1.split(",", 3)[3]


def table(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\r\n".join((*lines, "")).encode(encoding))
    return path


def keys(*rows: tuple[int, int, int]) -> list[np.ndarray]:
    return list(np.array(rows, np.int64).T)


# Tables of tracklets -------------------------------------------------------------------------------------------------


def test_mars_version_1(tmp_path):
    path = table(tmp_path / "a.csv", V1, "1,2,58,8,0,1,1,1,0,0,0,0,1,1,0", "7,3,4,5,9,3,0,1,1,0,,1,0,0,1")
    with pytest.raises(InputError, match="labels none of the 1 rows of identities, identity 9, camera 1, tracklet 1"):
        mars_attributes.read(path, *keys((9, 1, 1), (0, 2, 58)))
    said = "no labels for 1 of 3 rows of identities, identity 1, camera 2, tracklet 59 the first"
    with pytest.warns(ReidentifyWarning, match=said):
        columns, schema = mars_attributes.read(path, *keys((7, 3, 4), (0, 1, 1), (1, 2, 58), (1, 2, 59), (-1, 2, 58)))
    named = {a.name: [None if v < 0 else a.values[v] for v in columns[a.name]] for a in schema}
    assert list(named) == [
        "upper_colour", "lower_colour", "age", "sleeve", "lower_length", "bag", "backpack", "hat", "handbag", "hair",
        "gender", "lower_type",
    ]  # fmt: skip
    assert all(a.identity for a in schema)
    assert named["upper_colour"] == ["white", None, "complex", None, None]
    assert named["lower_colour"] == ["complex", None, "white", None, None]
    assert named["age"] == ["old", None, "teenager", None, None]
    assert named["sleeve"] == ["long", None, "short", None, None]
    assert named["hat"] == [None, None, "no", None, None]  # an empty cell
    assert named["gender"] == ["male", None, "female", None, None]
    assert named["lower_type"] == ["pants", None, "dress", None, None]


def test_mars_version_2_in_gbk(tmp_path):
    heading = V2.replace("action", "动作")
    path = table(tmp_path / "a.csv", heading, "1,2,58,4,5,0,1,0,0,0,0,1,8,0,1,1,1,0,0,0,0,1,1,0", encoding="gbk")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        columns, schema = mars_attributes.read(path, *keys((1, 2, 58), (0, 2, 58)))  # a distractor has no labels
    assert [a.name for a in schema if not a.identity] == [
        "action", "angle", "occlusion", "cut", "multi_person", "back_dominant", "target_change", "target_miss",
        "wrong_target",
    ]  # fmt: skip
    assert sum(len(a.values) for a in schema if not a.identity) == 25
    assert sum(len(a.values) for a in schema if a.identity) == 41
    assert [columns[a.name].tolist() for a in schema] == [
        [v, -1] for v in (4, 5, 0, 1, 0, 0, 0, 0, 1, 8, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0)
    ]


def test_duke_tracklets(tmp_path):
    heading = "person_id,camera_id,tracklets_id," + ",".join("abcdefghijklmnopqrs")
    path = table(tmp_path / "d.csv", "\ufeff" + heading, "640,1,1000,0,5,1,0,0,0,0,0,0,1,0,0,1,1,0,0,1,7,8")
    columns, schema = dukemtmc_attributes.read(path, *keys((640, 1, 1000)))
    assert sum(len(a.values) for a in schema if a.identity) == 33
    assert sum(len(a.values) for a in schema if not a.identity) == 25
    said = {a.name: a.values[columns[a.name][0]] for a in schema}
    assert (said["angle"], said["occlusion"], said["lower_colour"]) == ("angle 5", "yes", "lower colour 7")
    assert (said["backpack"], said["boots"], said["upper_length"]) == ("yes", "yes", "long")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((V1, "1,2,58,9,0,1,1,1,0,0,0,0,1,1,0"), r"a\.csv line 2: upper_colour has the unknown value '9'; .* 0 to 8"),
        ((V1, "1,2,58,8,0,1,1,1,0,0,0,0,1,yes,0"), "line 2: gender has the unknown value 'yes'"),
        ((V1, "1,2,58,8,0,1,1,1,0,0,0,0,1,1"), "line 2: has 14 cells, and the headings 15"),
        ((V1, "a,2,58,8,0,1,1,1,0,0,0,0,1,1,0"), "line 2: expected the numbers of identity, camera, tracklet"),
        ((V1, "1,2,3,8,0,1,1,1,0,0,0,0,1,1,0", "1,2,3,7,0,1,1,1,0,0,0,0,1,1,0"),
         "line 3: labels identity 1, camera 2, tracklet 3 a second time, and differently"),
        (("1,2,58,8,0,1,1,1,0,0,0,0,1,1,0",), "headings for identity, camera, tracklet and 12 or 21"),
        (("person,camera,colour",), "and 12 or 21 attributes, got person, camera, colour"),
        ((), "got an empty file"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_refused_by_its_line(lines, message, tmp_path):
    path = table(tmp_path / "a.csv", *lines)
    with pytest.raises(InputError, match=message):
        mars_attributes.read(path, *keys((1, 2, 58)))


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        mars_attributes.read(tmp_path / "none.csv", *keys((1, 2, 58)))
    (tmp_path / "a.csv").write_bytes(b"\xff\xff\xff")
    with pytest.raises(InputError, match="neither UTF-8 nor GBK"):
        mars_attributes.read(tmp_path / "a.csv", *keys((1, 2, 58)))


# Tables of identities ------------------------------------------------------------------------------------------------


def identities(path: Path, struct: str, fields, train: dict[int, dict[str, int]], test: dict[int, dict[str, int]]):
    """A file in the published format; columns that are not given have the value 1."""
    parts = {}
    for name, people in (("train", train), ("test", test)):
        columns = {f: [p.get(f, 1) for p in people.values()] for names in fields.values() for f in names}
        part = {f: np.array(v, np.uint8) for f, v in columns.items()}
        part["image_index"] = np.array([f"{pid:04d}" for pid in people], object)
        parts[name] = part
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {struct: parts})
    return path


def market_attributes(path: Path, **changes: int) -> Path:
    train = {2: {"age": 3, "upred": 2, "gender": 2, **changes}, 7: {"upred": 2, "upblue": 2, "downbrown": 2}}
    return identities(path, "market_attribute", market1501_attributes.FIELDS, train, {1: {"age": 4, "down": 2}})


def read_market(path: Path, pids: NDArray[np.int64]) -> tuple[Columns, Schema]:
    return read_identities(path, market1501_attributes.STRUCT, market1501_attributes.FIELDS, pids)


def test_market_attributes(tmp_path):
    path = market_attributes(tmp_path / "market_attribute.mat")
    with pytest.warns(ReidentifyWarning, match="no labels for 1 of 4 rows"):
        columns, schema = read_market(path, np.array([7, 2, 1, -1, 0, 99]))
    assert len(columns) == len(schema) == 12
    assert sum(len(names) for names in market1501_attributes.FIELDS.values()) == 27
    named = {a.name: [None if v < 0 else a.values[v] for v in columns[a.name]] for a in schema}
    nothing = [None, None, None]
    assert named["age"] == ["young", "adult", "old", *nothing]
    assert named["gender"] == ["male", "female", "male", *nothing]
    assert named["lower_length"] == ["long", "long", "short", *nothing]
    assert named["upper_colour"] == ["other", "red", "other", *nothing]  # two colours, one, none
    assert named["lower_colour"] == ["brown", "other", "other", *nothing]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": 5}, "identity 0002 has the value 5 of age; expected 1 to 4"),
        ({"hat": 0}, "value 0 of hat; expected 1 to 2"),
    ],
)
def test_market_attributes_with_an_unknown_value(changes, message, tmp_path):
    path = market_attributes(tmp_path / "m.mat", **changes)
    with pytest.raises(InputError, match=message):
        read_market(path, np.array([1]))


def test_market_attributes_of_another_format(tmp_path):
    savemat(tmp_path / "m.mat", {"market_attribute": {"train": {"age": [1]}, "test": {}}})
    with pytest.raises(InputError, match="not the published attributes in market_attribute"):
        read_market(tmp_path / "m.mat", np.array([1]))
    whole = market_attributes(tmp_path / "m.mat").read_bytes()
    for content in (b"no MATLAB file at all", whole[:1000]):
        (tmp_path / "m.mat").write_bytes(content)
        with pytest.raises(InputError, match=r"m\.mat: cannot be read as a MATLAB file"):
            read_market(tmp_path / "m.mat", np.array([1]))


def test_duke_images_have_their_attributes(tmp_path):
    home = tmp_path / "DukeMTMC-reID"
    pictures(home / "bounding_box_train", ["0001_c2_f0046182.jpg"])
    pictures(home / "query", ["0005_c5_f0000001.jpg"])
    pictures(home / "bounding_box_test", ["0005_c8_f0000060.jpg"])
    assert benchmark("dukemtmcreid", tmp_path).schema == ()
    people = {1: {"top": 2, "upbrown": 2}}, {5: {"shoes": 2, "downred": 2}}
    assert sum(len(names) for names in dukemtmc_attributes.FIELDS.values()) == 23
    identities(home / "attribute" / "duke_attribute.mat", "duke_attribute", dukemtmc_attributes.FIELDS, *people)
    b = benchmark("dukemtmcreid", tmp_path)
    said = {a.name: [a.values[v] for v in b.sightings.attributes[a.name]] for a in b.schema}
    assert said["upper_length"] == ["long", "short", "short"]
    assert said["upper_colour"] == ["brown", "other", "other"]
    assert said["lower_colour"] == ["other", "red", "red"]
    assert said["shoes"] == ["dark", "light", "light"]


# What joints say -----------------------------------------------------------------------------------------------------


def person(turn: float, stride: float = 40.0, ankles: float = 115.0) -> np.ndarray:
    """14 joints of someone who is seen from the front at 0 degrees, from the right side at 90, and walks straight on.

    Built in three dimensions: across (to the person's left), forward, and down, then turned about the upright axis.
    """
    middle = (60 + ankles) / 2
    joints = [(0, 4, 4), (0, 0, 20)]  # head, neck
    for side in (-1, 1):
        joints += [(17 * side, 0, 25), (18 * side, -4, 43), (18 * side, 8, 58)]  # the elbow points back
    for side in (-1, 1):
        foot = side * stride / 2
        joints += [(10 * side, 0, 64), (9 * side, foot / 2 + 6, middle), (8 * side, foot, ankles)]  # the knee forward
    across, forward, down = np.array(joints, float).T
    angle = np.radians(turn)
    x = 32 + across * np.cos(angle) + forward * np.sin(angle)
    return np.stack([x, down, np.ones(14)], axis=1).astype(np.float32)


def test_orientation():
    turns = [0, 20, 340, 180, 160, 200, 90, 110, 70, 270, 250, 290]
    found = derive(np.stack([person(t) for t in turns]))["orientation"]
    values = market1501_attributes.ORIENTATION.values
    # Turned by 90 degrees the person faces the right of the image, and the camera sees the right side.
    assert [values[v] for v in found] == ["front"] * 3 + ["back"] * 3 + ["right"] * 3 + ["left"] * 3


def test_a_mirrored_image_shows_the_other_side():
    seen = person(90)
    mirrored = seen.copy()
    mirrored[:, 0] = 63 - mirrored[:, 0]
    swapped = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10]  # what was the right arm is now the left
    both = derive(np.stack([seen, mirrored[swapped]]))["orientation"]
    assert both.tolist() == [3, 2]


@pytest.mark.parametrize("joints", [{0: 20}, {4: 20, 7: 20, 3: 10, 6: 10}, {9: 20, 12: 20}, {3: -20, 6: -20}])
def test_head_wrists_knees_and_elbows_each_tell_where_a_person_faces(joints):
    still = person(0)
    still[:, 0] = 32  # straight as a post: nothing tells
    still[:, 1] = [4, 20, 25, 43, 61, 25, 43, 61, 64, 90, 116, 64, 90, 116]
    right, left = still.copy(), still.copy()
    for joint, shift in joints.items():
        right[joint, 0] += shift
        left[joint, 0] -= shift
    assert derive(np.stack([still, right, left]))["orientation"].tolist() == [-1, 3, 2]


def test_truncation_and_legs():
    rows = [
        person(90, stride=40),  # 40 pixels over a leg of 51
        person(90, stride=10),
        person(90, stride=20),  # 0.39: neither
        person(90, stride=2),  # both ankles on one foot
        person(90, stride=40, ankles=127),
        person(90, stride=40, ankles=124),
    ]
    found = derive(np.stack(rows))
    assert found["legs"].tolist() == [1, 0, -1, -1, -1, -1]
    assert found["truncation"].tolist() == [0, 0, 0, 0, 1, -1]


def test_joints_that_say_nothing():
    unseen, flat, unknown = person(0), person(0), np.full_like(person(0), np.nan)
    unseen[3, 2] = 0
    flat[:, 1] = 60
    found = derive(np.stack([unseen, flat, unknown]))
    assert all((values == -1).all() for values in found.values())


def test_majority():
    values = np.array([1, 1, 0, -1, -1, 2, 0, 0, 2, 2, -1])
    # Rows: 1 1 0 | - | - 2 | 0 0 2 2 -
    assert majority(values, np.array([0, 3, 4, 6, 11]), 3).tolist() == [1, -1, 2, -1]


# Market-1501 as tracklets --------------------------------------------------------------------------------------------

NAMES = {
    "bounding_box_train": [
        "0002_c1s1_000451_03.jpg", "0002_c1s1_99_01.jpg", "0002_c1s2_000010_01.jpg", "0007_c1s1_000100_00.jpg",
        "0002_c1s1_000451_1.jpg",
    ],
    "query": ["0001_c1s1_001051_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg", "0000_c5s2_000001_02.jpg", "0001_c1s1_000551_00.jpg", "0001_c3s1_000600_00.jpg",
        "0001_c3s1_000700_00.jpg", "0003_c1s1_000001_00.jpg", "0003_c1s2_000001_00.jpg",
    ],
}  # fmt: skip


@pytest.fixture
def market(tmp_path: Path) -> Path:
    for folder, names in NAMES.items():
        pictures(tmp_path / "Market-1501-v15.09.15" / folder, names)
    return tmp_path


def shown(rows) -> list[tuple[int, int, list[str]]]:
    files = [Path(f).stem for f in rows.files]
    return [(int(p), int(c), files[a:b]) for p, c, a, b in zip(rows.pids, rows.camids, rows.offsets, rows.offsets[1:])]


def test_tracklets(market):
    b = benchmark("market1501-tracklets", market)
    assert shown(b.train) == [
        (2, 1, ["0002_c1s1_99_01", "0002_c1s1_000451_1", "0002_c1s1_000451_03"]),
        (2, 1, ["0002_c1s2_000010_01"]),
        (7, 1, ["0007_c1s1_000100_00"]),
    ]
    test = [
        (1, 1, ["0001_c1s1_000551_00"]),
        (1, 3, ["0001_c3s1_000600_00", "0001_c3s1_000700_00"]),
        (3, 1, ["0003_c1s1_000001_00"]),
        (3, 1, ["0003_c1s2_000001_00"]),
    ]
    assert shown(b.query) == shown(b.gallery) == test
    np.testing.assert_allclose(b.train.times, [99 / 25, 451 / 25, 451 / 25, (72_681 + 10) / 25, 100 / 25])
    assert b.train.frames.tolist() == [99, 451, 451, 10, 100]
    assert b.protocol == PROTOCOLS["market1501-tracklets"]
    assert (b.schema, b.sightings.keypoints) == ((), None)
    b.require_sides()


def test_tracklets_are_scored_by_their_protocol(market):
    """Of four tracklets in the gallery, each ignores those of its own identity and camera, itself among them."""
    b = benchmark("market1501-tracklets", market)
    angles = np.radians([0, 50, 10, 90])  # identity 1 in cameras 1 and 3, identity 3 twice in camera 1
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    result = evaluate(Embeddings(vectors, b.query), Embeddings(vectors, b.gallery), b.protocol)
    assert (result.queries, result.gallery) == (4, 4)
    # Query 0 (at 0): candidates 10 (wrong), 50 (right), 90 -> rank 2. Query 1 (at 50): candidates 10 and 90 (both
    # wrong, 40 away), 0 (right) -> rank 3. Identity 3 was seen by one camera only: no match.
    assert result.first_rank.tolist() == [2, 3, 0, 0]
    assert result.mAP == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_tracklets_have_joints_and_attributes(market):
    folder = market / "market1501-annotations"
    market_attributes(folder / "market_attribute.mat")
    away, towards, aslant = person(180), person(0), person(20)
    # In sorted order of the names, which is another than that of the frames.
    rows = {"train": [aslant, towards, away, away, away], "gallery": [towards] * 7}
    for split, joints in rows.items():
        flat = np.stack([np.concatenate([j[:, 0], j[:, 1]]) for j in joints])
        with h5py.File(folder / f"market1501_14point_{split}.mat", "w") as file:
            file["pp"] = flat + 1  # they count pixels from 1
    with pytest.warns(ReidentifyWarning, match="no labels for 2 of 7 rows of identities"):  # identity 3
        b = benchmark("market1501-tracklets", market)
    assert [a.name for a in b.schema if not a.identity] == ["orientation", "truncation", "legs"]
    np.testing.assert_allclose(b.train.keypoints[:3], [away, towards, aslant], atol=1e-5)
    assert b.train.attributes["orientation"].tolist() == [0, 1, 1]  # away, towards, aslant: mostly the front
    assert b.query.attributes["orientation"].tolist() == [0, 0, 0, 0]
    age = b.sightings.attributes["age"].tolist()
    assert age == [2, 2, 0, 3, 3, -1, -1]
    with pytest.warns(ReidentifyWarning, match="market_attribute"):
        images = benchmark("market1501", market)
    assert images.schema == b.schema
    sides = dict(zip([Path(f).stem for f in images.sightings.files], images.sightings.attributes["orientation"]))
    assert sides["0002_c1s1_99_01"] == 1
    assert sides["-1_c1s1_000401_03"] == sides["0000_c5s2_000001_02"] == -1  # junk and distractors show nobody
    assert sides["0001_c1s1_001051_00"] == -1  # of the queries there are no joints
    assert sides["0001_c3s1_000600_00"] == 0
