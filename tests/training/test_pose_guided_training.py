"""Training networks that are guided by joints, on drawn people."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import reidentify
from reidentify import Benchmark, RecipeError
from reidentify.batch import Batch
from reidentify.data.keypoints import resized
from reidentify.data.pixels import DecodedOnTheFly
from reidentify.embed import embed_sides
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.output import Output
from reidentify.models.weights import read_state
from reidentify.training.embedding import prepare
from reidentify.training.loader import Rows
from reidentify.training.module import EmbeddingTraining, _is_head
from reidentify.training.objective import Objective, predicted
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
NO_HOLDOUT = {"height": 64, "width": 32, "holdout": 0.0}


class Killed(Exception):
    """Stands for a killed process."""


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
        if name.startswith("backbone."):  # the statistics of its batch norms too
            assert torch.equal(value, base[name]), name
        elif name.endswith((".weight", "running_mean")):
            assert not torch.equal(value, base[name]), name


def test_after_a_freeze_the_trunk_learns(posed: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of({**SETTINGS, "model": {**SETTINGS["model"], "architecture": "aacn"}})
    module = prepare(recipe, posed, False).module
    norms = [m for name, m in module.network.backbone.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for epoch, learns in ((0, False), (1, True)):
        monkeypatch.setattr(EmbeddingTraining, "current_epoch", epoch)
        module.on_train_epoch_start()
        assert {m.training for m in norms} == {learns}
        assert {p.requires_grad for p in module.network.backbone.parameters()} == {learns}
        assert module.network.necks[0].norm.training


def test_the_fusion_alone_learns(posed: Benchmark, tmp_path: Path) -> None:
    """The published third stage: every tensor outside the chosen layers stays, those inside move."""
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "architecture": "spindle"}}
    optimiser = {"epochs": 1, "warmup": 0, "train": ["fusion", "joined", "necks.0"]}
    base = prepare(recipe_of(settings), posed, False).module.network.state_dict()
    path = tmp_path / "base.pth"
    torch.save(base, path)
    recipe = recipe_of(
        {**settings, "optimiser": optimiser, "model": {**settings["model"], "init": str(path)}, "input": NO_HOLDOUT}
    )
    after = read_state(train(recipe, posed, tmp_path / "run", progress=False))
    assert set(after) < set(base)
    for name, value in after.items():
        if not name.startswith(("fusion.", "joined.", "necks.0.")):
            assert torch.equal(value, base[name]), name
        elif name.endswith((".weight", "running_mean")):
            assert not torch.equal(value, base[name]), name


def test_a_layer_that_is_not_there_cannot_be_chosen(posed: Benchmark, tmp_path: Path) -> None:
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "architecture": "spindle"}}
    for layer in ("fusio", "necks.0.norm.bias"):  # a neck's shift never learns
        recipe = recipe_of({**settings, "optimiser": {"train": [layer]}})
        with pytest.raises(RecipeError, match=rf"the network has no layer '{layer}' that learns; it has backbone, "):
            train(recipe, posed, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("architecture", ["spindle", "aacn"])
def test_a_killed_run_ends_with_the_same_weights(
    posed: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    """Killed in its third epoch, after the freeze; the moving average too goes on where it stood."""
    optimiser = {"epochs": 3, "warmup": 0, "freeze": 1, "ema": 0.9}
    augment = {"pad": 2, "erase": 0.5}
    model = {**SETTINGS["model"], "architecture": architecture, "part_matching": architecture == "aacn"}
    recipe = recipe_of({**SETTINGS, "optimiser": optimiser, "augment": augment, "model": model})
    whole = read_state(train(recipe, posed, tmp_path / "whole", progress=False))
    real, epochs = EmbeddingTraining.training_step, []

    def step(self: EmbeddingTraining, batch: Batch, number: int) -> Tensor:
        epochs.append(self.current_epoch)
        if epochs.count(2) == 2:
            raise Killed
        return real(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingTraining, "training_step", step)
        with pytest.raises(Killed):
            train(recipe, posed, tmp_path / "killed", progress=False)
    assert epochs.count(0) == epochs.count(1) > 1
    killed = read_state(train(recipe, posed, tmp_path / "killed", progress=False))
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        assert torch.equal(value, killed[name]), name


@pytest.mark.parametrize("matching", [False, True])
def test_it_is_validated_as_it_is_scored(posed: Benchmark, tmp_path: Path, matching: bool) -> None:
    """The last validation and the card tell the same of the held-out people."""
    model = {**SETTINGS["model"], "architecture": "aacn", "part_matching": matching}
    recipe = recipe_of({**SETTINGS, "model": model, "run": {**SETTINGS["run"], "flip": True}})
    train(recipe, posed, tmp_path / "run", progress=False)
    with open(tmp_path / "run" / "history.csv") as file:
        last = list(csv.DictReader(file))[-1]
    stated = json.loads((tmp_path / "run" / "weights.json").read_text())["scores"]
    held = next(s for s in stated if s["data"] == "people-holdout")
    assert float(last["validation/mAP"]) == pytest.approx(held["mAP"], abs=1e-6)
    other = reidentify.load(tmp_path / "run", device="cpu")
    rows = posed.holdout(0.25, 0)[1]
    otherwise = reidentify.evaluate(
        *embed_sides(other, rows, parts=not matching, progress=False), protocol=rows.protocol
    )
    assert abs(otherwise.mAP - held["mAP"]) > 1e-4  # the two ways differ on these people


def test_words_of_a_head_inside_a_backbone_are_none() -> None:
    """timm's HRNet has `branches` and `fuse_layers`, CrossViT has `fusion`."""
    network = build(ModelSettings("baseline", "hrnet_w18_small", init="random", last_stride=2), 3)
    names = [name for name, _ in network.named_parameters()]
    assert any(".branches." in name for name in names)
    head = [name for name in names if _is_head(name)]
    assert head == [name for name in names if not name.startswith("backbone.")]
    assert head
    assert _is_head("branches.0.0.conv.weight")


def test_an_unseen_part_does_not_vote() -> None:
    """By hand: part 1 is sure of class 0, but the first row does not show it and the second a little."""
    logits = torch.tensor([[[0.0, 1.0], [9.0, 0.0]]]).log_softmax(-1).expand(3, 2, 2)
    visibility = torch.tensor([[1.0, 0.0], [1.0, 0.4], [1.0, 1.0]])
    # Part 0 gives class 1 a lead of 0.46; part 1 gives class 0 one of nearly 1.
    assert predicted(logits, visibility).tolist() == [1, 1, 0]
    assert predicted(logits).tolist() == [0, 0, 0]


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


@pytest.mark.parametrize(("accelerator", "device"), [("cpu", "cpu"), ("auto", "cuda")])
def test_joints_are_found_on_the_device_of_the_recipe(
    people: Benchmark, monkeypatch, accelerator: str, device: str
) -> None:
    asked = []

    def joints_of(rows, size, progress, device):
        asked.append(device)
        return np.zeros((len(rows), 14, 3), np.float32)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("reidentify.training.embedding.resized_joints", joints_of)
    model = {**SETTINGS["model"], "architecture": "aacn"}
    prepare(recipe_of({**SETTINGS, "model": model, "run": {"accelerator": accelerator}}), people, False)
    assert asked == [torch.device(device)] * 2  # held-out people too
