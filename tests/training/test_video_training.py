"""Training on tracklets: clips, networks of images on clips, attributes, resume to the bit, streamed tests."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import draw_person

import reidentify
from reidentify import Benchmark, InputError, RecipeError, Sightings
from reidentify.embed import Model, read_sides
from reidentify.models.output import Output
from reidentify.models.weights import Card, Preprocessing
from reidentify.training.loader import Rows
from reidentify.training.recipe import Recipe, recipe_of
from reidentify.training.run import train
from reidentify.training.settings import ClipSettings
from reidentify.values import Attribute

COAT = Attribute("coat", ("dark", "light"))
WAY = Attribute("way", ("left", "right"), identity=False)
SMALL = {
    "model": {"architecture": "video", "backbone": "osnet", "width": 0.25, "init": "random"},
    "input": {"height": 32, "width": 16, "holdout": 0.25},
    "clip": {"length": 2},
    "sampler": {"identities": 4, "instances": 2},
    "optimiser": {"epochs": 2, "lr": 1e-3, "warmup": 1, "schedule": "cosine"},
    "run": {"accelerator": "cpu", "evaluate_every": 1},
}


def small(**changes: dict) -> Recipe:
    return recipe_of({k: {**SMALL.get(k, {}), **changes.get(k, {})} for k in SMALL.keys() | changes.keys()})


@pytest.fixture(scope="module")
def walkers(tmp_path_factory) -> Benchmark:
    """16 people to train on and 6 to find again; a tracklet of 1 to 4 frames at each of 2 cameras, half labelled."""
    folder: Path = tmp_path_factory.mktemp("walkers")
    files, rows, lengths = [], [], []
    for p in range(1, 23):
        for c in (1, 2):
            lengths.append(1 + (p + c) % 4)
            rows.append((p, c))
            for k in range(lengths[-1]):
                files.append(str(folder / f"{p:04d}_{c}_{k}.png"))
                draw_person(p, 10 * c + k).save(files[-1])
    pids, camids = np.array(rows).T
    split = ["train" if p <= 16 else "query" if c == 1 else "gallery" for p, c in rows]
    attributes = {"coat": pids % 2, "way": np.where(pids % 3 == 0, -1, camids - 1)}
    offsets = np.cumsum([0, *lengths])
    seen = Sightings(pids, camids=camids, files=files, split=split, attributes=attributes, offsets=offsets)
    return Benchmark("walkers", seen, schema=(COAT, WAY))


@pytest.mark.parametrize("temporal", ["mean", "attention", "lstm", "nonlocal", "3d"])
def test_every_way_over_time_trains_and_is_found_again_in_its_card(
    walkers: Benchmark, tmp_path: Path, temporal: str
) -> None:
    run = tmp_path / "run"
    train(small(model={"temporal": temporal, "embedding_dim": 8 if temporal == "mean" else None}), walkers, run, False)
    card = json.loads((run / "weights.json").read_text())
    assert card["clip"] == 2
    assert "24 tracklets of 12 identities" in card["data"]
    query, gallery, told = read_sides(reidentify.load(run), walkers, cache=False, progress=False)
    assert told == {}
    result = reidentify.evaluate(query, gallery)
    assert result.mAP == pytest.approx(json.loads((run / "metrics.json").read_text())["mAP"], abs=1e-6)


def test_attributes_are_learned_scored_and_told(walkers: Benchmark, tmp_path: Path) -> None:
    run = tmp_path / "run"
    loss = {"attributes": 1.0, "aitl": 0.33, "triplet": 0.33, "distance": "cosine"}
    train(small(model={"temporal": "asta", "attributes": True}, loss=loss), walkers, run, False)
    card = Card.read(run / "weights.json")
    assert card.schema == (COAT, WAY)
    scored = json.loads((run / "attributes.json").read_text())
    assert card.scores[-1]["attributes"] == scored
    log = (run / "history.csv").read_text().splitlines()[0]
    assert "AITL by identity" in log
    assert "attributes of the sighting" in log
    told = reidentify.load(run).attributes_of(walkers.query, cache=False, progress=False)
    assert {name: p.shape for name, p in told.items()} == {"coat": (6, 2), "way": (6, 2)}
    for probabilities in told.values():
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_a_network_of_images_sees_the_frames_of_a_clip_one_by_one(walkers: Benchmark, tmp_path: Path) -> None:
    run = tmp_path / "run"
    image = {"architecture": "osnet", "backbone": "resnet50"}
    train(small(model=image, clip={"length": 3, "sampling": "evenly", "test_frames": 2}), walkers, run, False)
    card = Card.read(run / "weights.json")
    assert (card.clip, card.frames) == (1, 2)
    # A tracklet is the mean of two frames, the first and the middle one of four.
    model = reidentify.load(run)
    row = walkers.sightings[walkers.sightings.lengths == 4][:1]
    one, two = model.embed([row.files[0], row.files[2]])
    found = model.embed_sightings(row, cache=False, progress=False).vectors[0]
    np.testing.assert_allclose(found, (one + two) / np.linalg.norm(one + two), atol=1e-6)


def test_a_killed_run_on_clips_resumes_to_the_same_bits(walkers: Benchmark, tmp_path: Path, monkeypatch) -> None:
    from test_training import Killed, killed_after, weights

    recipe = small(clip={"sampling": "random"}, optimiser={"epochs": 3})
    train(recipe, walkers, tmp_path / "whole", False)
    with monkeypatch.context() as patch:
        killed_after(patch, 4)
        with pytest.raises(Killed):
            train(recipe, walkers, tmp_path / "resumed", False)
    train(recipe, walkers, tmp_path / "resumed", False)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_attributes_that_nobody_can_tell_are_refused(walkers: Benchmark, people: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.attributes"):
        train(small(loss={"aitl": 1.0}), walkers, tmp_path / "run", False)
    with pytest.raises(RecipeError, match="nothing would train these heads"):
        train(small(model={"attributes": True}), walkers, tmp_path / "run", False)
    with pytest.raises(InputError, match="people has no attributes to learn"):
        train(small(model={"attributes": True}), people, tmp_path / "run", False)


class Echo(torch.nn.Module):
    """Says of a clip the mean red, green and blue of its real frames."""

    def forward(self, clips: torch.Tensor, camids: torch.Tensor | None, valid: torch.Tensor) -> Output:
        assert clips.shape[0] * clips.shape[1] <= 6
        means = clips.mean((3, 4)) * valid[..., None]
        return Output(means.sum(1) / valid.sum(1, keepdim=True))


class Colours:
    """Pixels of one colour each."""

    size = (2, 2)

    def __init__(self, colours: np.ndarray) -> None:
        self.colours = colours

    def __len__(self) -> int:
        return len(self.colours)

    def read(self, indices) -> np.ndarray:
        return np.broadcast_to(self.colours[indices][:, None, None], (len(indices), 2, 2, 3)).copy()


def test_long_tracklets_are_streamed_and_every_frame_counts_once() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (1003, 3), dtype=np.uint8)
    card = Card("echo", {}, Preprocessing(2, 2, (0, 0, 0), (1, 1, 1)), 3, "people", "MIT", clip=3)
    model = Model.of_network(Echo(), card, torch.device("cpu"))
    lengths = np.array([1, 1000, 2])
    found, *_ = model._vectors(Colours(colours), lengths, None, None, False, None, [1.0], 6, progress=False)
    for row, (start, end) in zip(found, [(0, 1), (1, 1001), (1001, 1003)]):
        total = np.zeros(3)
        for k in range(start, end, 3):
            clip = colours[k : min(k + 3, end)] / 255
            mean = clip.mean(0)
            total += len(clip) * mean / np.linalg.norm(mean)
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-5)


def test_clips_of_a_batch(walkers: Benchmark) -> None:
    rows = walkers.train
    frames = np.arange(rows.offsets[-1])
    colours = np.stack([frames, frames, frames], 1).astype(np.uint8)
    data = Rows(rows, Colours(colours), ClipSettings(length=3, sampling="consecutive"), walkers.schema)
    short = int(np.argmin(rows.lengths))
    batch = data.__getitems__([(short, 1), (5, 2), (5, 2)])
    assert batch.pixels.shape == (3, 3, 3, 2, 2)
    assert batch.valid.sum(1).tolist() == [1, min(3, rows.lengths[5]), min(3, rows.lengths[5])]
    seen = batch.pixels[:, :, 0, 0, 0]
    assert seen[0].tolist() == [rows.offsets[short]] * 3  # repeated, and not counted
    assert torch.equal(seen[1], seen[2])  # one seed, one clip
    assert set(seen[1].tolist()) <= set(range(*rows.offsets[5:7]))
    assert batch.attributes.tolist() == [[rows.attributes[a.name][r] for a in walkers.schema] for r in (short, 5, 5)]
