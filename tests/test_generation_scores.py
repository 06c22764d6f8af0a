"""The measures of generated people: by hand, by loops, and on people of one colour each."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from reidentify import Sightings
from reidentify.data.pixels import picture_array
from reidentify.errors import InputError
from reidentify.generation_scores import choose, concerns, default_judge, origins, recognised, score, ssim
from reidentify.models.weights import Card, Preprocessing, save_weights
from reidentify.pose import pck
from reidentify.ranking.statistics import wilson
from reidentify.zoo import path as shipped

SIZE = (64, 32)


# --- who is drawn ---


def check(rows: Sightings, count: int, seed: int = 0) -> None:
    """What holds for all draws."""
    drawn = choose(rows, count, seed)
    assert sorted(rows.pids[drawn.gallery]) == rows.identities.tolist()
    assert not set(drawn.gallery) & (set(drawn.inputs) | set(drawn.targets))
    assert (rows.pids[drawn.inputs] == rows.pids[drawn.targets]).all()
    assert (drawn.inputs != drawn.targets).all()
    assert (rows.pids[drawn.inputs] != rows.pids[drawn.others]).all()
    assert len(set(zip(drawn.inputs, drawn.targets))) == len(drawn.inputs) <= count


def test_the_gallery_is_of_other_cameras_where_it_can_be() -> None:
    # Person 1 has two pictures by camera 1 and one by camera 2: only the latter leaves two by another camera.
    rows = Sightings([1, 1, 1, 2, 2, 2, 3], camids=[1, 1, 2, 5, 5, 5, 1])
    for seed in range(10):
        check(rows, 20, seed)
        drawn = choose(rows, 20, seed)
        assert drawn.gallery[0] == 2
        assert len(drawn.inputs) == 4  # two ordered pairs of each, and nobody else has three pictures
        assert set(rows.pids[drawn.inputs[:2]]) == {1, 2}  # spread evenly
    unknown = rows.replace(camids=[-1] * 7)  # two unknown cameras are never taken to be the same
    assert len({choose(unknown, 4, seed).gallery[0] for seed in range(20)}) == 3


def test_pictures_of_one_camera_count_as_apart_after_four_seconds() -> None:
    rows = Sightings([1, 1, 1, 2, 2, 2], camids=[1] * 6, times=[0, 4, 8.5, 0, 1, 2])
    for seed in range(10):
        drawn = choose(rows, 4, seed)
        check(rows, 4, seed)
        # Every picture of person 1 leaves two others apart from it; of person 2 none does, and any are taken.
        for row in (*drawn.inputs, *drawn.targets):
            gallery = drawn.gallery[rows.pids[row] - 1]
            assert rows.pids[row] == 2 or abs(rows.times[row] - rows.times[gallery]) >= 4


def test_times_are_as_exact_as_frames_allow() -> None:
    # Of frames 120 apart at 30 a second, some times differ by a little less than four seconds.
    first = next(f for f in range(1000) if (f + 120) / 30 - f / 30 < 4)
    frames = np.array([first, first + 120, first + 240])
    rows = Sightings([1, 1, 1, 2, 2, 2], camids=[1] * 6, times=[*(frames / 30), *(frames / 30)])
    for seed in range(10):
        assert len(choose(rows, 4, seed).inputs) == 4  # every picture leaves two that are apart
    # One picture more, close to the first: only the gallery of the third or the last leaves no near-duplicate.
    frames = np.array([first, first + 120, first + 121])
    rows = Sightings([1, 1, 1, 2, 2, 2], camids=[1] * 6, times=[*(frames / 30), *(frames / 30)])
    for seed in range(10):
        assert choose(rows, 4, seed).gallery.tolist() == [0, 3]


def test_times_count_where_cameras_are_unknown() -> None:
    # Only the first picture of person 1 leaves two that are four seconds away.
    rows = Sightings([1, 1, 1, 2, 2, 2], times=[0, 10, 10.1, 0, 1, 2])
    for one in (rows, rows.replace(camids=[-1] * 6), rows.replace(camids=[-1, 1, 1, 1, 1, 1])):
        for seed in range(10):
            check(one, 4, seed)
            assert choose(one, 4, seed).gallery[0] == 0
    # Where neither is known, all pictures are taken to be apart.
    nothing = rows.replace(camids=[-1] * 6, times=[np.nan] * 6)
    assert len({choose(nothing, 4, seed).gallery[0] for seed in range(20)}) == 3


def test_who_has_more_pictures_is_drawn_for_who_has_fewer() -> None:
    # Person 1 has a pair of two pictures beside that of the gallery, person 2 six of four, person 3 of 49 2,352.
    rows = Sightings([1] * 3 + [2] * 4 + [3] * 50)
    for count, expected in (
        (200, [2, 6, 192]),
        (12, [2, 5, 5]),
        (3, [1, 1, 1]),
        (9999, [2, 6, 49 * 48]),
    ):
        check(rows, count)
        assert np.bincount(rows.pids[choose(rows, count).inputs])[1:].tolist() == expected


def test_draws_are_seeded_and_leave_out_whom_nobody_knows() -> None:
    rng = np.random.default_rng(3)
    rows = Sightings(rng.integers(-1, 6, 200), camids=rng.integers(1, 4, 200))
    check(rows, 50)
    one, same, other = (choose(rows, 50, seed) for seed in (1, 1, 2))
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(same, field.name))
    assert (one.inputs != other.inputs).any()
    assert (rows.pids[np.concatenate(dataclasses.astuple(one))] > 0).all()
    assert np.unique(rows.pids[one.inputs], return_counts=True)[1].tolist() == [10] * 5


def test_too_few_pictures_are_said() -> None:
    with pytest.raises(InputError, match="of 2 people 1 have three pictures"):
        choose(Sightings([1, 1, 1, 2, 2]), 5)
    with pytest.raises(InputError, match="draws: expected 2 or more, got 1"):
        choose(Sightings([1, 1, 1, 2, 2, 2]), 1)


# --- the measures ---


def test_recognised_is_rank_1_without_ties() -> None:
    gallery = np.eye(3, dtype=np.float32)
    vectors = np.array([[1, 0, 0], [0.6, 0.8, 0], [0.6, 0, 0.8], [0, 0, 0]], np.float32)
    # Person 5 is at axis 0, 6 at axis 1, 7 at axis 2; the last vector is as near to all.
    assert recognised(vectors, [5, 5, 7, 7], gallery, [5, 6, 7]).tolist() == [1, 0, 1, 0]


def by_loop(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two pictures, window by window, as in section III of the paper."""
    near = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weights = np.outer(near, near) / np.outer(near, near).sum()
    c1, c2, values = (0.01 * 255) ** 2, (0.03 * 255) ** 2, []
    for colour in range(3):
        for i in range(a.shape[0] - 10):
            for j in range(a.shape[1] - 10):
                p, q = (v[i : i + 11, j : j + 11, colour].astype(float) for v in (a, b))
                mp, mq = (weights * p).sum(), (weights * q).sum()
                vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
                both = (weights * (p - mp) * (q - mq)).sum()
                values.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_ssim_is_that_of_the_paper(monkeypatch) -> None:
    monkeypatch.setattr("reidentify.generation_scores._CHUNK", 2)
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, 20, 14, 3)).astype(np.uint8)
    b = np.clip(a + rng.normal(0, [[[[10]]], [[[40]]], [[[90]]]], a.shape), 0, 255).astype(np.uint8)
    found = ssim(a, b)
    np.testing.assert_allclose(found, [by_loop(*pair) for pair in zip(a, b)], rtol=1e-9)
    assert found[0] > found[1] > found[2]
    masks = rng.integers(0, 2, (3, 20, 14))
    masked = [by_loop(p * m[..., None], q * m[..., None]) for p, q, m in zip(a, b, masks)]
    np.testing.assert_allclose(ssim(a, b, masks), masked, rtol=1e-9)
    assert len(ssim(a[:0], b[:0])) == 0


def test_ssim_of_one_colour_by_hand() -> None:
    a, b = (np.full((1, 16, 12, 3), level, np.uint8) for level in (100, 150))
    c1 = 2.55**2
    flat = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ssim(a, b)[0] == pytest.approx(flat)
    assert ssim(a, a)[0] == pytest.approx(1)
    nothing = np.zeros((1, 16, 12))
    assert ssim(a, b, nothing)[0] == pytest.approx(1)  # what lies outside the mask does not count
    with pytest.raises(InputError, match="at least 11 x 11, got 1 x 10 x 12 x 3"):
        ssim(a[:, :10], b[:, :10])
    with pytest.raises(InputError, match="1 x 16 x 12 x 3 and 1 x 16 x 11 x 3"):
        ssim(a, b[:, :, :11])


# --- a score as a whole: people of one colour, drawn by a stand-in ---

COLOURS = {1: (250, 0, 0), 2: (0, 250, 0), 3: (0, 0, 250)}
WRONG = 3
"""The person whom the stand-in draws in the colour of person 1."""


class Judge:
    """Recognises people by their mean colour."""

    def embed(self, pictures: list) -> np.ndarray:
        means = np.array([picture_array(p, "rgb").reshape(-1, 3).mean(0) for p in pictures])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def upright(size: tuple[int, int]) -> np.ndarray:
    """The same pose in any picture: joints down the middle, the torso half the height."""
    x, y = size[1] / 2, size[0] * np.array([0.05, 0.2, *[0.4] * 6, 0.7, 0.8, 0.9, 0.7, 0.8, 0.9])
    return np.stack([np.full(14, x), y, np.ones(14)], 1).astype(np.float32)


class Finder:
    """Finds every joint where it is, but for the first wrist, which it takes for the head."""

    name = "finder"

    def find(self, pictures: list) -> np.ndarray:
        found = np.stack([upright(np.asarray(p).shape[:2]) for p in pictures])
        found[:, 4] = found[:, 0]
        return found


class Generator:
    """Draws people as they are, and one of them as another."""

    size, device = SIZE, "cpu"
    card = Card("stand-in", {"encoder": {}, "generator": {}}, Preprocessing(*SIZE), 3, "", "", kind="generation")

    def draw(self, pixels: np.ndarray, joints: np.ndarray, seed: int = 0, progress: bool = False) -> np.ndarray:
        assert joints.shape == (len(pixels), 14, 3)
        # In the size that is drawn: the files are twice as large.
        at = [(x + 0.5) / 2 - 0.5 for x in upright((128, 64))[1, :2]]
        np.testing.assert_allclose(joints[:, 1, :2], [at] * len(pixels), atol=1e-4)
        wrong = (pixels[:, 0, 0] == COLOURS[WRONG]).all(1)
        return np.where(wrong[:, None, None, None], np.uint8(COLOURS[1]), pixels)


@pytest.fixture
def rows(tmp_path: Path) -> Sightings:
    files, pids = [], []
    for pid, colour in COLOURS.items():
        for i in range(4):
            files.append(str(tmp_path / f"{pid}_{i}.png"))
            pids.append(pid)
            Image.new("RGB", (64, 128), colour).save(files[-1])
    keypoints = np.stack([upright((128, 64))] * len(pids))
    return Sightings(pids, camids=[1, 1, 2, 2] * 3, files=files, keypoints=keypoints)


def test_a_score_by_hand(rows: Sightings, tmp_path: Path) -> None:
    found = score(Generator(), Judge(), rows, 6, pose=Finder(), progress=False)  # type: ignore[arg-type]
    assert found.stated["draws"] == 6
    assert (found.stated["people"], found.stated["gallery"], found.stated["without_joints"]) == (3, 3, 0)
    values = {name: {k: v.value for k, v in scores.items()} for name, scores in found.scores.items()}
    # Two of three people come out in their own colour. Of the third, red and blue are wrong and green is right.
    c1 = 2.55**2
    third = (2 * c1 / (250**2 + c1) + 1) / 3
    generated = {"recognised": 2 / 3, "ssim": (2 + third) / 3, "pck": 13 / 14}
    for name, expected in {
        "input": {"recognised": 1, "ssim": 1, "mask_ssim": 1, "pck": 13 / 14},
        "generated": generated,
        "generated_other": {k: generated[k] for k in ("recognised", "pck")},
        "target": {"recognised": 1, "ssim": 1, "mask_ssim": 1, "pck": 13 / 14},
    }.items():
        for measure, value in expected.items():
            assert values[name][measure] == pytest.approx(value, abs=1e-6), (name, measure)
    assert values["generated_other"].keys() == {"recognised", "pck"}  # there is no real picture to compare with
    assert values["generated"]["ssim"] < values["generated"]["mask_ssim"] < 1  # black agrees outside the mask
    share = found.scores["generated"]["recognised"]
    assert (share.low, share.high) == pytest.approx(wilson(2 / 3, 3))
    low, high = (getattr(found.scores["generated"]["ssim"], end) for end in ("low", "high"))
    assert (low, high) == pytest.approx((third, 1))  # with three people, one draw in 27 is all wrong, or all right
    exact = found.scores["generated"]["pck"]
    assert exact.low == pytest.approx(exact.high) == pytest.approx(13 / 14)  # the same joints of everybody

    folder = tmp_path / "out"
    found.save(folder)
    told = json.loads((folder / "metrics.json").read_text())
    assert told["scores"]["generated"]["recognised"] == {"value": share.value, "low": share.low, "high": share.high}
    table = pq.read_table(folder / "draws.parquet").to_pylist()
    assert len(table) == 6
    for line in table:
        assert line["generated_recognised"] == (line["pid"] != WRONG)
        assert line["generated_pck"] == pytest.approx(13 / 14)
        assert all(Path(line[k]).name.startswith(f"{line['pid']}_") for k in ("input", "target"))
        assert not Path(line["other"]).name.startswith(f"{line['pid']}_")
    text = str(found)
    assert "the input as it is" in text
    assert "66.7 [20.8, 93.9]" in text


def test_pck_of_a_score_is_that_of_the_package(rows: Sightings) -> None:
    class Jittered(Finder):
        """Finds joints beside where they are, in each picture another way, so that intervals have a width."""

        def find(self, pictures: list) -> np.ndarray:
            found = super().find(pictures)
            found[..., :2] += np.random.default_rng(4).normal(0, 6, (*found.shape[:2], 2))
            return found

    scores = score(Generator(), Judge(), rows, 6, pose=Jittered(), progress=False)  # type: ignore[arg-type]
    pictures = [np.zeros((*SIZE, 3), np.uint8)] * 6
    expected = pck(Jittered().find(pictures), scores.poses).mean
    found = scores.scores["generated"]["pck"]
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_each_drawing_is_measured_against_the_pose_it_was_asked_for(rows: Sightings) -> None:
    given: list[np.ndarray] = []

    class Marking(Generator):
        """Marks what it draws with the number of its call."""

        def draw(self, pixels: np.ndarray, joints: np.ndarray, *_: object) -> np.ndarray:
            given.append(joints)
            drawn = pixels.copy()
            drawn[:, 0, 0] = len(given)
            return drawn

    class Knowing(Finder):
        """Finds in drawings the pose that was asked for, in real pictures none."""

        def find(self, pictures: list) -> np.ndarray:
            call = int(pictures[0][0, 0, 0])
            return given[call - 1] if call in (1, 2) else np.full((len(pictures), 14, 3), np.nan)

    keypoints = rows.keypoints + np.arange(len(rows))[:, None, None] * [2, 0, 0]  # everybody stands elsewhere
    found = score(Marking(), Judge(), rows.replace(keypoints=keypoints), 6, pose=Knowing(), progress=False)  # type: ignore[arg-type]
    drawn = choose(rows, 6)
    for joints, of in zip(given, (drawn.targets, drawn.others)):
        np.testing.assert_allclose(joints[:, 0, 0], (keypoints[of, 0, 0] + 0.5) / 2 - 0.5, atol=1e-4)
    shares = {name: scores["pck"].value for name, scores in found.scores.items()}
    assert shares == {"input": 0, "generated": 1, "generated_other": 1, "target": 0}


def test_targets_without_joints_are_left_out_and_counted(rows: Sightings) -> None:
    keypoints = rows.keypoints.copy()
    keypoints[[1, 5, 9], :, 2] = 0
    found = score(Generator(), Judge(), rows.replace(keypoints=keypoints), 18, pose=Finder(), progress=False)  # type: ignore[arg-type]
    asked = choose(rows, 18)
    without = {1, 5, 9}
    missing = sum(t in without or o in without for t, o in zip(asked.targets, asked.others))
    assert found.stated["without_joints"] == missing > 0
    assert found.stated["draws"] == len(asked.inputs) - missing
    with pytest.raises(InputError, match="no joint is seen in any"):
        score(Generator(), Judge(), rows.replace(keypoints=keypoints * 0), 6, pose=Finder(), progress=False)  # type: ignore[arg-type]


def test_only_image_files_can_be_drawn_from(rows: Sightings) -> None:
    for other in (rows.replace(files=None), rows[:2].replace(pids=[1], camids=[1], offsets=[0, 2])):
        with pytest.raises(InputError, match="people are drawn from image files"):
            score(Generator(), Judge(), other, 6, pose=Finder(), progress=False)  # type: ignore[arg-type]


# --- who may judge ---


def card(name: str, dataset: str = "", sha256: str = "", **training: object) -> Card:
    return Card(name, {}, Preprocessing(*SIZE), 3, "", "", dataset=dataset, sha256=sha256, training=training)


def test_shared_origins_are_found() -> None:
    small, osnet = (Card.read(shipped(name).with_suffix(".json")) for name in ("market-small", "osnet-x0.25-msmt17"))
    drawn = card("drawn", "street", model={"init": "market-small"})
    assert [one.name for one in origins(drawn)] == ["drawn", "market-small", "osnet-x0.25-msmt17"]
    assert concerns(drawn, small) == [
        "the training of drawn started from market-small",
        "both were trained on market1501",
    ]
    assert concerns(drawn, osnet) == ["the training of drawn started from osnet-x0.25-msmt17"]
    assert default_judge(drawn) == "osnet-x0.25-msmt17"
    alone = card("alone", "street", model={"init": "imagenet"}, generator={"init": "random"})
    assert concerns(alone, small) == concerns(alone, osnet) == []
    assert default_judge(alone) == "market-small"
    assert default_judge(card("market", "market1501+street")) == "osnet-x0.25-msmt17"
    began = card("began", "street", model={"init": "osnet-x0.25-msmt17"})
    assert concerns(began, small) == [
        "the training of began started from osnet-x0.25-msmt17, and so did that of market-small"
    ]
    assert concerns(alone, card("judge", "street+cuhk03")) == ["both were trained on street"]


def test_origins_reach_through_runs(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    architecture = {"encoder": {}, "generator": {}}
    one = card("first", "cuhk03", generator={"init": str(second)})
    save_weights({"a": torch.zeros(1)}, one, first / "weights.safetensors")
    two = dataclasses.replace(
        card("second", "viper", model={"init": str(first)}), kind="generation", architecture=architecture
    )
    save_weights({"a": torch.ones(1)}, two, second / "generator.safetensors")
    three = card("third", "street", generator={"init": str(second)}, model={"init": str(tmp_path / "gone")})
    assert [c.name for c in origins(three)] == ["third", "second", "first"]  # and round once, for they name each other
    assert concerns(three, card("judge", "cuhk03")) == ["both were trained on cuhk03"]
