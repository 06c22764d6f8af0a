"""Training by pose-guided generation on drawn people: what a run leaves, resume, stages, and what goes wrong."""

import csv
import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from generation_data import FD_GAN, TINY, gesturing, small, standing
from kills import Killed, killed_after
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import reidentify
from reidentify import Benchmark, InputError, RecipeError, ReidentifyError
from reidentify.errors import ReidentifyWarning, WeightsError
from reidentify.models.weights import Card
from reidentify.training.generation.callbacks import CollapseGuard, couples
from reidentify.training.generation.run import prepare
from reidentify.training.rates import find_rate
from reidentify.training.recipe import recipe_of
from reidentify.training.run import train
from reidentify.values import Sightings


def weights(folder: Path, name: str = "weights") -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name}.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    """The names under which two sets of tensors do not agree to the bit."""
    return [k for k in a.keys() | b.keys() if k not in a or k not in b or not torch.equal(a[k], b[k])]


@pytest.fixture(scope="module")
def posed(people: Benchmark) -> Benchmark:
    joints = standing(len(people.sightings))
    return Benchmark("people", people.sightings.replace(keypoints=joints), people.protocol)


@pytest.fixture(scope="module")
def run(posed: Benchmark, tmp_path_factory) -> Path:
    """A finished run, which later stages start from."""
    folder = tmp_path_factory.mktemp("stages") / "all"
    train(small(), posed, folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def siamese(posed: Benchmark, tmp_path_factory) -> Path:
    """A finished run of a Siamese network, as FD-GAN's first stage is."""
    folder = tmp_path_factory.mktemp("siamese") / "pairs"
    pairs = recipe_of(
        {
            "kind": "pairs",
            "model": {"kind": "siamese", "embedding": {**TINY, "neck": "none", "embedding_dim": 16}},
            "input": {"height": 64, "width": 32, "holdout": 0},
            "pairs": {"batch": 16},
            "optimiser": {"epochs": 1, "warmup": 0},
            "run": {"accelerator": "cpu"},
        }
    )
    train(pairs, posed, folder, progress=False)
    return folder


def test_a_run_leaves_an_encoder_and_a_generator(posed: Benchmark, run: Path) -> None:
    files = {"weights.json", "generator.json", "pictures.png", "curves.png", "metrics.json", "recipe.json"}
    assert {p.name for p in run.iterdir()} >= files
    card = Card.read(run / "weights.json")
    assert (card.kind, card.embedding_dim) == ("embedding", 16)
    assert [score["data"] for score in card.scores] == ["people-holdout", "people"]
    # The encoder is an embedding network like any other, and sees colour images alone.
    model = reidentify.load(run)
    sides = [model.embed_sightings(rows, cache=False, progress=False) for rows in (posed.query, posed.gallery)]
    result = reidentify.evaluate(*sides)
    assert result.mAP == pytest.approx(json.loads((run / "metrics.json").read_text())["mAP"], abs=1e-6)

    every = Card.read(run / "generator.json")
    assert (every.kind, every.architecture["generator"]["channels"]) == ("generation", 4)
    assert every.architecture["encoder"] == card.architecture
    parts = weights(run, "generator")
    assert {name.split(".")[0] for name in parts} == {"encoder", "generator", "image", "pose"}
    encoder = {k.removeprefix("encoder."): v for k, v in parts.items() if k.startswith("encoder.")}
    encoder.pop("neck.classifier.weight")
    assert not same(encoder, weights(run))

    rows = list(csv.DictReader((run / "history.csv").open()))
    names = {"reconstruction", "image", "pose", "cross_entropy", "triplet", "total"}
    assert {f"loss/{n}" for n in names} | {"loss/image discriminator", "validation/mAP"} <= rows[0].keys()
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert len(events.Images("people")) == 2  # one each epoch


@pytest.mark.parametrize("method", ["st-reidnet", "fd-gan"])
def test_a_killed_run_ends_with_the_same_bits(posed: Benchmark, tmp_path: Path, monkeypatch, method: str) -> None:
    """Six steps an epoch; each validation logs once as well. ST-ReIDNet with a moving average, FD-GAN without."""
    base = FD_GAN if method == "fd-gan" else {"optimiser": {"ema": 0.9}}
    train(small(base), posed, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        killed_after(patch, 6 + 1 + 2)
        with pytest.raises(Killed):
            train(small(base), posed, tmp_path / "killed", progress=False)
    torch.manual_seed(3)  # whatever state the new process starts in
    train(small(base), posed, tmp_path / "killed", progress=False)
    for name in ("weights", "generator"):
        assert not same(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name))
    rows = [list(csv.DictReader((tmp_path / n / "history.csv").open())) for n in ("whole", "killed")]
    for row in [*rows[0], *rows[1]]:
        row.pop("seconds")
    assert rows[0] == rows[1]


def test_the_second_stage_leaves_the_encoder_alone(posed: Benchmark, run: Path, tmp_path: Path) -> None:
    """Its weights and the statistics of its batch norms stay to the bit; all networks go on from the first stage."""
    one = {"optimiser": {"epochs": 1}, "generator": {"init": str(run)}}
    before = weights(run, "generator")
    prepared = prepare(small(one, stage="generator"), posed, progress=False)
    assert not same(prepared.module.networks.state_dict(), before)
    train(small(one, stage="generator"), posed, tmp_path / "two", progress=False)
    after = weights(tmp_path / "two", "generator")
    moved = {name.split(".")[0] for name in same(before, after)}
    assert moved == {"generator", "image", "pose"}
    assert not same(weights(run), weights(tmp_path / "two"))
    assert "started from generator" in Card.read(tmp_path / "two" / "weights.json").data


def test_the_third_stage_keeps_the_statistics_of_batch_norms(posed: Benchmark, run: Path, tmp_path: Path) -> None:
    one = {"optimiser": {"epochs": 1}, "generator": {"init": str(run / "generator.safetensors")}}
    before = weights(run, "generator")
    train(small(one, stage="joint"), posed, tmp_path / "three", progress=False)
    moved = same(before, weights(tmp_path / "three", "generator"))
    assert {name.split(".")[0] for name in moved} == {"encoder", "generator", "image", "pose"}
    statistics = [n for n in moved if n.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")]
    assert {name.split(".")[0] for name in statistics} == {"generator", "pose"}


def test_a_siamese_network_starts_encoder_verifier_and_identity_discriminator(posed: Benchmark, siamese: Path) -> None:
    """What `model.init` of a run of kind pairs gives: the same features, the same head, and a discriminator whose one
    logit is that of the same person."""
    recipe = small(FD_GAN, model={"init": str(siamese), "neck": "none"}, input={"holdout": 0})
    networks = prepare(recipe, posed, progress=False).module.networks
    theirs = weights(siamese)
    encoder = {k.removeprefix("network."): v for k, v in theirs.items() if k.startswith("network.")}
    assert not same(encoder, networks.encoder.state_dict())
    assert not same({k: v for k, v in theirs.items() if k not in {f"network.{n}" for n in encoder}},
                    networks.verifier.state_dict())  # fmt: skip
    judge = networks.image
    assert not same(encoder, judge.encoder.state_dict())
    assert torch.equal(judge.verifier.last.weight, theirs["last.weight"][1:])


HEALTHY = {
    "generator": {"channels": 4, "pose_features": 8, "noise": 0, "skips": 5, "dropout": 0.0},
    "rates": {"generator": 1e-2},
    "optimiser": {"epochs": 5, "schedule": "multistep", "lr": 1e-3},
    "input": {"holdout": 0},
}


def test_a_healthy_training_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReidentifyWarning)
        train(small(HEALTHY), gesturing(tmp_path / "people"), tmp_path / "run", progress=False)
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert float(rows[-1]["spread/drawn"]) > 5 * float(rows[0]["spread/drawn"])  # people begin to look different
    assert float(rows[-1]["loss/reconstruction"]) < float(rows[0]["loss/reconstruction"])


def test_a_pose_that_is_ignored_is_said(tmp_path: Path, monkeypatch) -> None:
    """The generator's first layer, which alone sees the pose, gives nothing and never learns."""
    from reidentify.training.generation import run as generation

    real = generation.build_networks

    def blind(*given):
        networks = real(*given)
        torch.nn.init.zeros_(networks.generator.down[0].weight).requires_grad_(False)
        return networks

    monkeypatch.setattr(generation, "build_networks", blind)
    recipe = small(HEALTHY, optimiser={"epochs": 8})  # people must begin to look different first
    with pytest.warns(ReidentifyWarning) as said:
        train(recipe, gesturing(tmp_path / "people"), tmp_path / "run", progress=False)
    sentences = [str(one.message) for one in said]
    assert sum("ignored the pose for 3 epochs" in sentence for sentence in sentences) == 1, sentences
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert all(float(row["change/drawn"]) < 1e-6 for row in rows)
    assert all(float(row["change/real"]) > 0.1 for row in rows)


def test_a_collapse_and_a_discriminator_that_is_always_right_are_said(
    posed: Benchmark, tmp_path: Path, monkeypatch
) -> None:
    """A generator that draws the same grey always, and cannot learn: the discriminators soon are never wrong."""
    from reidentify.training.generation import run as generation

    real = generation.build_networks

    def grey(*given):
        networks = real(*given)
        torch.nn.init.zeros_(networks.generator.up[-1][1].weight)
        return networks

    monkeypatch.setattr(generation, "build_networks", grey)
    rates = {"generator": 1e-12, "image": 2e-3, "pose": 2e-3}
    plain = {"flip": 0.0, "pad": 0, "erase": 0.0}
    recipe = small(rates=rates, optimiser={"epochs": 5, "lr": 1e-12}, input={"holdout": 0}, augment=plain)
    with pytest.warns(ReidentifyWarning) as said:
        train(recipe, posed, tmp_path / "run", progress=False)
    sentences = [str(one.message) for one in said]
    assert sum("pictures of all people and poses have been alike" in s for s in sentences) == 1
    for name in ("image", "pose"):
        right = f"the {name} discriminator has been right about 100.0 % of the pictures for 3 epochs"
        assert sum(right in s for s in sentences) == 1


def test_the_guard_by_hand() -> None:
    guard = CollapseGuard(patience=2, alike=0.1, right=0.99)

    def means(drawn: float, image: float, pose: float) -> dict[str, float]:
        judges = {"accuracy/image discriminator": image, "accuracy/pose discriminator": pose}
        judges |= {"loss/image discriminator": 0.5, "loss/pose discriminator": 0.5}
        return {"spread/drawn": drawn, "spread/real": 0.5, "change/drawn": 0.1, "change/real": 0.5, **judges}

    assert not guard.saw(means(0.04, 0.99, 0.5))
    (spread, image) = guard.saw(means(0.04, 1.0, 0.989))
    assert "they differ 8.0 % as much as real ones" in spread
    assert "the image discriminator has been right about 100.0 % of the pictures for 2 epochs" in image
    resumed = CollapseGuard(patience=2, alike=0.1, right=0.99)
    resumed.load_state_dict(guard.state_dict())
    assert not resumed.saw(means(0.04, 1.0, 0.99))  # said once, until it has recovered
    (pose,) = resumed.saw(means(0.06, 0.98, 0.99))
    assert "loss.smooth_real" in pose
    assert not resumed.saw(means(0.04, 1.0, 0.5))
    assert len(resumed.saw(means(0.04, 1.0, 0.5))) == 2


def test_the_guard_knows_an_ignored_pose_and_a_discriminator_that_guesses() -> None:
    well = {"spread/drawn": 0.3, "spread/real": 0.5, "change/drawn": 0.1, "change/real": 0.5}
    well |= {"accuracy/pose discriminator": 0.7, "loss/pose discriminator": 0.6}  # that of images has no weight
    guard = CollapseGuard(patience=2)
    assert not [*guard.saw(well), *guard.saw(well)]
    ignored = well | {"change/drawn": 0.02}  # 4 %
    assert not guard.saw(ignored)
    (sentence,) = guard.saw(ignored)
    assert "ignored the pose for 2 epochs (its pictures change with it 4.0 %" in sentence
    assert not [*guard.saw(well | {"change/drawn": 0.026})] * 2
    guesses = well | {"accuracy/pose discriminator": 0.515, "loss/pose discriminator": 0.69}  # ln 2 = 0.693
    assert not guard.saw(guesses)
    (sentence,) = guard.saw(guesses)
    assert "the pose discriminator has been no better than chance for 2 epochs (right about 51.5 %" in sentence
    for other in ({"accuracy/pose discriminator": 0.53}, {"loss/pose discriminator": 0.68}):
        assert not [*guard.saw(guesses | other), *guard.saw(guesses | other)]


def test_images_without_joints_are_left_out(posed: Benchmark, capsys) -> None:
    joints = posed.sightings.keypoints.copy()
    train_rows = np.flatnonzero(posed.sightings.split == "train")
    joints[train_rows[:3], :, 2] = 0
    some = posed.replace(sightings=posed.sightings.replace(keypoints=joints))
    recipe = small(input={"holdout": 0})
    with pytest.warns(ReidentifyWarning, match="1 of 16 training identities have one image with joints"):
        rows = prepare(recipe, some, progress=True).loader.rows  # the first person has one picture left
    assert len(rows) == 60
    assert rows.identities.tolist() == list(range(2, 17))  # and is no class of the classifier
    assert "3 of 64 training images show no joint and are left out" in " ".join(capsys.readouterr().out.split())
    joints[..., 2] = 0
    none = posed.replace(sightings=posed.sightings.replace(keypoints=joints))
    with pytest.raises(InputError, match="people: no joint is seen in any training image"):
        prepare(recipe, none, progress=False)


def test_joints_are_looked_for_where_nobody_has(people: Benchmark, monkeypatch) -> None:
    found = []

    def some(model, names, *_):
        found.extend(names)
        return np.full((len(names), 14, 3), 1.0, np.float32)

    monkeypatch.setattr("reidentify.pose.load_pose", lambda *_: None)
    monkeypatch.setattr("reidentify.pose._found", some)
    rows = prepare(small(input={"holdout": 0}), people, progress=False).loader.rows
    assert sorted(found) == sorted(people.train.files)
    assert rows.keypoints.shape == (64, 14, 3)


def test_frames_of_tracklets_are_images_of_their_own(posed: Benchmark) -> None:
    rows = posed.train
    tracks = Sightings(
        rows.pids[::2],
        camids=rows.camids[::2],
        files=rows.files,
        keypoints=rows.keypoints,
        split=np.full(len(rows) // 2, "train", object),
        offsets=np.arange(0, len(rows) + 1, 2),
    )
    ready = prepare(small(input={"holdout": 0}), posed.replace(sightings=tracks), progress=False)
    assert np.array_equal(ready.loader.rows.labels, np.unique(rows.pids, return_inverse=True)[1])


def test_a_loss_that_is_not_finite_ends_the_training(posed: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(ReidentifyError, match=r"the loss is not finite at epoch 0, step \d"):
        train(small(rates={"generator": 1e30}, input={"holdout": 0}), posed, tmp_path / "run", progress=False)


def test_couples_of_pictures_are_of_one_person() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2, 3, 3])
    chosen = couples(labels, 2, seed=0)
    assert np.array_equal(chosen, couples(labels, 2, seed=0))
    assert len(chosen) == 4
    assert (labels[chosen[::2]] == labels[chosen[1::2]]).all()
    assert (chosen[::2] != chosen[1::2]).all()
    assert len(couples(labels, 9, seed=0)) == 6  # three have two pictures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "fd-gan"}, "sampler.kind: method fd-gan takes batches of pairs, not of instances"),
        ({"sampler": {"kind": "pairs"}}, "takes batches of instances or space-time, not of pairs"),
        ({"loss": {"verification": 1.0}}, "are of method fd-gan"),
        ({"loss": {"cross_entropy": 0.0, "triplet": 0.0}}, "nothing tells one person from another"),
        ({"discriminators": {"image": "identity"}}, "discriminators.image: identity compares two images of a pair"),
        (
            {"optimiser": {"schedule": "linear", "milestones": [5], "epochs": 5}},
            r"optimiser.milestones: schedule linear falls from one milestone below the 5 epochs on, got \[5\]",
        ),
        ({"optimiser": {"schedule": "linear", "milestones": [1, 2], "epochs": 5}}, r"one milestone .* got \[1, 2\]"),
        ({"sampler": {"per_epoch": 0}}, "sampler.per_epoch: expected a number of at least 1"),
        ({"loss": {"reconstruction": 0.0}}, "loss.reconstruction: expected a number above 0, got 0.0"),
        (
            {"loss": {"smooth_real": [1.0, 0.7]}},
            "loss.smooth_real: expected an interval from low to high, got 1",
        ),
        ({"loss": {"smooth_fake": [0.0, 1.3]}}, "loss.smooth_fake: expected a number from 0 to 1"),
        ({"model": {"architecture": "osnet"}}, "an OSNet is backbone: osnet"),
        ({"generator": {"joints": 18}}, "bring the joints of all data sets to Market-1501's 14"),
        ({"rates": {"image": 0.0}}, "rates.image: expected a number above 0"),
        ({"optimiser": {"freeze": 1}}, "optimiser.freeze: only of"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        small(**changes)


def test_what_does_not_fit_is_refused_in_one_line(posed: Benchmark, run: Path, tmp_path: Path) -> None:
    for changes, error, message in (
        ({"model": {"backbone": "osnet", "init": "imagenet"}}, InputError, "no ImageNet weights of OSNet"),
        ({"generator": {"init": str(tmp_path)}}, WeightsError, "neither generator.safetensors of another run nor"),
        (
            {"generator": {"init": str(run / "weights.safetensors")}},
            WeightsError,
            "the weights of an embedding network",
        ),
        ({"generator": {"init": str(run), "channels": 8}}, WeightsError, "those of the generator in .* another archit"),
        ({"model": {"embedding_dim": 8}, "generator": {"init": str(run)}}, WeightsError, "those of the encoder in"),
        ({"input": {"height": 72}}, InputError, "multiples of 32"),
        ({"sampler": {"kind": "space-time"}}, InputError, "time"),
        ({"sampler": {"per_epoch": 7}}, InputError, "sampler.per_epoch=7: they do not fill one batch of 8 anchors"),
    ):
        with pytest.raises(error, match=message) as caught:
            train(small(changes), posed, tmp_path / "run", progress=False)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match="not of recipes of kind generation"):
        find_rate(small(), posed)


def test_the_recipe_is_in_the_card(run: Path) -> None:
    stated = Card.read(run / "generator.json").training
    assert stated["kind"] == "generation"
    assert recipe_of(json.loads(json.dumps(stated))) == small()
    assert dataclasses.asdict(small())["loss"] == stated["loss"]


def test_an_epoch_may_show_some_anchors_alone(posed: Benchmark, capsys) -> None:
    """20 of 64 fill two batches of 8, others in each epoch; more than there are is all, which is said."""
    loader = prepare(small(sampler={"per_epoch": 20}, input={"holdout": 0}), posed, progress=False).loader
    batches = loader.train_dataloader().batch_sampler
    anchors = []
    for epoch in (0, 1, 0):
        batches.sampler.set_epoch(epoch)
        anchors.append([row for batch in batches for row, _ in batch[:8]])
    assert [len(set(of_epoch)) for of_epoch in anchors] == [16, 16, 16]
    assert anchors[0] == anchors[2] != anchors[1]
    assert "per_epoch" not in capsys.readouterr().out
    loader = prepare(small(sampler={"per_epoch": 100}, input={"holdout": 0}), posed, progress=False).loader
    assert len(loader.train_dataloader()) == 64 // 8
    assert " ".join(capsys.readouterr().out.split()).count("sampler.per_epoch=100: there are 64 anchors") == 1


def statistics_after(folder: Path, before: dict[str, torch.Tensor]) -> dict[str, bool]:
    """Of each batch norm of the image discriminator that has moved: whether its statistics are still those."""
    after = weights(folder, "generator")
    return {k: torch.equal(after[k], before[k]) for k in after if k.startswith("image.") and k.endswith("running_mean")}


@pytest.mark.parametrize(
    ("base", "kept"),
    [
        ({}, []),  # a random discriminator has no statistics to keep
        ({"generator": "run"}, ["image.backbone", "image.norm"]),
        ({"stage": "generator", **FD_GAN}, []),
        ({"stage": "joint", **FD_GAN, "model": "pairs"}, ["image.encoder", "image.verifier"]),
        ({"stage": "joint", **FD_GAN, "model": "run"}, ["image.encoder"]),  # its verifier starts anew
    ],
)
def test_statistics_of_the_image_discriminator(
    posed: Benchmark, run: Path, siamese: Path, tmp_path: Path, base: dict, kept: list[str]
) -> None:
    paths = {"run": str(run), "pairs": str(siamese)}
    starts = {k: {"init": paths[v]} for k, v in base.items() if v in ("run", "pairs")}
    neck = {"model": {**starts["model"], "neck": "none"}} if starts.get("model") == {"init": paths["pairs"]} else {}
    recipe = small({**base, **starts, **neck, "optimiser": {"epochs": 1}}, input={"holdout": 0})
    before = {k: v.clone() for k, v in prepare(recipe, posed, progress=False).module.networks.state_dict().items()}
    train(recipe, posed, tmp_path / "run", progress=False)
    same_still = statistics_after(tmp_path / "run", before)
    assert same_still
    assert {k for k, still in same_still.items() if still} == {
        k for k in same_still if k.startswith(tuple(kept or "-"))
    }


def test_the_terms_of_earlier_images_and_of_these_are_both_stated(
    posed: Benchmark, run: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    own = Card.read(run / "generator.json").licence
    monkeypatch.setattr("reidentify.training.generation.run.images_terms", lambda benchmark: "terms of others")
    recipe = small({"generator": {"init": str(run)}, "optimiser": {"epochs": 1}}, input={"holdout": 0})
    train(recipe, posed, tmp_path / "more", progress=False)
    assert Card.read(tmp_path / "more" / "generator.json").licence == f"{own}; terms of others"
    assert "model.init and discriminators.init have no say" in " ".join(capsys.readouterr().out.split())
    again = small({"generator": {"init": str(tmp_path / "more")}, "optimiser": {"epochs": 1}}, input={"holdout": 0})
    train(again, posed, tmp_path / "again", progress=False)
    assert Card.read(tmp_path / "again" / "generator.json").licence == f"{own}; terms of others"
