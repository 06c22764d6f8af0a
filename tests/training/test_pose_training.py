"""Training of a pose network on drawn people: what is learned from, what it leaves, and what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reidentify import Benchmark, ImageError, InputError
from reidentify.data.benchmarks import join
from reidentify.data.pixels import DecodedOnTheFly
from reidentify.joints import MARKET14
from reidentify.models.output import Output
from reidentify.models.posemaps import gaussian_maps
from reidentify.pose import load_pose
from reidentify.training.pose import PoseLoader, PoseRows, PoseTraining, losses_of
from reidentify.training.recipe import PoseRecipe, read_recipe, recipe_of
from reidentify.training.run import train
from reidentify.training.settings import PoseLossSettings

SMALL = {
    "kind": "pose",
    "model": {"init": "random", "channels": 16},
    "input": {"height": 64, "width": 32, "holdout": 0.25},
    "affine": {"rotate": 10, "scale": 0.1},
    "sampler": {"batch": 8},
    "optimiser": {"epochs": 2, "lr": 1e-3, "warmup": 0, "schedule": "cosine"},
    "run": {"accelerator": "cpu", "evaluate_every": 1},
}


@pytest.fixture(scope="module")
def posed(people: Benchmark) -> Benchmark:
    """The drawn people (32 x 64 pixels) with the same joints for all; of one frame nothing is seen."""
    joints = np.zeros((len(people.sightings), 14, 3), np.float32)
    joints[..., 0] = 16
    joints[..., 1] = np.linspace(5, 60, 14)
    joints[..., 2] = 1
    joints[:, MARKET14.index("right wrist")] = np.nan, np.nan, 0
    joints[0] = 0
    return Benchmark("people", people.sightings.replace(keypoints=joints), people.protocol)


def recipe(**changes: dict) -> PoseRecipe:
    made = recipe_of({k: {**v, **changes.get(k, {})} if isinstance(v, dict) else v for k, v in SMALL.items()})
    assert isinstance(made, PoseRecipe)
    return made


def test_the_loss_by_hand() -> None:
    joints = torch.zeros(2, 14, 3)
    joints[0, 2] = torch.tensor([15.5, 31.5, 1.0])
    joints[1, 5] = torch.tensor([15.5, 31.5, 1.0])
    joints[1, 6] = torch.tensor([float("nan"), 3.0, 1.0])  # no point, so nothing is known of it
    joints[1, 7] = torch.tensor([40.0, 3.0, 1.0])  # outside
    target = gaussian_maps(joints, (16, 8), (64, 32), 1.5)
    logits = torch.zeros(2, 14)
    settings = PoseLossSettings(sigma=1.5, visibility=0.5)
    perfect = losses_of(Output(logits, logits, maps={"joints": target}), joints, (64, 32), settings)
    assert perfect["maps"].item() == pytest.approx(0)
    assert perfect["visibility"].item() == pytest.approx(0.5 * np.log(2))  # undecided everywhere
    empty = losses_of(Output(logits, logits, maps={"joints": 0 * target}), joints, (64, 32), settings)
    assert empty["maps"].item() == pytest.approx(1, abs=0.02)
    # What the maps of unseen joints show costs nothing.
    maps = target.clone()
    maps[0, 3:], maps[1, 6:] = 5.0, 5.0
    assert losses_of(Output(logits, logits, maps={"joints": maps}), joints, (64, 32), settings)["maps"] == 0
    # One of the two seen joints without its map: half of the cost.
    maps = target.clone()
    maps[0] = 0
    half = losses_of(Output(logits, logits, maps={"joints": maps}), joints, (64, 32), settings)
    assert half["maps"].item() == pytest.approx(0.5, abs=0.01)


def test_frames_without_joints_are_left_out(posed: Benchmark) -> None:
    rows = PoseRows(posed.train, recipe(), False, "people")
    assert len(rows) == len(posed.train) - 1
    batch = rows.__getitems__([0, 3])
    assert batch.pixels.shape == (2, 1, 3, 64, 32)
    assert batch.keypoints[1, 0, 0].tolist() == pytest.approx([16, 5, 1])
    assert batch.keypoints[1, 0, MARKET14.index("right wrist")].tolist() == [0, 0, 0]
    blind = posed.train.replace(keypoints=np.zeros_like(posed.train.keypoints))
    with pytest.raises(InputError, match="people: no joint is known and seen in any image"):
        PoseRows(blind, recipe(), False, "people")


def test_a_held_out_part_without_joints_is_named(posed: Benchmark, tmp_path: Path) -> None:
    held = np.isin(posed.sightings.pids, posed.holdout(0.25, 0)[1].test.identities)
    unknown = posed.sightings.keypoints.copy()
    unknown[held] = np.nan
    half = posed.replace(sightings=posed.sightings.replace(keypoints=unknown))
    with pytest.raises(InputError, match="the held-out part of people: no joint is known and seen"):
        train(recipe(), half, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_workers_decode_what_is_not_cached(posed: Benchmark, tmp_path: Path) -> None:
    made = recipe(run={"workers": 1})
    rows = PoseRows(posed.train, made, False, "people")
    assert PoseLoader(rows, made, None).train_dataloader().num_workers == 0
    files = [shutil.copy(file, tmp_path / f"{i}.jpg") for i, file in enumerate(rows.sightings.files)]
    rows.pixels = DecodedOnTheFly(list(map(str, files)), rows.size)
    loader = PoseLoader(rows, made, None)
    assert loader.train_dataloader().num_workers == 1
    first = next(iter(loader.train_dataloader()))
    assert first.pixels.shape == (8, 1, 3, 64, 32)
    for file in files:
        Path(file).unlink()
    (broken, *_) = loader.train_dataloader()
    with pytest.raises(ImageError, match="no such file"):
        loader.on_before_batch_transfer(broken, 0)


class Killed(Exception):
    """Stands for a killed process."""


def test_a_killed_run_ends_with_the_same_weights(posed: Benchmark, tmp_path: Path, monkeypatch) -> None:
    """It dies in the second of three epochs, the first of which leaves the backbone as it is."""
    made = recipe(optimiser={"epochs": 3, "freeze": 1})
    train(made, posed, tmp_path / "whole", progress=False)
    real, seen = PoseTraining.training_step, []

    def step(self, batch, number):
        seen.append(number)
        if self.current_epoch == 1 and number == 2:
            raise Killed
        return real(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(PoseTraining, "training_step", step)
        with pytest.raises(Killed):
            train(made, posed, tmp_path / "killed", progress=False)
    assert len(seen) > 3
    train(made, posed, tmp_path / "killed", progress=False)
    whole, killed = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[k], killed[k]) for k in whole)
    assert (tmp_path / "whole/pose.json").read_text() == (tmp_path / "killed/pose.json").read_text()


def test_a_frozen_backbone_stays_as_it_is(posed: Benchmark, tmp_path: Path) -> None:
    made = recipe(optimiser={"epochs": 1, "freeze": 1})
    train(made, posed, tmp_path / "first", progress=False)
    start = str(tmp_path / "first" / "weights.safetensors")
    train(recipe(model={"init": start}, optimiser={"epochs": 1, "freeze": 1}), posed, tmp_path / "second", False)
    before, after = (load_file(tmp_path / name / "weights.safetensors") for name in ("first", "second"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(name.startswith("backbone.") for name in moved)


def test_a_run_leaves_a_network_that_finds_joints(posed: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(recipe(), posed, folder, progress=False)
    card = json.loads((folder / "weights.json").read_text())
    assert card["kind"] == "pose"
    assert [score["data"] for score in card["scores"]] == ["people-holdout", "people, queries"]
    assert card["scores"][0]["counted"]["right wrist"] == 0
    assert card["scores"][0]["joints"]["right wrist"] is None
    assert "47 images" in card["data"] or "48 images" in card["data"]  # 12 of 16 people, 4 pictures each
    assert json.loads((folder / "pose.json").read_text()) == card["scores"]
    history = (folder / "history.csv").read_text()
    assert "validation/PCK" in history
    found = load_pose(folder).keypoints(posed.query, cache=False, progress=False)
    assert found.shape == (len(posed.query), 14, 3)
    assert np.isfinite(found).all()


def test_it_learns_the_same_joints_for_all(posed: Benchmark, tmp_path: Path) -> None:
    plain = {"augment": {"flip": 0, "pad": 0, "erase": 0}, "affine": {"rotate": 0, "scale": 0}}
    optimiser = {"epochs": 12, "lr": 3e-3}
    made = recipe_of(
        {**SMALL, **plain, "optimiser": {**SMALL["optimiser"], **optimiser}, "run": {**SMALL["run"], "flip": False}}
    )
    train(made, posed, tmp_path / "run", progress=False)
    before, *_, after = [
        float(line.split(",")[column])
        for lines in [(tmp_path / "run" / "history.csv").read_text().splitlines()]
        for column in [lines[0].split(",").index("loss/maps")]
        for line in lines[1:]
    ]
    assert after < before / 2


def test_joined_sets_are_scored_apart(posed: Benchmark, tmp_path: Path) -> None:
    joined = join([dataclasses.replace(posed, name="one"), dataclasses.replace(posed, name="two")])
    assert [part.name for part in joined.parts] == ["one", "two"]
    train(recipe(optimiser={"epochs": 1}), joined, tmp_path / "run", progress=False)
    card = json.loads((tmp_path / "run" / "weights.json").read_text())
    names = [score["data"] for score in card["scores"]]
    assert names == ["one-holdout", "two-holdout", "one, queries", "two, queries"]


def test_data_without_joints_is_refused(people: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="people: no joint is known and seen"):
        train(recipe(), people, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_shipped_recipe() -> None:
    made = read_recipe("pose-cpu", ["optimiser.epochs=2"])
    assert isinstance(made, PoseRecipe)
    assert made.optimiser.epochs == 2
    assert made.model.backbone == "tf_efficientnet_lite0"
