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


@pytest.fixture
def spots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three pictures with a spot, and a cache of their own."""
    monkeypatch.setenv("REIDENTIFY_CACHE", str(tmp_path / "cache"))
    for name, x in (("a", 30), ("b", 40), ("c", 50)):
        spot(64, 128, x, 80).save(tmp_path / f"{name}.png")
    return [str(tmp_path / f"{name}.png") for name in "abc"]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the files that joints are found in, for each time that they are."""
    real, found = PoseModel.keypoints, []

    def keypoints(self, sightings, **options):
        found.append([Path(file).stem for file in sightings.files])
        return real(self, sightings, **options)

    monkeypatch.setattr(PoseModel, "keypoints", keypoints)
    return found


def test_with_joints_finds_what_is_unknown_and_keeps_what_is_unseen(spots, monkeypatch, capsys) -> None:
    asked = []
    monkeypatch.setattr(module, "load_pose", lambda *given: asked.append(given) or brightest())
    blind, unknown = np.zeros((14, 3)), np.full((14, 3), np.nan)
    rows = Sightings([1, 2, 3], files=spots, keypoints=np.stack([person(), blind, unknown]))
    filled = with_joints(rows, "some", True, "cpu")
    assert asked == [("some", "cpu")]
    assert "finding the joints of 1 images" in " ".join(capsys.readouterr().out.split())
    np.testing.assert_array_equal(filled.keypoints[:2], np.stack([person(), blind]).astype(np.float32))
    assert np.abs(filled.keypoints[2, :, :2] - [50, 80]).max() < 6
    assert np.isfinite(with_joints(filled, "none").keypoints).all()
    assert len(asked) == 1  # nothing was lacking
    joined = Sightings.concat([rows[[0]], Sightings([3], files=spots[2:])])
    np.testing.assert_array_equal(with_joints(joined, "some").keypoints, filled.keypoints[[0, 2]])
    # OpenPose's and COCO's sets, unknown throughout, are unknown as Market's too.
    for count in (17, 18):
        other = rows[[2]].replace(keypoints=np.full((1, count, 3), np.nan))
        np.testing.assert_array_equal(with_joints(other, "some").keypoints, filled.keypoints[[2]])


def test_joints_are_kept_by_file(spots, monkeypatch, capsys) -> None:
    monkeypatch.setattr(module, "load_pose", lambda *given: brightest())
    found = counted(monkeypatch)
    rows = Sightings([1, 2, 3], files=spots)
    first = with_joints(rows[[0, 1]])
    every = with_joints(rows[[2, 1, 0, 1]])
    assert found == [["a", "b"], ["c"]]
    np.testing.assert_array_equal(every.keypoints[[2, 1]], first.keypoints)
    np.testing.assert_array_equal(every.keypoints[1], every.keypoints[3])
    assert every.keypoints[:3, 0, 0].tolist() == pytest.approx([50, 40, 30], abs=6)
    spot(64, 128, 20, 50).save(spots[1])  # another picture of that name
    changed = with_joints(rows)
    assert found[2:] == [["b"]]
    assert changed.keypoints[:, 0, 0].tolist() == pytest.approx([30, 20, 50], abs=6)
    capsys.readouterr()
    np.testing.assert_array_equal(with_joints(rows).keypoints, changed.keypoints)
    assert len(found) == 3
    assert capsys.readouterr().out == ""


def test_without_the_cache_nothing_is_read_or_kept(spots, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "load_pose", lambda *given: brightest())
    found = counted(monkeypatch)
    for _ in range(2):
        with_joints(Sightings([1, 2, 3], files=spots), cache=False)
    assert found == [["a", "b", "c"]] * 2
    assert not (tmp_path / "cache").exists()


def plain(graph: Path) -> PoseModel:
    return load_pose(graph, preprocessing=Preprocessing(32, 16))


def test_joints_of_one_network_are_not_those_of_another(tmp_path: Path) -> None:
    """Nor are those of the same one that sees a mirror image or other pixels, or of a graph with other weights."""
    assert brightest().key == brightest().key
    assert len({brightest().key, brightest(flip=True).key, brightest(size=(64, 32)).key}) == 3
    pytest.importorskip("openvino")
    from openvino import convert_model, save_model

    graph = tmp_path / "xy.xml"
    made = constant_graph(tmp_path / "xy.onnx", {"xy": np.full((1, 14, 2), 7.5)})
    save_model(convert_model(made), graph, compress_to_fp16=False)
    (before, place), (same, _) = ((m.key, m.find(spot(64, 128, 40, 80))[0, 5, 0]) for m in map(plain, [graph, graph]))
    weights = graph.with_suffix(".bin")  # beside the graph, whose own text stays
    weights.write_bytes(weights.read_bytes().replace(np.float32(7.5).tobytes(), np.float32(8.5).tobytes()))
    after = plain(graph)
    assert (place, after.find(spot(64, 128, 40, 80))[0, 5, 0]) == (31.5, 35.5)
    assert before == same != after.key


def test_weights_of_another_kind_are_refused() -> None:
    with pytest.raises(WeightsError, match="embedding network, not of a pose network"):
        load_pose("market-small")


def test_the_command_draws_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(module, "load_pose", lambda *given: brightest())
    folder = tmp_path / "crops"
    folder.mkdir()
    spot(64, 128, 40, 80).save(folder / "a.png")
    spot(40, 100, 12, 30).save(folder / "b.png")
    out = tmp_path / "joints.png"
    assert main(["pose", "any", str(folder), "-o", str(out)]) == 0
    whole = Image.open(out).size
    assert whole[1] > 320
    assert "first" not in capsys.readouterr().out
    seen = []
    monkeypatch.setattr(PoseModel, "find", lambda self, names: seen.append(names) or np.zeros((len(names), 14, 3)))
    assert main(["pose", "any", str(folder), "-o", str(out), "--limit", "1", "--columns", "1"]) == 0
    said = capsys.readouterr().out
    assert "drawn are the first 1 of 2 pictures" in said
    assert [Path(name).name for names in seen for name in names] == ["a.png"]
    assert Image.open(out).size[1] == whole[1]  # one line
    assert main(["pose", "any", str(folder / "b.png"), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["path"].endswith("b.png")
    assert [joint["joint"] for joint in told["joints"]] == list(MARKET14.joints)
    for arguments, said in (
        ([], "pose needs images"),
        ([str(folder)], "-o OUT.png"),
        ([str(folder), "-o", "x.jpg"], "ends in .png"),
        ([str(folder), "--json", "--limit", "0"], "--limit: expected at least 1, got 0"),
    ):
        assert main(["pose", "any", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_the_command_states_what_a_foreign_network_expects(tmp_path: Path, monkeypatch, capsys) -> None:
    graph = constant_graph(tmp_path / "xy.onnx", {"xy": np.full((1, 14, 2), 7.5)})
    spot(64, 128, 40, 80).save(tmp_path / "a.png")
    real, stated = module.load_pose, []
    monkeypatch.setattr(module, "load_pose", lambda *given: stated.append(given[2]) or real(*given))
    options = ["--scale", "1", "--mean", "1", "2", "3", "--std", "4", "5", "6", "--channels", "bgr"]
    assert main(["pose", str(graph), str(tmp_path / "a.png"), "--json", *options]) == 0
    assert stated == [Preprocessing(32, 16, mean=(1, 2, 3), std=(4, 5, 6), scale=1, channels="bgr")]
    told = capsys.readouterr()
    assert json.loads(told.out)[0]["joints"][5]["x"] == pytest.approx(31.5)
    assert told.err == ""  # no guess, so no warning
    assert main(["pose", "pose-cpu", str(tmp_path / "a.png"), "--json", *options]) == 2
    assert "pose-cpu" in capsys.readouterr().err


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
