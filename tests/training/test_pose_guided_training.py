"""Training networks that are guided by joints, on drawn people."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reidentify
from reidentify import Benchmark
from reidentify.data.keypoints import resized
from reidentify.data.pixels import DecodedOnTheFly
from reidentify.embed import embed_sides
from reidentify.models.output import Output
from reidentify.training.loader import Rows
from reidentify.training.objective import Objective
from reidentify.training.recipe import recipe_of
from reidentify.training.run import train
from reidentify.training.settings import ClipSettings, LossSettings

SETTINGS = {
    "model": {"backbone": "osnet", "width": 0.25, "init": "random", "embedding_dim": 16, "region_cells": 8},
    "input": {"height": 64, "width": 32, "holdout": 0.25},
    "sampler": {"identities": 4, "instances": 2},
    "augment": {"pad": 2},
    "optimiser": {"epochs": 2, "warmup": 0, "freeze": 1},
    "run": {"accelerator": "cpu", "evaluate_every": 1},
}


@pytest.fixture(scope="module")
def posed(people: Benchmark) -> Benchmark:
    """The drawn people with joints that stand in the middle, and some unseen."""
    rng = np.random.default_rng(0)
    height = np.array([5, 14, 16, 22, 30, 16, 22, 30, 34, 46, 60, 34, 46, 60])
    side = np.array([16, 16, *[10] * 3, *[22] * 3, *[13] * 3, *[19] * 3])
    joints = np.stack([side, height, np.ones(14)], 1)[None].repeat(len(people.sightings), 0)
    joints[..., :2] += rng.normal(0, 1, joints[..., :2].shape)
    joints[..., 2] = rng.random(joints.shape[:2]) < 0.9
    return dataclasses.replace(people, sightings=people.sightings.replace(keypoints=joints))


def test_batches_bring_joints_in_pixels_of_the_image(posed: Benchmark) -> None:
    rows = posed.train
    data = Rows(rows, DecodedOnTheFly(list(rows.files), (128, 32)), ClipSettings())
    assert data[(3, 0)].keypoints is None
    data.keypoints = resized(rows, (128, 32), progress=False)
    batch = data.__getitems__([(3, 0), (0, 0)])
    assert batch.keypoints.shape == (2, 1, 14, 3)
    given = rows.keypoints[3]
    seen = given[:, 2] > 0
    # Twice as high: the middle of the pixel y is at 2 y + 0.5.
    expected = np.stack([given[:, 0], 2 * given[:, 1] + 0.5, given[:, 2]], 1)
    np.testing.assert_allclose(batch.keypoints[0, 0][seen], expected[seen], atol=1e-4)


@pytest.mark.parametrize("architecture", ["spindle", "aacn"])
def test_a_run_from_recipe_to_scores(posed: Benchmark, tmp_path: Path, architecture: str) -> None:
    changes = {"architecture": architecture, "part_matching": architecture == "aacn"}
    recipe = recipe_of({**SETTINGS, "model": {**SETTINGS["model"], **changes}})
    out = tmp_path / "run"
    train(recipe, posed, out, progress=False)
    model = reidentify.load(out, device="cpu")
    found = model.embed_sightings(posed.query, progress=False)
    assert (found.visibility is not None) == changes["part_matching"]
    card = json.loads((out / "weights.json").read_text())
    assert len(card["scores"]) == 2
    stated = next(s for s in card["scores"] if s["data"] == "people")
    query, gallery = embed_sides(model, posed, progress=False)
    assert reidentify.evaluate(query, gallery, posed.protocol).mAP == pytest.approx(stated["mAP"], abs=1e-6)


def test_the_trunk_is_frozen_and_the_rest_is_not(posed: Benchmark, tmp_path: Path) -> None:
    """Stage-wise as published: the trunk's weights are still those it started from, and every other layer has moved."""
    from reidentify.models.weights import read_state
    from reidentify.training.embedding import prepare

    optimiser = {"epochs": 1, "warmup": 0, "freeze": 1}
    settings = {**SETTINGS, "optimiser": optimiser, "model": {**SETTINGS["model"], "architecture": "spindle"}}
    recipe = recipe_of(settings)
    torch.manual_seed(0)
    base = prepare(recipe, posed, False).module.network.state_dict()
    path = tmp_path / "base.pth"
    torch.save(base, path)
    recipe = recipe_of({**settings, "model": {**settings["model"], "init": str(path)}})
    after = read_state(train(recipe, posed, tmp_path / "run", progress=False))
    for name, value in after.items():
        if not name.endswith(".weight") or "classifier" in name:
            continue
        moved = not torch.equal(value, base[name])
        assert moved != name.startswith("backbone."), name


def test_an_unseen_part_is_not_classified() -> None:
    """The loss by hand: each row's cross entropy of a part times its visibility, over all rows."""
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 2, 5), torch.tensor([1, 4, 0])
    visibility = torch.tensor([[1.0, 0.0], [1.0, 0.5], [1.0, 1.0]])
    objective = Objective(LossSettings(label_smoothing=0.0, triplet=0.0), 5, 4)
    found = objective(Output(torch.zeros(3, 4), logits, visibility=visibility), labels)["cross_entropy"]
    expected = 0.0
    for b in range(3):
        for p in range(2):
            weights = logits[b, p].double().exp()
            expected += visibility[b, p].item() * -float((weights[labels[b]] / weights.sum()).log()) / 3
    assert found.item() == pytest.approx(expected, abs=1e-5)
    plain = objective(Output(torch.zeros(3, 4), logits), labels)["cross_entropy"]
    by_torch = sum(F.cross_entropy(part, labels) for part in logits.unbind(1))
    assert plain.item() == pytest.approx(by_torch.item(), abs=1e-5)
