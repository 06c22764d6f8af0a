"""Training end to end on drawn people: it learns, resumes to the bit, selects on held-out identities, and tells."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import Killed, killed_after
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import reidentify
from reidentify import Benchmark, InputError, ReidentifyError
from reidentify.models.output import Output
from reidentify.ranking.fusion import load as load_fusion
from reidentify.training.objective import Objective, predicted
from reidentify.training.optimiser import hash_seed, lr_factor
from reidentify.training.recipe import Recipe, recipe_of
from reidentify.training.run import train
from reidentify.training.settings import LossSettings, OptimiserSettings

SMALL = {
    "model": {"architecture": "osnet", "width": 0.25, "init": "random"},
    "input": {"height": 32, "width": 16, "holdout": 0.25},
    "sampler": {"identities": 4, "instances": 2},
    "optimiser": {"epochs": 3, "lr": 1e-3, "warmup": 1, "schedule": "cosine"},
    "run": {"accelerator": "cpu", "evaluate_every": 1},
}


def small(**changes: dict) -> Recipe:
    return recipe_of({k: {**SMALL.get(k, {}), **changes.get(k, {})} for k in SMALL.keys() | changes.keys()})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


def history(folder: Path) -> list[dict[str, str]]:
    """The table of a run without its clock."""
    rows = csv.DictReader((folder / "history.csv").open())
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_run_leaves_what_one_needs(people: Benchmark, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small(), people, run, progress=False)
    assert {p.name for p in run.iterdir()} >= {
        "weights.safetensors", "weights.json", "recipe.json", "history.csv", "curves.png", "metrics.json", "tensorboard"
    }  # fmt: skip
    card = json.loads((run / "weights.json").read_text())
    assert card["architecture"]["width"] == 0.25
    assert [score["data"] for score in card["scores"]] == ["people-holdout", "people"]
    assert "12 identities" in card["data"]
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(0 <= float(row["validation/mAP"]) <= 1 for row in rows)

    model = reidentify.load(run)
    sides = [model.embed_sightings(rows, cache=False, progress=False) for rows in (people.query, people.gallery)]
    result = reidentify.evaluate(*sides)
    assert result.mAP == pytest.approx(json.loads((run / "metrics.json").read_text())["mAP"], abs=1e-6)


def test_a_space_time_recipe_leaves_its_statistics(people: Benchmark, tmp_path: Path) -> None:
    rows = people.sightings
    walked = rows.replace(times=1000.0 * rows.pids + 60 * rows.camids + np.arange(len(rows)) % 2)
    timed = Benchmark("people", walked, people.protocol)
    optimiser = {"epochs": 1}
    run = tmp_path / "run"
    train(small(spacetime={"fit": True, "fusion": "calibrated"}, optimiser=optimiser), timed, run, progress=False)
    fusion = load_fusion(run)
    assert len(np.unique(fusion.spacetime.visits_.pids)) == 12  # 16 people, 4 of them held out
    assert (run / "with-spacetime" / "metrics.json").exists()
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert {"space-time intervals", "space-time network"} <= set(events.Tags()["images"])
    card = json.loads((run / "weights.json").read_text())
    assert [score.get("spacetime") for score in card["scores"]] == [None, None, "calibrated"]
    # What cannot be learned is said before the training, not after it.
    for benchmark, changes, said in (
        (people, {}, "when each sighting was made"),
        (timed, {"input": {"holdout": 0}}, "learned from held-out identities"),
    ):
        with pytest.raises(InputError, match=said):
            train(small(spacetime={"fit": True}, **changes), benchmark, tmp_path / "never", progress=False)
    assert not (tmp_path / "never").exists()


def test_it_learns(people: Benchmark, tmp_path: Path) -> None:
    """Colours are the identity here: a few epochs classify far better than the 1 in 16 of chance."""
    plain = {"flip": 0.0, "pad": 0, "erase": 0.0}
    optimiser = {"epochs": 16, "lr": 2e-3, "warmup": 0}
    train(small(optimiser=optimiser, input={"holdout": 0}, augment=plain), people, tmp_path / "run", progress=False)
    accuracies = [float(row["accuracy"]) for row in csv.DictReader((tmp_path / "run" / "history.csv").open())]
    assert max(accuracies[-4:]) > 0.25
    assert accuracies[0] < 0.2


@pytest.mark.parametrize(
    ("kills", "extra"),
    [((1, 7), {}), ((12,), {"optimiser": {"ema": 0.9, "freeze": 1}, "loss": {"center": 0.01}})],
)
def test_a_killed_run_resumes_to_the_same_bits(
    people: Benchmark, tmp_path: Path, monkeypatch, kills: tuple[int, ...], extra: dict
) -> None:
    train(small(**extra), people, tmp_path / "whole", progress=False)
    for batches in kills:
        run = tmp_path / f"killed{batches}"
        with monkeypatch.context() as patch:
            killed_after(patch, batches)
            with pytest.raises(Killed):
                train(small(**extra), people, run, progress=False)
        torch.manual_seed(batches)  # whatever state the new process starts in
        train(small(**extra), people, run, progress=False)
        for name, value in weights(tmp_path / "whole").items():
            assert torch.equal(value, weights(run)[name]), name
        assert history(tmp_path / "whole") == history(run)


def test_foreign_run_folders_are_refused(people: Benchmark, tmp_path: Path) -> None:
    train(small(), people, tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="finished run"):
        train(small(), people, tmp_path / "run", progress=False)
    (tmp_path / "run" / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"another recipe or data \(recipe.optimiser.lr differs\)"):
        train(small(optimiser={"lr": 0.5}), people, tmp_path / "run", progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="is no run of this program"):
        train(small(), people, tmp_path / "mine", progress=False)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_unreadable_image_leaves_no_run_folder(people: Benchmark, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(Path(people.train.files[0]).read_bytes()[:100])
    files = people.sightings.files.copy()
    files[0] = str(bad)
    damaged = people.replace(sightings=people.sightings.replace(files=files))
    with pytest.raises(reidentify.ImageError, match=r"bad\.jpg"):
        train(small(input={"holdout": 0}), damaged, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_select_best_keeps_the_best_validation(people: Benchmark, tmp_path: Path, monkeypatch) -> None:
    """Validation falls from epoch to epoch, so the best weights are those of the first."""
    from reidentify.training.validation import Validation

    values = iter([0.9, 0.5, 0.1])

    def falling(self, trainer, module) -> None:
        module.log("validation/mAP", next(values))

    monkeypatch.setattr(Validation, "on_validation_epoch_end", falling)
    train(small(run={"select": "best"}), people, tmp_path / "best", progress=False)
    first = torch.load(tmp_path / "best" / "checkpoints" / "best.ckpt", weights_only=False)
    assert first["epoch"] == 0
    kept = weights(tmp_path / "best")
    for name, value in kept.items():
        assert torch.equal(value, first["state_dict"][f"network.{name}"]), name


def test_a_loss_that_is_not_finite_stops_with_advice(people: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(ReidentifyError, match=r"not finite at epoch .*lower optimiser.lr"):
        train(small(optimiser={"kind": "sgd", "lr": 1e30, "warmup": 0}), people, tmp_path / "run", progress=False)


def test_osnet_has_no_imagenet_weights(people: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ImageNet weights of OSNet to fetch; use random"):
        train(small(model={"init": "imagenet"}), people, tmp_path / "run", progress=False)


def test_schedules_by_hand() -> None:
    steps = OptimiserSettings(warmup=10, warmup_start=0.01, milestones=[40, 70], gamma=0.1)
    expected = {0: 0.01, 5: 0.505, 10: 1, 39.9: 1, 40: 0.1, 70: 0.01, 119: 0.01}
    for epoch, factor in expected.items():
        assert lr_factor(steps, epoch, 0) == pytest.approx(factor)
    cosine = OptimiserSettings(schedule="cosine", warmup=0, epochs=100, final_lr=0.2)
    assert [lr_factor(cosine, e, 0) for e in (0, 50, 100)] == pytest.approx([1, 0.6, 0.2])


def test_seeds_do_not_meet() -> None:
    seeds = {hash_seed(0, epoch, rank, step) for epoch in range(20) for rank in range(4) for step in range(50)}
    assert len(seeds) == 20 * 4 * 50


def test_objective_sums_the_parts_and_weights() -> None:
    """Cross-entropy of uniform logits over 4 classes is log 4, whatever the smoothing; two parts give twice that."""
    labels = torch.tensor([0, 0, 1, 1])
    out = Output(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.zeros(4, 2, 4))
    losses = Objective(LossSettings(cross_entropy=0.5, triplet=2.0, metric="contrastive"), 4, 1)(out, labels)
    assert float(losses["cross_entropy"]) == pytest.approx(0.5 * 2 * np.log(4))
    assert float(losses["triplet"]) == pytest.approx(2 * 2.3 / 4, abs=1e-5)
    assert "contrastive" in losses
    votes = torch.tensor([[[5.0, 0.0], [0.0, 1.0]]])
    assert predicted(votes).tolist() == [0]


def test_a_camera_embedding_is_used_again_by_camera(people: Benchmark, tmp_path: Path) -> None:
    """The card lists the training cameras; one that was not among them adds nothing."""
    model = {
        "architecture": "baseline", "backbone": "mobilenetv3_small_050", "init": "random", "camera_embedding": True
    }  # fmt: skip
    train(small(model=model), people, tmp_path / "run", progress=False)
    loaded = reidentify.load(tmp_path / "run", device="cpu")
    assert loaded.card.cameras == [1, 2]
    rows = people.query[:2]

    def vectors(camids: list[int] | None) -> np.ndarray:
        return loaded.embed_sightings(rows.replace(camids=camids), cache=False, progress=False).vectors

    np.testing.assert_array_equal(vectors([7, 9]), vectors(None))
    assert not np.allclose(vectors([1, 1]), vectors([2, 2]))


def drawn_rows(people: Benchmark, run: Path, monkeypatch) -> list[list[int]]:
    """The rows of every training batch, in order."""
    from reidentify.training.loader import Rows

    seen: list[list[int]] = []
    real = Rows.__getitems__

    def noted(self, rows):
        seen.append(list(rows))
        return real(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "__getitems__", noted)
        train(small(input={"holdout": 0}), people, run, progress=False)
    return seen


def test_every_epoch_draws_anew(people: Benchmark, tmp_path: Path, monkeypatch) -> None:
    rows = drawn_rows(people, tmp_path / "run", monkeypatch)
    epochs = [rows[i : i + len(rows) // 3] for i in range(0, len(rows), len(rows) // 3)]
    assert len(epochs) == 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert drawn_rows(people, tmp_path / "again", monkeypatch) == rows


def test_a_run_killed_before_its_weights_are_written_keeps_the_average(
    people: Benchmark, tmp_path: Path, monkeypatch
) -> None:
    """All epochs are done; what is left to write is the moving average, not the last step."""
    recipe = small(optimiser={"ema": 0.9})
    train(recipe, people, tmp_path / "whole", progress=False)
    run = tmp_path / "killed"

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("reidentify.training.embedding._finish", killed)
        with pytest.raises(Killed):
            train(recipe, people, run, progress=False)
    train(recipe, people, run, progress=False)
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(run)[name]), name


def test_losses_are_as_exact_under_mixed_precision() -> None:
    """Long vectors that differ little: in 16 bits their distances would be off by more than the margin."""
    embeddings = 1 + 0.1 * torch.randn(8, 512, generator=torch.Generator().manual_seed(0))
    labels, objective = torch.arange(4).repeat_interleave(2), Objective(LossSettings(metric="contrastive"), 4, 512)
    plain = objective(Output(embeddings), labels)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = objective(Output(embeddings), labels)
    assert plain == mixed


def test_an_image_that_breaks_while_decoded_on_the_fly_is_named(people: Benchmark, tmp_path: Path, monkeypatch) -> None:
    from reidentify.data.pixels import DecodedOnTheFly
    from reidentify.training import embedding as module

    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    files = people.sightings.files.copy()
    files[:64] = str(bad)
    monkeypatch.setattr(module, "open_pixels", lambda files, size, *_, **__: DecodedOnTheFly(files, size))
    damaged = people.replace(sightings=people.sightings.replace(files=files))
    with pytest.raises(reidentify.ImageError, match=r"bad\.jpg") as caught:
        train(small(input={"holdout": 0}, run={"workers": 1}), damaged, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": {"accelerator": "abacus"}}, "run: .*abacus"),
        ({"input": {"height": 4, "width": 4}}, "images: expected B x 3 x H x W with H and W at least 16"),
        ({"model": {"architecture": "pcb", "backbone": "resnet18", "parts": 40}}, "40 parts need as many rows"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    people: Benchmark, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(ReidentifyError, match=message):
        train(small(**changes), people, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_broken_description_is_refused(people: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(InputError, match="not the description of a run"):
        train(small(), people, tmp_path, progress=False)
