"""Pose networks in use: joints in pixels of the files, joints for sets without, PCK, the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import draw_person
from PIL import Image
from posegraph import constant_graph

from reidentify import pose as module
from reidentify import zoo
from reidentify.cli import main
from reidentify.errors import InputError, ReidentifyWarning, WeightsError
from reidentify.joints import MARKET14
from reidentify.models.output import Output
from reidentify.models.weights import Card, Preprocessing, card_path
from reidentify.pose import PoseModel, heat_maps, load_pose, pck, with_joints
from reidentify.values import Sightings


def person(**changes: tuple[float, float, float]) -> np.ndarray:
    """14 x 3: neck at 30, 20 and hips at 25, 60 and 35, 60, so the torso is 40 long; all else seen at 30, 40."""
    joints = np.tile([30.0, 40, 1], (14, 1))
    places = {"head_top": (30, 10, 1), "neck": (30, 20, 1), "right_hip": (25, 60, 1), "left_hip": (35, 60, 1)}
    for name, place in {**places, **changes}.items():
        joints[MARKET14.index(name.replace("_", " "))] = place
    return joints


def test_pck_by_hand() -> None:
    # A fifth of the torso is 8 pixels: a wrist 8 away is right, one 8.1 away is wrong.
    truth = np.stack([person(), person(left_knee=(0, 0, 0)), person(neck=(30, 20, 0))])
    found = truth.copy()
    found[..., 2] = 0  # what it says of visibility does not matter
    wrist, elbow, knee = (MARKET14.index(name) for name in ("right wrist", "left elbow", "left knee"))
    found[0, wrist, :2] += [8, 0]
    found[1, wrist, :2] += [0, -8.1]
    found[:, elbow, 0] = np.nan
    found[1, knee] = 99  # its truth is unseen
    found[2] = 99  # without a neck there is no torso to compare with
    score = pck(found, truth)
    assert score.images == 2
    assert score.counted["left knee"] == 1
    assert score.counted["right wrist"] == 2
    assert [score.joints[name] for name in ("right wrist", "left elbow", "left knee", "neck")] == [0.5, 0, 1, 1]
    assert score.mean == pytest.approx((12 + 0.5 + 0) / 14)
    assert pck(found, truth, alpha=0.203).joints["right wrist"] == 1
    head = pck(found, truth, alpha=0.5, length="head")  # 5 pixels
    assert head.joints["right wrist"] == 0
    assert head.joints["left knee"] == 1
    assert "PCK@0.2 of the torso: 89.3 % on 2 images" in str(score)


def test_pck_without_a_measure() -> None:
    truth = person(right_hip=(0, 0, 0), left_hip=(np.nan, 0, 0))[None]
    score = pck(truth, truth)
    assert score.images == 0
    assert math.isnan(score.mean)
    assert json.loads(json.dumps(score.to_dict()))["mean"] is None
    # One hip is enough: to the left one it is 10 * sqrt(1 / 4 + 16), so 8.06 are a fifth.
    one = person(right_hip=(np.nan, 0, 0))[None]
    moved = one.copy()
    moved[0, 3, 0] += 8.05
    moved[0, 4, 0] += 8.07
    score = pck(moved, one)
    assert (score.images, score.counted["right hip"]) == (1, 0)
    assert (score.joints[MARKET14.joints[3]], score.joints[MARKET14.joints[4]]) == (1, 0)
    with pytest.raises(InputError, match="N x 14 x 3 twice, got 1 x 14 x 3 and 2 x 14 x 3"):
        pck(truth, np.concatenate([truth, truth]))


class Brightest(torch.nn.Module):
    """Every joint is at the brightest cell of the image; right joints are thought seen, others not."""

    embedding_dim = 1

    def forward(self, images: torch.Tensor) -> Output:
        maps = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4).repeat(1, 14, 1, 1)
        visibility = torch.tensor([0.9 if name.startswith("right") else 0.2 for name in MARKET14.joints])
        return Output(
            images.mean((1, 2, 3))[:, None], visibility=visibility.repeat(len(images), 1), maps={"joints": maps}
        )


def brightest(flip: bool = False, size: tuple[int, int] = (32, 16)) -> PoseModel:
    plain = Preprocessing(*size, mean=(0, 0, 0), std=(1, 1, 1))
    card = Card("brightest", {}, plain, 1, "drawn", "none", kind="pose", flip=flip, sha256="brightest")
    return PoseModel.of_network(Brightest(), card, torch.device("cpu"))  # type: ignore[arg-type]


def spot(width: int, height: int, x: int, y: int) -> Image.Image:
    """Black, with a white block of an eighth of the height around the given pixel."""
    array, r = np.zeros((height, width, 3), np.uint8), height // 16
    array[y - r : y + r + 1, x - r : x + r + 1] = 255
    return Image.fromarray(array)


def test_joints_are_in_pixels_of_each_picture(tmp_path: Path) -> None:
    spot(64, 128, 40, 80).save(tmp_path / "a.png")
    spot(40, 100, 12, 30).save(tmp_path / "b.png")
    names = [str(tmp_path / name) for name in ("a.png", "b.png")]
    model = brightest()
    found = model.find(names)
    assert found.shape == (2, 14, 3)
    # A cell of the maps is an eighth of the height.
    assert np.abs(found[0, :, :2] - [40, 80]).max() < 6
    assert np.abs(found[1, :, :2] - [12, 30]).max() < 6
    assert found[0, MARKET14.index("right knee"), 2] == pytest.approx(0.9)
    assert found[0, MARKET14.index("left knee"), 2] == 0
    rows = Sightings([1, 2], files=names)
    np.testing.assert_allclose(model.keypoints(rows, cache=False, progress=False), found)
    arrays = [np.asarray(Image.open(name)) for name in names]
    np.testing.assert_allclose(model.find(arrays), found)


def test_the_mirror_image_is_mirrored_back() -> None:
    images = torch.rand(2, 3, 32, 16)
    maps, visibility = heat_maps(Brightest(), images, flip=True)  # type: ignore[arg-type]
    torch.testing.assert_close(maps, heat_maps(Brightest(), images, flip=False)[0])  # type: ignore[arg-type]
    sides = [MARKET14.index("right knee"), MARKET14.index("left knee"), MARKET14.index("neck")]
    torch.testing.assert_close(visibility[0, sides], torch.tensor([0.55, 0.55, 0.2]))  # left and right change places


def test_with_joints_fills_what_is_missing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("REIDENTIFY_CACHE", str(tmp_path / "cache"))
    asked = []
    monkeypatch.setattr(module, "load_pose", lambda weights: asked.append(weights) or brightest())
    for name in "abc":
        spot(64, 128, 40, 80).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in "abc"]
    own = np.stack([person(), np.zeros((14, 3)), np.zeros((14, 3))])
    rows = Sightings([1, 2, 3], files=files, keypoints=own, sources=["with", "with", "without"])
    filled = with_joints(rows, "some", progress=True)
    assert asked == ["some"]
    assert "finding the joints of 1 images" in " ".join(capsys.readouterr().out.split())
    np.testing.assert_array_equal(filled.keypoints[:2], own[:2].astype(np.float32))  # of a set that has some joints
    assert np.abs(filled.keypoints[2, :, :2] - [40, 80]).max() < 6
    monkeypatch.setattr(PoseModel, "keypoints", None)  # found again it would fail
    again = with_joints(rows, "some")
    np.testing.assert_array_equal(again.keypoints, filled.keypoints)
    assert "finding" not in capsys.readouterr().out
    known = with_joints(rows[[0]], "none")
    np.testing.assert_array_equal(known.keypoints, rows[[0]].keypoints)
    assert asked == ["some", "some"]  # nothing was lacking


def test_weights_of_another_kind_are_refused() -> None:
    with pytest.raises(WeightsError, match="embedding network, not of a pose network"):
        load_pose("market-small")


def test_the_command_draws_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(module, "load_pose", lambda weights, device: brightest())
    folder = tmp_path / "crops"
    folder.mkdir()
    spot(64, 128, 40, 80).save(folder / "a.png")
    spot(40, 100, 12, 30).save(folder / "b.png")
    out = tmp_path / "joints.png"
    assert main(["pose", "any", str(folder), "-o", str(out)]) == 0
    assert Image.open(out).size[1] > 320
    capsys.readouterr()
    assert main(["pose", "any", str(folder / "b.png"), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["path"].endswith("b.png")
    assert [joint["joint"] for joint in told["joints"]] == list(MARKET14.joints)
    for arguments, said in (
        ([], "pose needs images"),
        ([str(folder)], "-o OUT.png"),
        ([str(folder), "-o", "x.jpg"], "ends in .png"),
    ):
        assert main(["pose", "any", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_a_foreign_network_without_a_card_is_assumed_to_be_usual(tmp_path: Path) -> None:
    graph = constant_graph(tmp_path / "xy.onnx", {"xy": np.full((1, 14, 2), 7.5)})
    with pytest.warns(ReidentifyWarning, match="without a card: taking RGB, ImageNet"):
        model = load_pose(graph)
    assert model.size == (32, 16)
    found = model.find(spot(64, 128, 40, 80))
    assert found[0, 5].tolist() == pytest.approx([31.5, 31.5, 1])  # 8 from the edge of 16 x 32, four times as large


def test_the_shipped_network_finds_a_drawn_person() -> None:
    """Head above neck above hips above knees above ankles, whatever the size of the picture."""
    model = load_pose("pose-cpu", device="cpu")
    stated = Card.read(card_path(zoo.path("pose-cpu")))
    assert "research" in stated.licence
    pictures = [draw_person(p, 0, size) for p in range(1, 6) for size in ((64, 128), (90, 220))]
    found = model.find(pictures)
    assert found.shape == (10, 14, 3)
    sides = [[MARKET14.index(f"{side} {joint}") for side in ("left", "right")] for joint in ("hip", "knee", "ankle")]
    order = np.column_stack([found[:, 0, 1], found[:, 1, 1], *(found[:, pair, 1].mean(1) for pair in sides)])
    assert (np.diff(order, axis=1) > 0).mean() > 0.9
    sizes = np.array([picture.size for picture in pictures])
    assert ((found[..., :2] > -1) & (found[..., :2] < sizes[:, None])).all()
