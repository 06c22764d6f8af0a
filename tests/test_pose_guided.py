"""Embedding with a network that is guided by joints: where they come from, mirror images, parts and tracklets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import draw_person
from torch.nn import functional as F

import reidentify
from reidentify import Benchmark, Embeddings, InputError, Sightings
from reidentify.calibrate import calibrate
from reidentify.embed import Model
from reidentify.joints import MARKET14
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.views import mirrored
from reidentify.models.weights import Card, Preprocessing, save_weights
from reidentify.ranking.calibration import Calibration

SETTINGS = {
    "architecture": "aacn", "backbone": "osnet", "width": 0.25, "init": "random", "embedding_dim": 8
}  # fmt: skip
SIZE = (64, 32)


def joints(count: int, unseen: int = 0) -> np.ndarray:
    """Random places in a picture of 32 x 64, and the last `unseen` joints hidden in every second frame."""
    rng = np.random.default_rng(count)
    found = np.concatenate([rng.uniform(2, (29, 61), (count, 14, 2)), np.ones((count, 14, 1))], 2)
    if unseen:
        found[::2, -unseen:, 2] = 0
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    network = build(ModelSettings(**SETTINGS))
    card = Card("toy", SETTINGS, Preprocessing(*SIZE), 8, "nothing", "none")
    save_weights(network.state_dict(), card, path)
    return reidentify.load(path, device="cpu")


@pytest.fixture
def rows(tmp_path: Path) -> Sightings:
    files = []
    for i in range(4):
        files.append(str(tmp_path / f"{i}.png"))
        draw_person(i, 0).save(files[-1])
    return Sightings([1, 2, 3, 4], files=files, keypoints=joints(4, unseen=3))


def said(model: Model, rows: Sightings, flip: bool = False) -> reidentify.models.output.Output:
    """The network itself, on pictures that need no resize."""
    pixels = [torch.from_numpy(np.array(draw_person(i, 0))).permute(2, 0, 1) for i in range(len(rows))]
    ready, points = model.card.preprocessing.apply(torch.stack(pixels)), torch.from_numpy(rows.keypoints)
    if flip:
        ready, points = ready.flip(-1), mirrored(points, SIZE[1])
    with torch.no_grad():
        return model.network(ready, None, points)


def test_rows_bring_their_own_joints(model: Model, rows: Sightings) -> None:
    expected = F.normalize(said(model, rows).embedding, dim=1).numpy()
    np.testing.assert_allclose(model.embed_sightings(rows, progress=False).vectors, expected, atol=1e-5)
    both = said(model, rows).embedding + said(model, rows, flip=True).embedding
    found = model.embed_sightings(rows, flip=True, progress=False).vectors
    np.testing.assert_allclose(found, F.normalize(both, dim=1).numpy(), atol=1e-5)
    moved = rows.replace(keypoints=joints(4)[::-1])
    assert np.abs(model.embed_sightings(moved, progress=False).vectors - expected).max() > 1e-3


def test_parts_come_with_their_visibility(model: Model, rows: Sightings) -> None:
    found = model.embed_sightings(rows, parts=True, progress=False)
    output = said(model, rows)
    assert found.vectors.shape == (4, 7 * 8)
    np.testing.assert_allclose(found.visibility, output.visibility, atol=1e-6)
    assert MARKET14.joints[-3:] == ("left hip", "left knee", "left ankle")  # the hidden ones; the last part
    np.testing.assert_array_equal(found.visibility[:, -1], [0, 1, 0, 1])
    assert not found.vectors[::2, -8:].any()
    each = F.normalize(output.parts, dim=2) * (output.visibility > 0)[..., None]
    np.testing.assert_allclose(found.vectors, F.normalize(each.flatten(1), dim=1), atol=1e-5)


def test_views_of_a_part_count_as_much_as_they_show(model: Model, rows: Sightings) -> None:
    """In the mirror image the left leg is the right one: each is there in one of the views."""
    found = model.embed_sightings(rows[:1], parts=True, flip=True, progress=False)
    plain, flipped = said(model, rows[:1]), said(model, rows[:1], flip=True)
    np.testing.assert_allclose(found.visibility[0, -2:], [0.5, 0.5], atol=1e-6)
    right, left = found.vectors.reshape(7, 8)[-2:]
    for ours, theirs in ((right, plain.parts[0, -2]), (left, flipped.parts[0, -1])):
        cosine = ours @ theirs.numpy() / np.linalg.norm(ours) / theirs.norm().item()
        assert cosine == pytest.approx(1, abs=1e-5)


def test_a_tracklet_gathers_what_its_frames_show(model: Model, rows: Sightings) -> None:
    tracklet = Sightings([1], files=rows.files, keypoints=rows.keypoints, offsets=[0, 4])
    found = model.embed_sightings(tracklet, parts=True, progress=False)
    output = said(model, rows)
    np.testing.assert_allclose(found.visibility[0], output.visibility.mean(0), atol=1e-6)
    summed = (F.normalize(output.parts, dim=2) * output.visibility[..., None]).sum(0)
    expected = F.normalize(F.normalize(summed, dim=1).flatten(), dim=0)
    np.testing.assert_allclose(found.vectors[0], expected, atol=1e-5)


def test_the_card_says_what_is_compared(model: Model, rows: Sightings) -> None:
    card = dataclasses.replace(model.card, architecture={**SETTINGS, "part_matching": True})
    other = Model.of_network(model.network, card, model.device)
    assert other.embed_sightings(rows, progress=False).visibility is not None
    assert other.embed_sightings(rows, parts=False, progress=False).visibility is None
    assert model.embed_sightings(rows, progress=False).visibility is None


def test_a_network_without_parts_says_so(rows: Sightings) -> None:
    settings = {"architecture": "osnet", "width": 0.25, "init": "random", "embedding_dim": 8}
    card = Card("plain", settings, Preprocessing(*SIZE), 8, "nothing", "none")
    plain = Model.of_network(build(ModelSettings(**settings)).eval(), card, torch.device("cpu"))
    with pytest.raises(InputError, match="plain: the network tells no body parts to compare"):
        plain.embed_sightings(rows, parts=True, progress=False)
    assert isinstance(plain.embed_sightings(rows, progress=False), Embeddings)


def test_a_pose_network_finds_the_joints_of_plain_pictures(model: Model, rows: Sightings, monkeypatch) -> None:
    """Stands in for the shipped one: it knows the pictures by their pixels."""
    known = {np.array(draw_person(i, 0)).tobytes(): rows.keypoints[i] for i in range(4)}

    class Pose:
        def find(self, images: list[np.ndarray]) -> np.ndarray:
            return np.stack([known[image.tobytes()] for image in images])

    loaded = []
    monkeypatch.setattr("reidentify.pose.load_pose", lambda *given: loaded.append(given) or Pose())
    pictures = [draw_person(i, 0) for i in range(4)]
    expected = model.embed_sightings(rows, progress=False).vectors
    fresh = Model.of_network(model.network, model.card, model.device)
    for _ in range(2):
        np.testing.assert_allclose(fresh.embed(pictures), expected, atol=1e-5)
    assert loaded == [("pose-cpu", model.device)]
    unknown = rows.replace(keypoints=None)
    filled = []
    monkeypatch.setattr("reidentify.pose.with_joints", lambda given, *rest: filled.append((len(given), *rest)) or rows)
    np.testing.assert_allclose(model.embed_sightings(unknown, progress=False).vectors, expected, atol=1e-5)
    model.embed_sightings(unknown, cache=False, progress=False)
    assert filled == [(4, "pose-cpu", False, model.device, kept) for kept in (True, False)]


@pytest.mark.parametrize("architecture", ["aacn", "spindle"])
def test_its_maps_can_be_looked_at(rows: Sightings, monkeypatch, architecture: str) -> None:
    from reidentify.report.attention import attention, cam

    settings = SETTINGS | {"architecture": architecture, "region_cells": 8}
    torch.manual_seed(0)
    network = build(ModelSettings(**settings)).eval()
    card = Card("toy", settings, Preprocessing(*SIZE), 8, "nothing", "none")
    model = Model.of_network(network, card, torch.device("cpu"))

    class Pose:
        def find(self, images: list[np.ndarray]) -> np.ndarray:
            return rows.keypoints[: len(images)]

    monkeypatch.setattr("reidentify.pose.load_pose", lambda *_: Pose())
    pixels = torch.stack([torch.from_numpy(np.array(draw_person(i, 0))).permute(2, 0, 1) for i in range(4)])
    assert cam(model, pixels).shape == (4, 4, 2)
    found = attention(model, pixels)
    assert (architecture == "aacn") == bool(found)
    if found:
        expected = said(model, rows).maps["attention"].amax(1, keepdim=True).numpy()
        np.testing.assert_allclose(found["attention"], expected)


def test_joints_are_found_in_pictures_of_any_size(model: Model, rows: Sightings, monkeypatch) -> None:
    """The pose network sees the pictures themselves; what it finds is moved to the size the other network sees."""
    small = [draw_person(i, 0) for i in range(4)]
    large = [picture.resize((128, 128)) for picture in small]  # 4 times as wide, twice as high
    scale = np.array([4, 2], np.float32)
    seen = []

    class Pose:
        def find(self, images: list[np.ndarray]) -> np.ndarray:
            seen.extend(image.shape for image in images)
            found = rows.keypoints.copy()
            found[..., :2] = (found[..., :2] + 0.5) * scale - 0.5
            return found

    monkeypatch.setattr("reidentify.pose.load_pose", lambda *_: Pose())
    fresh = Model.of_network(model.network, model.card, model.device)
    found = fresh.embed(large)
    assert seen == [(128, 128, 3)] * 4
    pixels = [torch.from_numpy(np.array(picture.resize((32, 64), 2))).permute(2, 0, 1) for picture in large]
    with torch.no_grad():
        ready = model.card.preprocessing.apply(torch.stack(pixels))
        expected = F.normalize(model.network(ready, None, torch.from_numpy(rows.keypoints)).embedding, dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert fresh.embed([]).shape == (0, 8)


def test_it_is_calibrated_as_it_is_used(model: Model, people: Benchmark, tmp_path: Path, monkeypatch) -> None:
    """The data set's joints are better than those that `verify` finds, so they must not count, nor in a training."""
    from reidentify.training.embedding import _calibrated

    monkeypatch.setattr("reidentify.ranking.calibration.PAIRS_DIFFERENT", 100)  # of the few that are drawn
    asked = []

    def with_joints(sightings: Sightings, *_: object) -> Sightings:
        asked.append(sightings.keypoints)
        return sightings if sightings.keypoints is not None else sightings.replace(keypoints=joints(len(sightings)))

    monkeypatch.setattr("reidentify.pose.with_joints", with_joints)
    every = people.train
    known = every.replace(keypoints=joints(len(every), unseen=9)[::-1])
    found = calibrate(model, known, "people", progress=False)
    assert asked == [None]
    assert found == calibrate(model, every, "people", progress=False)
    seen = model.embed_sightings(known, progress=False)
    assert found != Calibration.fit(seen, "people")
    assert found.to_dict() == _calibrated(tmp_path, model, seen, "people", False)
