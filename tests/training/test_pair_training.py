"""Training of pairs on drawn people: it learns, resumes to the bit with what it mined, and notices a collapse."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import Killed, killed_after
from safetensors.torch import load_file

from reidentify import Benchmark, InputError, RecipeError
from reidentify.data.benchmarks import join
from reidentify.errors import ReidentifyWarning
from reidentify.models.weights import Card
from reidentify.pairs import load_pairs, score_pairs
from reidentify.training.pairs.module import CollapseGuard
from reidentify.training.pairs.run import prepare
from reidentify.training.rates import find_rate
from reidentify.training.recipe import PairRecipe, recipe_of
from reidentify.training.run import train
from reidentify.values import Sightings

SMALL = {
    "kind": "pairs",
    "model": {"kind": "idla", "norm": True},
    "input": {"height": 64, "width": 32, "holdout": 0.25},
    "pairs": {"batch": 16},
    "augment": {"pad": 2, "erase": 0.0},
    "optimiser": {"kind": "adam", "lr": 1e-3, "epochs": 3, "warmup": 0, "schedule": "cosine"},
    "run": {"accelerator": "cpu", "evaluate_every": 1},
}


def small(**changes: dict) -> PairRecipe:
    kept = SMALL | {k: {**SMALL.get(k, {}), **v} for k, v in changes.items()}
    recipe = recipe_of(kept)
    assert isinstance(recipe, PairRecipe)
    return recipe


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def test_it_learns_and_says_how_well(people: Benchmark, tmp_path: Path) -> None:
    train(small(optimiser={"epochs": 8}), people, tmp_path / "run", progress=False)
    card = Card.read(tmp_path / "run" / "weights.json")
    assert card.kind == "pairs"
    held, test = card.scores
    assert (held["data"], test["data"]) == (f"{people.name}-holdout", people.name)
    assert test["accuracy"] > 0.8
    model = load_pairs(tmp_path / "run")
    rows = people.test
    first = rows.pids[0]
    same = np.array([[0, int(np.flatnonzero(rows.pids == first)[1])]])
    assert score_pairs(model, rows, same, progress=False)[0] > 0.5
    assert {"history.csv", "curves.png", "recipe.json"} <= {p.name for p in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize(("mining", "every"), [("none", 1), ("hard", 1), ("semi-hard", 2)])
def test_a_killed_run_ends_with_the_same_weights(
    people: Benchmark, tmp_path: Path, monkeypatch, mining: str, every: int
) -> None:
    """Negatives that were mined before the kill are shown in the third epoch, which the resumed run begins with."""
    recipe = small(
        model={"dropout": 0.5},  # what it drops is drawn anew after the resume
        pairs={"mining": mining, "mine_after": 1, "mine_every": every, "mine_nearest": 3, "mining_margin": 1.0},
    )
    train(recipe, people, tmp_path / "whole", progress=False)
    steps = len((tmp_path / "whole" / "history.csv").read_text().splitlines()) - 1
    assert steps == 3
    with monkeypatch.context() as patch:
        killed_after(patch, 2 * _steps(people) + 1 + 2)  # each validation logs once as well
        with pytest.raises(Killed):
            train(recipe, people, tmp_path / "killed", progress=False)
    train(recipe, people, tmp_path / "killed", progress=False)
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[k], killed[k]) for k in whole)


def _steps(people: Benchmark) -> int:
    loader = prepare(small(), people, progress=False).loader
    return len(loader._sampler(0, 1))


def test_mined_negatives_are_those_that_are_shown(people: Benchmark, tmp_path: Path, monkeypatch) -> None:
    """With a share of 1 every negative of the second epoch is a mined one, and none of the first need be."""
    from reidentify.training.pairs import callbacks, loader

    mined, shown = [], []
    real_mining, real_rows = callbacks.hardest_negatives, loader.PairRows.__getitems__

    def mining(*given, **named):
        mined.append(real_mining(*given, **named))
        shown.append(None)
        return mined[-1]

    def rows(self, pairs):
        shown.extend(pairs)
        return real_rows(self, pairs)

    monkeypatch.setattr(callbacks, "hardest_negatives", mining)
    monkeypatch.setattr(loader.PairRows, "__getitems__", rows)
    settings = {"mining": "hard", "mine_after": 1, "mine_nearest": 12, "mined_share": 1.0}
    train(
        small(optimiser={"epochs": 2}, pairs=settings, input={"holdout": 0}), people, tmp_path / "run", progress=False
    )
    assert len(mined) == 1
    after = shown[shown.index(None) + 1 :]
    negatives = {tuple(sorted(pair[:2])) for pair in after if not pair[2]}
    assert negatives
    assert negatives <= {tuple(pair) for pair in mined[0].tolist()}
    before = {tuple(sorted(pair[:2])) for pair in shown[: shown.index(None)] if not pair[2]}
    assert not before <= {tuple(pair) for pair in mined[0].tolist()}


@pytest.mark.parametrize("norm", [False, True])
def test_the_top_layers_alone_are_retrained(people: Benchmark, tmp_path: Path, norm: bool) -> None:
    """Trunk and summaries are, to the bit, those of the epoch before the mining; batch norms included."""
    constant = {"schedule": "multistep"}
    mined = {"mining": "hard", "mine_after": 1, "mine_nearest": 3, "retrain": "top"}
    one = small(optimiser=constant | {"epochs": 1}, model={"norm": norm})
    train(one, people, tmp_path / "one", progress=False)
    top = small(optimiser=constant | {"epochs": 2}, pairs=mined, model={"norm": norm})
    train(top, people, tmp_path / "top", progress=False)
    before, after = weights(tmp_path / "one"), weights(tmp_path / "top")
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved
    assert all(k.startswith(("head.connected", "last")) for k in moved)


def test_a_siamese_network_learns_by_both_losses(people: Benchmark, tmp_path: Path) -> None:
    siamese = {"kind": "siamese", "embedding": {"architecture": "osnet", "width": 0.25}, "norm": False}
    recipe = small(model=siamese, loss={"contrastive": 0.5}, optimiser={"epochs": 2})
    train(recipe, people, tmp_path / "run", progress=False)
    header = (tmp_path / "run" / "history.csv").read_text().splitlines()[0]
    assert {"loss/contrastive", "loss/cross_entropy"} <= set(header.split(","))
    assert load_pairs(tmp_path / "run").network.embedding_dim == 512


def test_the_guard_by_hand() -> None:
    """Of 20 pairs, half of one person: all answers the same is a collapse, 19 of 20 is not at this limit."""
    truth = torch.arange(20) % 2
    guard = CollapseGuard(window=20, limit=0.96)
    with pytest.warns(ReidentifyWarning, match=r"100.0 % of the last pairs for one person, where 50 % are of one"):
        guard.saw(torch.ones(20, dtype=torch.long), truth)
    guard.saw(torch.ones(20, dtype=torch.long), truth)  # said once, until it has recovered
    guard.saw(truth, truth)
    with pytest.warns(ReidentifyWarning, match="for two people"):
        guard.saw(torch.zeros(20, dtype=torch.long), truth)
    said = torch.zeros(20, dtype=torch.long)
    said[0] = 1
    guard.saw(said, truth)  # a warning would be an error here
    guard.saw(torch.ones(20, dtype=torch.long), torch.ones(20, dtype=torch.long))  # nothing else is to be seen
    guard.saw(torch.ones(10, dtype=torch.long), truth[:10])  # half a window


@pytest.mark.parametrize(("accelerator", "device"), [("cpu", "cpu"), ("auto", "cuda")])
def test_joints_of_joined_data_are_found_on_the_device(
    people: Benchmark, monkeypatch, accelerator: str, device: str
) -> None:
    """One of two data sets has joints; those of the other are found on the device that the recipe asks for."""
    own = people.sightings.replace(keypoints=np.ones((len(people.sightings), 14, 3)))
    both = join([dataclasses.replace(people, name="with", sightings=own), dataclasses.replace(people, name="without")])
    asked: list[tuple] = []

    def found(names: list[str]) -> np.ndarray:
        return np.full((len(names), 14, 3), 2.0) - [0, 0, 1.5]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("reidentify.pose.load_pose", lambda *given: asked.append(given))
    monkeypatch.setattr("reidentify.pose._found", lambda model, names, *_: found(names))
    recipe = small(model={"pose": True}, run={"accelerator": accelerator})
    ready = prepare(recipe, both, progress=False)
    assert asked == [("pose-cpu", torch.device(device))] * 2  # held-out people too
    for rows in (ready.loader.rows, ready.loader.validation):
        known = rows.sightings.sources == "with"
        assert set(rows.keypoints[known][..., 2].flatten().tolist()) == {1}
        assert set(rows.keypoints[~known][..., 2].flatten().tolist()) == {0.5}


def test_what_does_not_fit_is_refused_in_one_line(people: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"loss.contrastive is of embeddings, and a network of kind idla has none"):
        train(small(loss={"contrastive": 1.0}), people, tmp_path / "a", progress=False)
    with pytest.raises(RecipeError, match=r"loss.cross_entropy: the layers"):
        small(loss={"cross_entropy": 0.0, "contrastive": 1.0}, model={"kind": "siamese"})
    with pytest.raises(RecipeError, match="nothing mined would be shown in 3 epochs"):
        small(pairs={"mining": "hard", "mine_after": 3})
    with pytest.raises(InputError, match="no ImageNet weights of the published trunk"):
        train(small(model={"init": "imagenet"}), people, tmp_path / "a", progress=False)
    only = people.sightings.split == "train"
    only[np.flatnonzero(people.sightings.pids == people.query.pids[0])] = True
    single = people.replace(sightings=people.sightings[only])
    with pytest.raises(InputError, match="the test rows of people show fewer than two people"):
        train(small(), single, tmp_path / "a", progress=False)
    with pytest.raises(InputError, match="images of 8 x 8 do not suit the network"):
        train(small(input={"height": 8, "width": 8}), people, tmp_path / "b", progress=False)
    once = np.unique(people.train.pids, return_index=True)[1]
    rows = people.train[once]
    alone = people.replace(sightings=rows.replace(split=np.full(len(rows), "train", object)))
    with pytest.raises(InputError, match="one image"):
        train(small(input={"holdout": 0}), alone, tmp_path / "c", progress=False)
    tracks = people.train.replace(offsets=None)
    pairs_of = np.arange(0, len(tracks) + 1, 2)
    two = Sightings(
        tracks.pids[::2], files=tracks.files, split=np.full(len(tracks) // 2, "train", object), offsets=pairs_of
    )
    with pytest.raises(InputError, match="compare images"):
        train(small(input={"holdout": 0}), people.replace(sightings=two), tmp_path / "d", progress=False)
    assert not any((tmp_path / name).exists() for name in "abcd")


def test_the_range_test_rises_and_suggests(people: Benchmark) -> None:
    found = find_rate(small(), people, 1e-5, 1.0, 40, progress=False)
    assert (np.diff(found.rates) > 0).all()
    assert found.rates[0] >= 1e-5
    assert found.rates[0] < found.suggestion < found.rates[-1]
    still = find_rate(small(), people, 1e-12, 1e-11, 20, progress=False)
    assert still.losses.max() / still.losses.min() < 1.5  # nothing is learned, so the curve is flat from its beginning
    assert len(found.losses) == len(found.rates) > 20
    with pytest.raises(InputError, match="rates must rise"):
        find_rate(small(), people, 1.0, 0.1)


def test_the_card_of_a_pair_network_is_read_back(people: Benchmark, tmp_path: Path) -> None:
    train(small(optimiser={"epochs": 1}), people, tmp_path / "run", progress=False)
    stated = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert stated["kind"] == "pairs"
    assert stated["architecture"]["kind"] == "idla"
    stated["architecture"]["dropout"] = "much"
    (tmp_path / "run" / "weights.json").write_text(json.dumps(stated))
    with pytest.raises(Exception, match=r"architecture.dropout: expected a number"):
        load_pairs(tmp_path / "run")


def test_more_pairs_than_there_are_is_said(people: Benchmark, capsys) -> None:
    """12 of 16 people are trained on, 4 images and so 6 pairs of each."""
    prepare(small(pairs={"per_epoch": 100}), people, progress=False)
    said = "pairs.per_epoch: of 100 pairs of one person there are 72; all are shown"
    assert said in " ".join(capsys.readouterr().out.split())
    prepare(small(pairs={"per_epoch": 72}), people, progress=False)
    assert "per_epoch" not in capsys.readouterr().out
