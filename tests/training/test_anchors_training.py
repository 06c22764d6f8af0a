"""Trainings of embeddings on batches of anchors: which rows they see, what they resume to, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kills import Killed, killed_after
from safetensors.torch import load_file

from reidentify import Benchmark, InputError
from reidentify.ranking.protocol import NO_CAMERAS
from reidentify.training.loader import Loader, Rows
from reidentify.training.recipe import Recipe, recipe_of
from reidentify.training.run import train

TIMES = 10.0


def recipe(kind: str, **sampler: Any) -> Recipe:
    return recipe_of(
        {
            "model": {"architecture": "osnet", "width": 0.25, "init": "random"},
            "input": {"height": 32, "width": 16, "holdout": 0},
            "sampler": {"kind": kind, "anchors": 8, **sampler},
            "loss": {"triplet_kind": "soft"},
            "optimiser": {"epochs": 2, "lr": 1e-3, "warmup": 0, "schedule": "cosine"},
            "run": {"accelerator": "cpu", "evaluate_every": 1},
        }
    )


@pytest.fixture(scope="module")
def timed(people: Benchmark) -> Benchmark:
    """The drawn people, the second picture of a camera 10 s after the first; numbered from 1001 and with holes."""
    rows = people.sightings
    second = np.arange(len(rows)) % 2
    return people.replace(sightings=rows.replace(pids=1001 + 7 * rows.pids, times=TIMES * second))


def batches(benchmark: Benchmark, settings: Recipe) -> list[tuple[np.ndarray, ...]]:
    """Row numbers of the anchors, positives and negatives of each batch."""
    rows = benchmark.train

    class Pixels:
        def __len__(self) -> int:
            return len(rows)

    loader = Loader(Rows(rows, Pixels(), settings.clip), settings)  # type: ignore[arg-type]
    sampler = loader.train_dataloader().batch_sampler
    assert sampler is not None
    return [tuple(np.array([row for row, _ in batch]).reshape(3, 8)) for batch in sampler]  # type: ignore[misc]


def test_space_and_time_choose_the_rows(timed: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    rows = timed.train
    drawn = batches(timed, recipe("space-time", inter_rate=1.0, gap=5.0))
    assert len(drawn) == 64 // 8
    for anchors, positives, negatives in drawn:
        np.testing.assert_array_equal(positives, anchors ^ 1)  # the camera's other picture, 10 s away
        assert (rows.camids[negatives] == rows.camids[anchors]).all()
        assert (rows.pids[negatives] != rows.pids[anchors]).all()
    assert "allow a positive for 100.0% and a negative for 100.0% of the rows" in capsys.readouterr().out


def test_a_tracklet_counts_by_its_middle_frame(timed: Benchmark) -> None:
    """Two frames a row, -1 and 1 s from its time: the rule is the same as for images."""
    rows = timed.train
    twice = np.repeat(np.arange(len(rows)), 2)
    times = rows.times[twice] + np.tile([-1.0, 1.0], len(rows))
    tracklets = rows.replace(files=rows.files[twice], times=times, offsets=np.arange(0, 2 * len(rows) + 1, 2))
    assert not tracklets.is_images
    settings = recipe("space-time", inter_rate=1.0, gap=9.0)  # 10 s apart by their middles, 8 s by their nearest frames
    expected = batches(timed, settings)
    for got, want in zip(batches(timed.replace(sightings=tracklets), settings), expected):
        np.testing.assert_array_equal(got, want)


def test_instances_need_neither_place_nor_time(people: Benchmark) -> None:
    rows = people.train
    unplaced = people.replace(sightings=people.sightings.replace(camids=None))
    for anchors, first, second in batches(unplaced, recipe("instances")):
        assert (rows.pids[first] == rows.pids[anchors]).all()
        assert (rows.pids[second] == rows.pids[anchors]).all()
        assert (first != second).all()


def test_what_is_unknown_is_said_before_the_training(people: Benchmark, timed: Benchmark, tmp_path: Path) -> None:
    unplaced = timed.replace(sightings=timed.sightings.replace(camids=None), protocol=NO_CAMERAS)
    for data, said in ((people, "give times in seconds"), (unplaced, "give camids")):
        with pytest.raises(InputError, match=said) as caught:
            train(recipe("space-time"), data, tmp_path / "never", progress=False)
        assert "\n" not in str(caught.value)
        assert "sampler.kind=instances" in str(caught.value)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("kind", ["space-time", "instances"])
def test_a_killed_run_resumes_to_the_same_bits(
    kind: str, timed: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = recipe(kind)
    train(settings, timed, tmp_path / "whole", progress=False)
    with monkeypatch.context() as patch:
        killed_after(patch, 11)  # of 8 batches an epoch
        with pytest.raises(Killed):
            train(settings, timed, tmp_path / "killed", progress=False)
    train(settings, timed, tmp_path / "killed", progress=False)
    first, second = (load_file(tmp_path / run / "weights.safetensors") for run in ("whole", "killed"))
    assert all((first[name] == second[name]).all() for name in first)
